//! Stops and removes one sandbox, and tells a running one of changes.

use super::{Applier, Outcome, StepFailure};
use crate::control::{ControlClient, Request};
use crate::home::{RunFolder, SandboxFolder};
use crate::lock::{FileLock, LockError, read_holder};
use crate::state::read_state;
use schemas::digest::Digest;
use schemas::name::{ProjectName, full_name};
use schemas::plan::Identity;
use schemas::spec::SandboxSpec;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a supervisor has, beyond the guest's own time, before it is killed.
const SUPERVISOR_MARGIN: Duration = Duration::from_secs(10);
/// How long a supervisor that takes no requests may be on its way up or out.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long the kernel may take to end a killed process.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How often a killed process is looked at.
const RETRY: Duration = Duration::from_millis(5);

impl Applier {
    pub(super) async fn ensure_stopped(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        spec: &Digest,
    ) -> Result<Outcome, StepFailure> {
        let Some(row) = self.row(identity)?.filter(|row| row.spec.digest() == *spec) else {
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
        // Its row need not be readable.
        if !self.catalog.is_recorded(&identity.id)? {
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
            kill_orphan(&folder).await;
            return Ok((lock, Outcome::NotNeeded));
        }
        let timeout = self.settings.stop_timeout;
        let asked = tokio::time::timeout(timeout + SUPERVISOR_MARGIN, async {
            let mut control = ControlClient::connect(&run_folder.control_socket()).await?;
            match self.settings.kill {
                true => control.kill().await,
                false => control.stop_with_timeout(timeout).await,
            }
        });
        let heard = matches!(asked.await, Ok(Ok(())));
        let lock_path = run_folder.lock();
        let locked = tokio::task::spawn_blocking(move || {
            let patience = if heard { SUPERVISOR_MARGIN } else { LAST_WORDS };
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
        kill_orphan(&folder).await;
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

/// Kills a VMM whose supervisor is gone, and waits for its end: the next one uses the same disk.
///
/// It dies with its supervisor; this is for a host where it could not, and for the moment in between.
pub(super) async fn kill_orphan(folder: &SandboxFolder) {
    let Some(vmm) = read_state(folder).and_then(|state| state.vmm) else { return };
    let deadline = tokio::time::Instant::now() + KILL_PATIENCE;
    while vmm.is_alive() && tokio::time::Instant::now() < deadline {
        vmm.kill();
        tokio::time::sleep(RETRY).await;
    }
}

pub(super) fn remove_tree(path: &Path) -> Result<(), StepFailure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StepFailure::new(format!("cannot remove {}: {error}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
