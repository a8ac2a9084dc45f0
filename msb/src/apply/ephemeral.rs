//! Sandboxes that live no longer than the `msb run` that made them, however that ends.
//!
//! ```text
//! msb run ─ lease (pipe) ─► msb supervise     the kernel closes it with msb: stop, then remove
//! run/projects/@NAME.owner                    who made it: found by the next msb where both were killed
//! ```

use crate::apply::confirm::Consent;
use crate::apply::lifecycle::{self, LifecycleOp};
use crate::apply::{self, LockedProject};
use crate::error::CliError;
use crate::output::{OutputOptions, eprintln_lossy, escape_controls};
use executor::apply::ProjectLock;
use executor::catalog::{Catalog, Recorded};
use executor::images::ImageQuery;
use executor::launch::LaunchSpec;
use executor_fs::atomic::{self, Sync};
use executor_host::home::Home;
use executor_host::process::ProcessIdentity;
use executor_host::state::{read_json, read_state};
use planner::LifecycleAction;
use rustix::event::{PollFd, PollFlags, poll};
use schemas::name::{ProjectName, SandboxId, SandboxName};
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the supervisor of an abandoned sandbox waits for another msb that works on it. That one may be waiting
/// for this very supervisor's guest to shut down.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How the file ends that says who made an ephemeral sandbox.
const OWNER_SUFFIX: &str = ".owner";
/// What holds a project's lock while its sandbox is removed.
const COMMAND: &str = "msb run";

/// What keeps an ephemeral sandbox: it goes when the last process that holds this has ended.
#[derive(Clone, Debug)]
pub struct Lease {
    /// For the supervisor.
    pub read_end: Arc<OwnedFd>,
    _write_end: Arc<PipeWriter>,
}

impl Lease {
    /// Opens one for this process.
    pub fn open() -> Result<Self, CliError> {
        let (read_end, write_end) =
            io::pipe().map_err(|error| CliError::new(format!("cannot make a pipe: {error}")))?;
        Ok(Self { read_end: Arc::new(read_end.into()), _write_end: Arc::new(write_end) })
    }
}

/// The file that says who made an ephemeral sandbox.
fn owner_file(home: &Home, project: &ProjectName) -> PathBuf {
    home.project_locks().join(format!("{project}{OWNER_SUFFIX}"))
}

/// Records that this process made the sandbox of a project of one, before it does. The project must be locked.
pub fn claim(home: &Home, project: &ProjectName) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::new(format!("cannot record who made the sandbox: {error}"));
    let process = ProcessIdentity::current().ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
    let text = serde_json::to_vec(&process).map_err(|error| failed(error.into()))?;
    atomic::write(&owner_file(home, project), &text, Sync::No).map_err(failed)
}

/// Records that the sandbox of a project of one is to stay. The project must be locked.
pub fn disclaim(home: &Home, project: &ProjectName) {
    let _ = std::fs::remove_file(owner_file(home, project));
}

fn owner(home: &Home, project: &ProjectName) -> Option<ProcessIdentity> {
    read_json(&owner_file(home, project)).ok().flatten()
}

/// Removes the sandbox that this process made, and only that one.
pub fn remove_own(home: &Home, name: &SandboxName) -> Result<(), CliError> {
    ProcessIdentity::current().map_or(Ok(()), |process| remove_of(home, name, process, lifecycle::STOP_TIME))
}

/// What the supervisor of an ephemeral sandbox owes to the client that made it.
#[derive(Debug)]
pub struct Tenancy {
    lease: OwnedFd,
    name: SandboxName,
    client: ProcessIdentity,
}

impl Tenancy {
    /// That of the sandbox with this id. `None` where none is recorded.
    pub fn of(home: &Home, id: &SandboxId, lease: OwnedFd) -> Option<Self> {
        let orders: LaunchSpec = read_json(&home.sandbox(id).launch_spec()).ok().flatten()?;
        let client = owner(home, &orders.project)?;
        (orders.project == ProjectName::of_one(&orders.name)).then_some(Self {
            lease,
            name: orders.name,
            client,
        })
    }

    /// Waits until the client has ended and removes the sandbox, unless the client did. An id or a name says too
    /// little: another sandbox may have got both meanwhile.
    pub fn end(self, home: &Home) -> Result<(), CliError> {
        wait_for_end(&self.lease);
        remove_of(home, &self.name, self.client, LOCK_PATIENCE)
    }
}

/// Removes the sandbox that a client made, waiting this long for whoever works on it.
fn remove_of(
    home: &Home,
    name: &SandboxName,
    client: ProcessIdentity,
    timeout: Duration,
) -> Result<(), CliError> {
    let project = ProjectName::of_one(name);
    let is_it = || owner(home, &project) == Some(client);
    if !is_it() {
        return Ok(());
    }
    let lock = ProjectLock::acquire(home, &project, COMMAND, timeout)?;
    if is_it() { remove(home, &Arc::new(Catalog::open(&home.catalog())?), name, lock) } else { Ok(()) }
}

/// Nothing is ever written into it: it becomes readable when its other end is closed.
fn wait_for_end(lease: &OwnedFd) {
    let mut wait = [PollFd::from_borrowed_fd(lease.as_fd(), PollFlags::IN)];
    while matches!(poll(&mut wait, None), Err(rustix::io::Errno::INTR)) {}
}

/// Removes sandboxes whose `msb run` was killed together with their supervisor. What fails is left to the next msb.
pub fn sweep(home: &Home, catalog: &Arc<Catalog>) {
    for entry in std::fs::read_dir(home.project_locks()).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(project) = file.to_str().and_then(|file| file.strip_suffix(OWNER_SUFFIX)) else { continue };
        let Some(name) = project.strip_prefix('@').and_then(|name| SandboxName::new(name).ok()) else {
            continue;
        };
        let project = ProjectName::of_one(&name);
        let is_abandoned = || {
            owner(home, &project).is_some_and(|owner| !owner.is_alive())
                && !is_supervised(home, catalog, &project)
        };
        if !is_abandoned() {
            continue;
        }
        // Whoever holds the lock works on it.
        let Ok(lock) = ProjectLock::acquire(home, &project, COMMAND, Duration::ZERO) else { continue };
        if is_abandoned()
            && let Err(failure) = remove(home, catalog, &name, lock)
        {
            eprintln_lossy(&format!(
                "warning: cannot remove {name}, whose `msb run` was killed: {}",
                escape_controls(&failure.message)
            ));
        }
    }
}

/// Whether a supervisor lives that removes it by itself.
fn is_supervised(home: &Home, catalog: &Catalog, project: &ProjectName) -> bool {
    let rows = catalog.sandboxes(Some(project)).map(|recorded| recorded.sandboxes).unwrap_or_default();
    let states = rows.iter().filter_map(|row| read_state(&home.sandbox(&row.id)));
    states.into_iter().any(|state| state.supervisor.is_alive())
}

/// Removes the sandbox of a project of one, if there is one.
fn remove(
    home: &Home,
    catalog: &Arc<Catalog>,
    name: &SandboxName,
    lock: ProjectLock,
) -> Result<(), CliError> {
    let project = ProjectName::of_one(name);
    let Recorded { sandboxes, unreadable } = catalog.sandboxes(Some(&project))?;
    // Where the making failed early, there is none.
    if sandboxes.is_empty() && unreadable.is_empty() {
        disclaim(home, &project);
        return Ok(());
    }
    let task = LifecycleOp {
        command: "run",
        action: LifecycleAction::Remove,
        done: "removed",
        stop_timeout: lifecycle::STOP_TIME,
        kill: false,
        lock_timeout: Duration::ZERO,
    };
    let locked = LockedProject {
        lock,
        home: home.clone(),
        catalog: catalog.clone(),
        project: project.clone(),
        images: ImageQuery::default(),
        verbosity: OutputOptions::SILENT,
        consent: Consent::Given,
        command: task.command,
    };
    lifecycle::run_locked(&locked, name, &task, || apply::settings_without_boot(home, task.stop_timeout))?;
    disclaim(home, &project);
    Ok(())
}
