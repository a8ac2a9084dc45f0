//! Ephemeral sandboxes, which are removed when the `msb run` that created them ends, in whatever way.
//!
//! ```text
//! msb run ─ lease (pipe) ─► msb supervise     the kernel closes it when msb ends: stop, then remove
//! run/projects/@NAME.owner                    the creator, for the next msb if both were killed
//! ```

use crate::apply::{LockedProject, lifecycle};
use crate::error::{CliError, Context};
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::project::find;
use executor::apply::STOP_TIME;
use executor::catalog::Recorded;
use executor_fs::atomic::{self, Sync};
use executor_host::home::Home;
use executor_host::process::ProcessIdentity;
use executor_host::state::{read_json, read_state};
use rustix::event::{PollFd, PollFlags, poll};
use schemas::name::{ProjectName, SandboxId, SandboxName};
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Timeout of the lock for a supervisor that removes its sandbox. The holder may itself be waiting for the guest of this
/// supervisor to shut down.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// Suffix of the file that identifies the creator of an ephemeral sandbox.
const OWNER_SUFFIX: &str = ".owner";
/// The command that holds the lock while an ephemeral sandbox is removed.
const COMMAND: &str = "run";

/// A lease of an ephemeral sandbox, which is removed when the last process that holds it ends.
#[derive(Clone, Debug)]
pub struct Lease {
    /// For the supervisor.
    pub read_end: Arc<OwnedFd>,
    _write_end: Arc<PipeWriter>,
}

impl Lease {
    /// Opens a lease that this process holds.
    ///
    /// # Errors
    ///
    /// If no pipe can be created.
    pub fn open() -> Result<Self, CliError> {
        let (read_end, write_end) = io::pipe().context("cannot create a pipe")?;
        Ok(Self { read_end: Arc::new(read_end.into()), _write_end: Arc::new(write_end) })
    }
}

fn owner_file(home: &Home, project: &ProjectName) -> PathBuf {
    home.project_locks().join(format!("{project}{OWNER_SUFFIX}"))
}

/// Records that this process is about to create the sandbox of a project. The project must be locked.
///
/// # Errors
///
/// If the file cannot be written.
pub fn record_owner(home: &Home, project: &ProjectName) -> Result<(), CliError> {
    let write = || {
        let process = ProcessIdentity::current().ok_or(io::ErrorKind::Other)?;
        atomic::write(&owner_file(home, project), &serde_json::to_vec(&process)?, Sync::No)
    };
    write().context("cannot record the sandbox's creator")
}

/// Removes the record of the creator, so that the sandbox of a project stays. The project must be locked.
pub fn clear_owner(home: &Home, project: &ProjectName) {
    let _ = std::fs::remove_file(owner_file(home, project));
}

fn owner(home: &Home, project: &ProjectName) -> Option<ProcessIdentity> {
    read_json(&owner_file(home, project)).ok().flatten()
}

/// Removes the sandbox of this name if this process created it.
///
/// # Errors
///
/// If it cannot be removed.
pub fn remove_own(home: &Home, name: &SandboxName) -> Result<(), CliError> {
    ProcessIdentity::current().map_or(Ok(()), |process| remove_of(home, name, process, STOP_TIME))
}

/// The removal of an ephemeral sandbox by its supervisor.
#[derive(Debug)]
pub struct Cleanup {
    lease: OwnedFd,
    name: SandboxName,
    client: ProcessIdentity,
}

impl Cleanup {
    /// Prepares the removal of the sandbox with this id; `None` if its creator is not recorded.
    pub fn of(home: &Home, id: &SandboxId, lease: OwnedFd) -> Option<Self> {
        let launch = find::launch_spec(home, id)?;
        let client = owner(home, &launch.project)?;
        let is_single = launch.project == ProjectName::of_one(&launch.name);
        is_single.then_some(Self { lease, name: launch.name, client })
    }

    /// Waits until the client has ended, and removes the sandbox unless the client did. Another sandbox may have the
    /// same id and name by then, so the creator is compared.
    ///
    /// # Errors
    ///
    /// If the sandbox cannot be removed.
    pub fn run(self, home: &Home) -> Result<(), CliError> {
        wait_for_end(&self.lease);
        remove_of(home, &self.name, self.client, LOCK_TIMEOUT)
    }
}

/// Removes the sandbox of this name if the client created it.
fn remove_of(
    home: &Home,
    name: &SandboxName,
    client: ProcessIdentity,
    timeout: Duration,
) -> Result<(), CliError> {
    let project = ProjectName::of_one(name);
    let is_owner = || owner(home, &project) == Some(client);
    if !is_owner() {
        return Ok(());
    }
    let locked = LockedProject::acquire(&Machine::of(home.clone())?, &project, COMMAND, timeout)?;
    if is_owner() { remove(&locked, name) } else { Ok(()) }
}

/// Waits until the other end of the pipe is closed. Nothing is ever written to it.
fn wait_for_end(lease: &OwnedFd) {
    let mut wait = [PollFd::from_borrowed_fd(lease.as_fd(), PollFlags::IN)];
    while matches!(poll(&mut wait, None), Err(rustix::io::Errno::INTR)) {}
}

/// Removes sandboxes whose `msb run` and supervisor were both killed. On failure the next msb tries again.
pub fn remove_abandoned(machine: &Machine) {
    let home = &machine.home;
    for entry in std::fs::read_dir(home.project_locks()).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(project) = file.to_str().and_then(|file| file.strip_suffix(OWNER_SUFFIX)) else { continue };
        let Some(name) = project.strip_prefix('@').and_then(|name| SandboxName::new(name).ok()) else {
            continue;
        };
        let project = ProjectName::of_one(&name);
        let is_abandoned = || {
            owner(home, &project).is_some_and(|owner| !owner.is_alive()) && !is_supervised(machine, &project)
        };
        if !is_abandoned() {
            continue;
        }
        let Ok(locked) = LockedProject::acquire(machine, &project, COMMAND, Duration::ZERO) else { continue };
        if is_abandoned()
            && let Err(failure) = remove(&locked, &name)
        {
            OutputOptions::SILENT
                .warn(&format!("cannot remove {name}, whose `msb run` was killed: {}", failure.message));
        }
    }
}

/// Returns whether a supervisor is alive, which will remove the sandbox.
fn is_supervised(Machine { home, catalog }: &Machine, project: &ProjectName) -> bool {
    let rows = catalog.sandboxes(Some(project)).map(|recorded| recorded.sandboxes).unwrap_or_default();
    let states = rows.iter().filter_map(|row| read_state(&home.sandbox(&row.id)));
    states.into_iter().any(|state| state.supervisor.is_alive())
}

/// Removes the sandbox of a project, which may not exist if its creation failed early.
fn remove(locked: &LockedProject, name: &SandboxName) -> Result<(), CliError> {
    let LockedProject { machine: Machine { home, catalog }, project, .. } = locked;
    let Recorded { sandboxes, unreadable } = catalog.sandboxes(Some(project))?;
    if !sandboxes.is_empty() || !unreadable.is_empty() {
        lifecycle::remove_locked(locked, name, None)?;
    }
    clear_owner(home, project);
    Ok(())
}
