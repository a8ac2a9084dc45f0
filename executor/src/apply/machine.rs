//! Starts, stops and removes one sandbox's processes.

use super::{Applier, Outcome, StepFailure};
use crate::control::{ControlClient, Event, Request};
use crate::home::{RunFolder, SandboxFolder};
use crate::lock::{FileLock, LockError, read_holder};
use crate::process::ProcessIdentity;
use crate::state::{Orders, Phase, STATE_VERSION, State, read_state, write_json};
use executor_log::RUNTIME_LOG;
use schemas::digest::Digest;
use schemas::name::{ProjectName, full_name};
use schemas::plan::Identity;
use schemas::snapshot::Exit;
use schemas::spec::{Role, SandboxSpec};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a supervisor has, beyond the guest's own time, before it is killed.
const SUPERVISOR_MARGIN: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed process.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How long a supervisor that another msb has just spawned may take to open its socket.
const SOCKET_PATIENCE: Duration = Duration::from_secs(5);
/// How often a socket that is not there yet is tried.
const SOCKET_RETRY: Duration = Duration::from_millis(5);
/// How many of a log's last lines a failure shows.
const LOG_LINES: usize = 5;

impl Applier {
    pub(super) async fn ensure_started(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        spec: &Digest,
    ) -> Result<Outcome, StepFailure> {
        let name = &identity.name;
        let row = self
            .row(identity, project)?
            .filter(|row| row.spec.digest() == *spec)
            .ok_or_else(|| StepFailure::new(format!("{name} is not recorded as planned")))?;
        let folder = self.home.sandbox(&identity.id);
        let full_name = full_name(project, name);
        let run_folder = self.home.sandbox_run(&full_name);
        self.catalog.set_wanted(&identity.id, true)?;

        let running =
            read_state(&folder).is_some_and(|state| !state.is_final() && state.supervisor.is_alive());
        let (outcome, watcher) = if running {
            (
                Outcome::NotNeeded,
                connect(&run_folder).await.map_err(|error| unreachable(name.as_str(), &error))?,
            )
        } else {
            let orders = Orders {
                version: STATE_VERSION,
                id: identity.id.clone(),
                full_name,
                name: name.to_string(),
                spec: row.spec.clone(),
                boot: self.settings.boot.clone(),
            };
            (Outcome::Added, self.spawn_supervisor(&folder, &run_folder, &orders).await?)
        };
        let state = self.wait_until_started(watcher, &folder, name.as_str()).await?;
        match state.phase {
            Phase::Exited { exit: Exit::Code { code } }
                if code != 0 && row.spec.definition.role == Role::Service =>
            {
                let failure =
                    StepFailure::new(format!("{name} exited with code {code} right after its start"));
                Err(with_last_lines(failure, &folder).hint(format!("msb logs {name}")))
            }
            Phase::Exited { exit: Exit::Failure { message } } => {
                Err(StepFailure::new(format!("{name}: {message}"))
                    .hint(format!("msb logs {name} --source system")))
            }
            Phase::Booting
            | Phase::Running
            | Phase::Backoff { .. }
            | Phase::Exited { .. }
            | Phase::Stopped => Ok(outcome),
        }
    }

    async fn spawn_supervisor(
        &self,
        folder: &SandboxFolder,
        run_folder: &RunFolder,
        orders: &Orders,
    ) -> Result<ControlClient, StepFailure> {
        let failed = |error: io::Error| StepFailure::new(format!("cannot spawn the supervisor: {error}"));
        crate::home::make_private_folder(&folder.logs()).map_err(failed)?;
        write_json(&folder.orders(), orders).map_err(failed)?;
        // A run that was cut off must not be taken for this one.
        let _ = fs::remove_file(folder.state());
        let spawned = self.settings.supervise.spawn(orders.id.as_str(), &folder.logs().join(RUNTIME_LOG));
        let (mut child, ours) = spawned.map_err(failed)?;
        // Collects the child when it ends while this msb still runs.
        std::thread::spawn(move || child.wait());
        ours.set_nonblocking(true).map_err(failed)?;
        let mut watcher = ControlClient::over(UnixStream::from_std(ours).map_err(failed)?);
        match watcher.send(&Request::Watch).await {
            Ok(()) => Ok(watcher),
            // It ended at once. If that was because another one runs, that one is as good.
            Err(_) => connect(run_folder).await.map_err(|_| supervisor_failed(folder)),
        }
    }

    /// Waits until the main process has been started, or the sandbox has ended for good.
    async fn wait_until_started(
        &self,
        mut watcher: ControlClient,
        folder: &SandboxFolder,
        name: &str,
    ) -> Result<State, StepFailure> {
        loop {
            match watcher.next().await {
                Ok(Some(Event::State { state })) if state.phase == Phase::Running || state.is_final() => {
                    return Ok(*state);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    // The last word may have been lost with the socket, but not in the file.
                    return match read_state(folder).filter(State::is_final) {
                        Some(state) => Ok(state),
                        None => Err(supervisor_failed(folder).detail(format!("while {name} was starting"))),
                    };
                }
            }
        }
    }

    pub(super) async fn ensure_stopped(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        spec: &Digest,
    ) -> Result<Outcome, StepFailure> {
        let Some(row) = self.row(identity, project)?.filter(|row| row.spec.digest() == *spec) else {
            return Ok(Outcome::NotNeeded);
        };
        self.catalog.set_wanted(&row.id, false)?;
        let (lock, outcome) = self.end_processes(project, identity).await?;
        lock.remove();
        Ok(outcome)
    }

    pub(super) async fn ensure_removed(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
    ) -> Result<Outcome, StepFailure> {
        if self.row(identity, project)?.is_none() {
            return Ok(Outcome::NotNeeded);
        }
        self.catalog.set_wanted(&identity.id, false)?;
        let (lock, _) = self.end_processes(project, identity).await?;
        let folder = self.home.sandbox(&identity.id);
        let run_folder = self.home.sandbox_run(&full_name(project, &identity.name));
        remove_tree(folder.path())?;
        lock.remove();
        remove_tree(run_folder.path())?;
        self.catalog.forget_sandbox(&identity.id)?;
        Ok(Outcome::Updated)
    }

    /// Ends whatever runs of a sandbox, in order if it listens; gives the lock that keeps it ended.
    async fn end_processes(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
    ) -> Result<(FileLock, Outcome), StepFailure> {
        let folder = self.home.sandbox(&identity.id);
        let run_folder = self.home.sandbox_run(&full_name(project, &identity.name));
        crate::home::make_private_folder(run_folder.path()).map_err(|error| {
            StepFailure::new(format!("cannot make {}: {error}", run_folder.path().display()))
        })?;
        if let Ok(lock) = FileLock::acquire(&run_folder.lock(), "msb", Duration::ZERO) {
            kill_orphan(&folder);
            return Ok((lock, Outcome::NotNeeded));
        }
        let timeout = self.settings.stop_timeout;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let asked = tokio::time::timeout(timeout + SUPERVISOR_MARGIN, async {
            connect(&run_folder).await?.ask(&Request::Stop { timeout_ms }).await
        });
        let heard = matches!(asked.await, Ok(Ok(())));
        let lock_path = run_folder.lock();
        let locked = tokio::task::spawn_blocking(move || {
            let patience = if heard { SUPERVISOR_MARGIN } else { Duration::ZERO };
            match FileLock::acquire(&lock_path, "msb", patience) {
                Err(LockError::Held { .. }) => {
                    if let Some(holder) = read_holder(&lock_path) {
                        holder.process.kill();
                    }
                    FileLock::acquire(&lock_path, "msb", KILL_PATIENCE)
                }
                other => other,
            }
        });
        let lock = match locked.await {
            Ok(Ok(lock)) => lock,
            Ok(Err(error)) => return Err(StepFailure::from_error(&error)),
            Err(error) => return Err(StepFailure::new(format!("a defect in msb: {error}"))),
        };
        kill_orphan(&folder);
        Ok((lock, Outcome::Updated))
    }

    /// Tells a running sandbox's supervisor its new spec. One that does not run needs no telling.
    pub(super) async fn update_running(
        &self,
        run_folder: &RunFolder,
        spec: &SandboxSpec,
    ) -> Result<(), StepFailure> {
        let mut control = match ControlClient::connect(&run_folder.control_socket()).await {
            Ok(control) => control,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(());
            }
            Err(error) => return Err(StepFailure::new(format!("cannot reach the supervisor: {error}"))),
        };
        control
            .ask(&Request::Update { spec: Box::new(spec.clone()) })
            .await
            .map_err(|error| StepFailure::new(format!("the supervisor did not take the change: {error}")))
    }
}

/// Watches a running sandbox.
async fn connect(run_folder: &RunFolder) -> io::Result<ControlClient> {
    let deadline = tokio::time::Instant::now() + SOCKET_PATIENCE;
    loop {
        match ControlClient::connect(&run_folder.control_socket()).await {
            Ok(mut control) => {
                control.send(&Request::Watch).await?;
                return Ok(control);
            }
            // Between a supervisor's lock and its socket lie a few milliseconds.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                    && tokio::time::Instant::now() < deadline
                    && read_holder(&run_folder.lock()).is_some_and(|holder| holder.process.is_alive()) =>
            {
                tokio::time::sleep(SOCKET_RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Kills a VMM whose supervisor is gone. It dies with it; this is for a host where it could not.
fn kill_orphan(folder: &SandboxFolder) {
    if let Some(vmm) = read_state(folder).and_then(|state| state.vmm) {
        ProcessIdentity::kill(&vmm);
    }
}

fn unreachable(name: &str, error: &io::Error) -> StepFailure {
    StepFailure::new(format!("cannot reach the supervisor of {name}: {error}"))
}

fn supervisor_failed(folder: &SandboxFolder) -> StepFailure {
    let mut failure = StepFailure::new("the supervisor ended unexpectedly");
    for line in last_lines(&folder.logs().join(RUNTIME_LOG)) {
        failure = failure.detail(line);
    }
    failure
}

/// Adds the last lines that a sandbox printed.
pub(super) fn with_last_lines(failure: StepFailure, folder: &SandboxFolder) -> StepFailure {
    let entries = executor_log::read_entries(&folder.logs().join(executor_log::EXEC_LOG)).unwrap_or_default();
    let mut assembler = executor_log::LineAssembler::default();
    let mut lines: Vec<_> = entries.into_iter().flat_map(|entry| assembler.push(entry)).collect();
    lines.extend(assembler.finish());
    let printed = lines.iter().filter(|line| line.session.is_some());
    let texts: Vec<_> = printed.map(|line| String::from_utf8_lossy(&line.data).into_owned()).collect();
    if texts.is_empty() {
        return failure;
    }
    let last = &texts[texts.len().saturating_sub(LOG_LINES)..];
    last.iter().fold(failure.detail("it last printed:"), |failure, line| failure.detail(format!("  {line}")))
}

fn last_lines(path: &Path) -> Vec<String> {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(ToString::to_string).collect()
}

fn remove_tree(path: &Path) -> Result<(), StepFailure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StepFailure::new(format!("cannot remove {}: {error}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
