//! Stops, removes and updates one sandbox.

use super::steps::make_folder;
use super::{Applier, Outcome, RETRY, STOP_TIME, StepFailure};
use executor_client::control::{ControlClient, Request};
use executor_fs::file::if_present;
use executor_host::disk::{self, DiskError};
use executor_host::home::{RunFolder, SandboxFolder};
use executor_host::lock::{FileLock, LockError, read_holder};
use executor_host::process::ProcessIdentity;
use executor_host::state::read_state;
use executor_metrics::Registry;
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, full_name};
use schemas::plan::Identity;
use schemas::spec::SandboxSpec;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The time after the guest's own timeout at which a supervisor is killed.
const SUPERVISOR_MARGIN: Duration = Duration::from_secs(10);
/// The longest time for which a supervisor that accepts no requests may start or end.
const CLOSE_GRACE: Duration = Duration::from_secs(3);
/// The timeout of the end of a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

impl Applier {
    pub(super) async fn ensure_stopped(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        spec: &Digest,
    ) -> Result<Outcome, StepFailure> {
        let Some(row) = self.catalog.sandbox(&identity.id)?.filter(|row| row.spec.digest() == *spec) else {
            return Ok(Outcome::NotNeeded);
        };
        self.catalog.set_should_run(&row.id, false)?;
        let (lock, outcome) = self.end_processes(project, identity).await?;
        lock.remove();
        Ok(outcome)
    }

    /// Removes a sandbox with its anonymous volumes.
    pub(super) async fn ensure_removed_with_volumes(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
    ) -> Result<Outcome, StepFailure> {
        if self.catalog.is_recorded(&identity.id)? {
            self.catalog.set_should_run(&identity.id, false)?;
            // No process uses the volumes any more, and none is started while the lock is held.
            let (_lock, _) = self.end_processes(project, identity).await?;
            // Before its record, so that an interrupted removal is continued.
            self.remove_anonymous_volumes(project, &identity.name).await?;
        }
        self.ensure_removed(project, identity).await
    }

    pub(super) async fn ensure_removed(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
    ) -> Result<Outcome, StepFailure> {
        // Its row may be unreadable.
        if !self.catalog.is_recorded(&identity.id)? {
            return Ok(Outcome::NotNeeded);
        }
        self.catalog.set_should_run(&identity.id, false)?;
        let (lock, _) = self.end_processes(project, identity).await?;
        let folder = self.home.sandbox(&identity.id);
        let run_folder = self.home.sandbox_run(&full_name(project, &identity.name));
        remove_tree(folder.path())?;
        lock.remove();
        remove_tree(run_folder.path())?;
        // Its supervisor may have been killed.
        Registry::remove_unused(&self.home);
        self.catalog.forget_sandbox(&identity.id)?;
        Ok(Outcome::Updated)
    }

    /// Ends the processes of a sandbox, by a shutdown if the supervisor answers; returns the lock that prevents a start.
    pub(super) async fn end_processes(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
    ) -> Result<(FileLock, Outcome), StepFailure> {
        let folder = self.home.sandbox(&identity.id);
        let run_folder = self.home.sandbox_run(&full_name(project, &identity.name));
        make_folder(run_folder.path())?;
        if let Ok(lock) = FileLock::acquire(&run_folder.lock(), "msb", Duration::ZERO) {
            kill_orphan(&folder).await?;
            return Ok((lock, Outcome::NotNeeded));
        }
        let timeout = self.stop_timeout(identity);
        let asked = tokio::time::timeout(timeout + SUPERVISOR_MARGIN, async {
            let (mut control, _) =
                ControlClient::connect_to(&run_folder.control_socket(), &identity.id).await?;
            if self.settings.kill { control.kill().await } else { control.stop_with_timeout(timeout).await }
        });
        let answered = match asked.await {
            Ok(Err(error)) if error.kind() == ErrorKind::AddrInUse => return Err(error.into()),
            asked => matches!(asked, Ok(Ok(()))),
        };
        let lock_path = run_folder.lock();
        let recorded = read_state(&folder).map(|state| state.supervisor);
        let locked = tokio::task::spawn_blocking(move || {
            let timeout = if answered { SUPERVISOR_MARGIN } else { CLOSE_GRACE };
            match FileLock::acquire(&lock_path, "msb", timeout) {
                Err(LockError::Held { .. }) => {
                    // A lock that was taken on a full disk names no holder.
                    let holder = read_holder(&lock_path).map(|holder| holder.process);
                    holder.iter().chain(&recorded).for_each(ProcessIdentity::kill);
                    FileLock::acquire(&lock_path, "msb", KILL_TIMEOUT)
                }
                other => other,
            }
        });
        let lock = locked.await.map_err(|error| StepFailure::defect(&error))??;
        kill_orphan(&folder).await?;
        Ok((lock, Outcome::Updated))
    }

    /// Returns the timeout of the shutdown of a sandbox.
    pub(super) fn stop_timeout(&self, identity: &Identity) -> Duration {
        let declared = || {
            // An unreadable row declares nothing.
            let row = self.catalog.sandbox(&identity.id).ok().flatten()?;
            row.spec.definition.stop_timeout_ms.map(Duration::from_millis)
        };
        self.settings.stop_timeout.or_else(declared).unwrap_or(STOP_TIME)
    }

    /// Sends a new spec to the supervisor of a running sandbox; does nothing if it does not run.
    pub(super) async fn update_running(
        &self,
        run_folder: &RunFolder,
        id: &SandboxId,
        spec: &SandboxSpec,
    ) -> Result<(), StepFailure> {
        let mut control = match ControlClient::connect_to(&run_folder.control_socket(), id).await {
            Ok((control, _)) => control,
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

/// Kills every VMM whose supervisor has ended, and waits for its end, as the next one uses the same disk. Fails if one is
/// still alive at the timeout.
///
/// A VMM dies with its supervisor; this covers the moment in between. The lock on the disk shows whether one is left, as
/// a VMM may have been launched and not been recorded yet.
pub(super) async fn kill_orphan(folder: &SandboxFolder) -> Result<(), StepFailure> {
    let recorded = read_state(folder).and_then(|state| state.vmm);
    let deadline = tokio::time::Instant::now() + KILL_TIMEOUT;
    loop {
        let recorded = recorded.filter(ProcessIdentity::is_alive);
        let failure = match (recorded, disk::take(&folder.disk())) {
            (None, Ok(_)) => return Ok(()),
            (None, Err(DiskError::Io { source, .. })) if source.kind() == ErrorKind::NotFound => {
                return Ok(());
            }
            (Some(vmm), Ok(_) | Err(DiskError::Io { .. })) => {
                vmm.kill();
                StepFailure::new(format!("the virtual machine (process {}) cannot be ended", vmm.pid))
            }
            (None, Err(error @ DiskError::Io { .. })) => return Err(error.into()),
            (_, Err(error @ DiskError::InUse { .. })) => {
                if let DiskError::InUse { holders, .. } = &error {
                    holders.iter().chain(&recorded).for_each(ProcessIdentity::kill);
                }
                error.into()
            }
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(failure.hint("end that process, then try again"));
        }
        tokio::time::sleep(RETRY).await;
    }
}

pub(super) fn remove_tree(path: &Path) -> Result<(), StepFailure> {
    let failed = |error| StepFailure::new(format!("cannot remove {}: {error}", path.display()));
    if_present(fs::remove_dir_all(path)).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_host::home::{Home, make_private_folder};
    use schemas::name::SandboxName;
    use std::process::{Command, Stdio};

    fn folder() -> (tempfile::TempDir, SandboxFolder) {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::open(scratch.path().to_owned()).unwrap();
        let name = (ProjectName::new("shop").unwrap(), SandboxName::new("web").unwrap());
        let folder = home.sandbox(&SandboxId::derive(&name.0, &name.1, 1));
        make_private_folder(folder.path()).unwrap();
        fs::write(folder.disk(), "disk").unwrap();
        (scratch, folder)
    }

    #[tokio::test]
    async fn a_machine_that_nobody_recorded_is_killed_before_its_disk_is_used() {
        let (_scratch, folder) = folder();
        let held = disk::take(&folder.disk()).unwrap();
        let mut machine = Command::new("sleep").arg("1000").stdin(Stdio::from(held)).spawn().unwrap();
        assert!(read_state(&folder).is_none());
        kill_orphan(&folder).await.unwrap();
        assert!(machine.wait().unwrap().code().is_none(), "it was not killed");
        disk::take(&folder.disk()).unwrap();
        // No machine is left, and a missing disk is no error.
        kill_orphan(&folder).await.unwrap();
        fs::remove_file(folder.disk()).unwrap();
        kill_orphan(&folder).await.unwrap();
    }
}
