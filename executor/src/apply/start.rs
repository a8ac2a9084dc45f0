//! Starts one sandbox: attaches to its running supervisor or spawns one, and waits until the sandbox is up.

use super::failure::{last_lines, limit_hint};
use super::stop::kill_orphan;
use super::{Applier, Outcome, RETRY, SUPERVISOR_TIMEOUT, StepFailure};
use crate::launch::LaunchSpec;
use crate::secrets;
use executor_client::control::{ControlClient, Request};
use executor_host::home::{RunFolder, SandboxFolder};
use executor_host::lock::{FileLock, LockError};
use executor_host::state::{Phase, STATE_VERSION, State, read_state, write_json};
use executor_log::{RUNTIME_LOG, Source};
use executor_net::{Addresses, Family, Pools};
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName, VolumeName, full_name};
use schemas::plan::Identity;
use schemas::snapshot::Exit;
use schemas::spec::{Definition, HookEvent, MountSource, Network, Role, ValueName, VolumeSpec};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// The failed starts after which the step fails, even if the restart policy continues.
const STARTS_BEFORE_GIVING_UP: u32 = 3;

impl Applier {
    pub(super) async fn ensure_started(
        self: &Arc<Self>,
        project: &ProjectName,
        identity: &Identity,
        spec: &Digest,
    ) -> Result<Outcome, StepFailure> {
        let name = &identity.name;
        let row = self
            .catalog
            .sandbox(&identity.id)?
            .filter(|row| row.spec.digest() == *spec)
            .ok_or_else(|| StepFailure::new(format!("{name} is not recorded as planned")))?;
        let folder = self.home.sandbox(&identity.id);
        let full_name = full_name(project, name);
        let run_folder = self.home.sandbox_run(&full_name);
        self.catalog.set_should_run(&identity.id, true)?;

        let (outcome, watcher) = match attach(&folder, &run_folder, &identity.id).await? {
            Some(mut watcher) if watcher.first.as_ref().is_some_and(|state| state.paused) => {
                watcher.client.resume().await.map_err(|error| not_resumed(name, &error))?;
                (Outcome::Updated, watcher)
            }
            Some(watcher) => (Outcome::NotNeeded, watcher),
            None => {
                // Before the start, so that a crash from here on leaves the hook due. Without a hook none is due,
                // even if one is added while the sandbox runs.
                let has_hook = row.spec.definition.hooks.contains_key(&HookEvent::PostStart);
                self.catalog.set_hook_done(&identity.id, !has_hook)?;
                let boot = self.settings.boot.clone();
                let addresses = Some(self.addresses(identity, &row.spec.definition.network)?);
                let mut launch = LaunchSpec {
                    version: STATE_VERSION,
                    id: identity.id.clone(),
                    full_name,
                    name: name.clone(),
                    project: project.clone(),
                    folder: self.settings.folder.clone(),
                    spec: row.spec.clone(),
                    volumes: self.volumes(project, &row.spec.definition)?,
                    external: self.external_volumes(&row.spec.definition)?,
                    anonymous: BTreeMap::new(),
                    warnings: Vec::new(),
                    boot: boot.ok_or_else(|| StepFailure::new("nothing was said of how to boot"))?,
                    addresses,
                };
                self.add_anonymous_volumes(&mut launch)?;
                let secrets = self.secrets(&launch).await?;
                (Outcome::Added, self.spawn_supervisor(&folder, &launch, secrets.as_ref()).await?)
            }
        };
        let state = match self.wait_until_started(watcher, &folder, name.as_str()).await? {
            Some(state) => state,
            // A supervisor that an interrupted msb has spawned may have the lock instead: attach to that one.
            None => {
                let failed = || supervisor_failed(&folder).detail(format!("while {name} was starting"));
                let watcher = attach(&folder, &run_folder, &identity.id).await?.ok_or_else(failed)?;
                self.wait_until_started(watcher, &folder, name.as_str()).await?.ok_or_else(failed)?
            }
        };
        match state.phase {
            Phase::Exited { exit: exit @ Exit::NotStarted { .. } } => {
                Err(StepFailure::new(format!("{name} {exit}"))
                    .hint(format!("check `start`, `user` and `workdir` of {name}")))
            }
            Phase::Exited { exit: Exit::Code { code } }
                if code != 0 && row.spec.definition.role == Role::Service =>
            {
                Err(StepFailure::new(format!("{name} exited with code {code} right after its start"))
                    .last_output(&folder)
                    .hint(format!("msb logs {name}")))
            }
            Phase::Exited { exit: Exit::Failure { cause: _, message } } => {
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

    /// Reads the values of a sandbox; returns a file in memory with them, or `None` if it has none.
    async fn secrets(&self, launch: &LaunchSpec) -> Result<Option<OwnedFd>, StepFailure> {
        let definition = &launch.spec.definition;
        if definition.value_sources().next().is_none() {
            return Ok(None);
        }
        let values =
            secrets::read_all(definition, launch.folder.as_deref()).await.map_err(|(name, error)| {
                StepFailure::new(format!("{}: {}: {error}", launch.name, described(&name)))
                    .hint("values are read whenever their sandbox starts")
            })?;
        let memory = secrets::send(&values);
        memory.map(Some).map_err(|error| StepFailure::new(format!("cannot pass the secrets on: {error}")))
    }

    /// Returns the recorded specs of the volumes that a sandbox mounts.
    fn volumes(
        &self,
        project: &ProjectName,
        definition: &Definition,
    ) -> Result<BTreeMap<VolumeName, VolumeSpec>, StepFailure> {
        let mut volumes = BTreeMap::new();
        for mount in definition.mounts.values() {
            if let MountSource::Volume { name } = &mount.source
                && let Some(row) = self.catalog.volume(project, name)?
            {
                volumes.insert(name.clone(), row.spec);
            }
        }
        Ok(volumes)
    }

    /// Returns the specs of the volumes of other projects or of none that a sandbox mounts, by their full names.
    fn external_volumes(
        &self,
        definition: &Definition,
    ) -> Result<BTreeMap<VolumeName, VolumeSpec>, StepFailure> {
        let mut volumes = BTreeMap::new();
        for mount in definition.mounts.values() {
            let MountSource::External { name: _, volume } = &mount.source else { continue };
            let row = self
                .catalog
                .volume_by_full_name(volume.as_str())?
                .filter(|row| row.created && row.anonymous.is_none());
            let missing = || {
                StepFailure::new(format!("there is no volume {volume}"))
                    .hint(format!("`msb volume create {volume}` creates it"))
            };
            volumes.insert(volume.clone(), row.ok_or_else(missing)?.spec);
        }
        Ok(volumes)
    }

    /// Returns the sandbox's addresses, which stay the same while it is recorded and its pools do not change.
    fn addresses(&self, identity: &Identity, network: &Network) -> Result<Addresses, StepFailure> {
        let Network { default: _, rules: _, ipv4_pool, ipv6_pool, proxy: _, dns: _ } = network;
        let usual = self.settings.pools;
        let pools = Pools { ipv4: ipv4_pool.unwrap_or(usual.ipv4), ipv6: ipv6_pool.unwrap_or(usual.ipv6) };
        self.catalog.network_addresses(&identity.id, pools)?.map_err(|family| {
            let (pool, count) = match family {
                Family::Ipv4 => (pools.ipv4.to_string(), u64::from(pools.ipv4_subnets())),
                Family::Ipv6 => (pools.ipv6.to_string(), pools.ipv6_subnets()),
            };
            StepFailure::new(format!("all {count} subnets of the {family} pool {pool} are taken")).hint(format!(
                "remove sandboxes that are no longer needed (msb ps --all lists them), or name a larger pool with \
                 --net-{}-pool, in the sandbox's `network`, or in config.json",
                family.to_string().to_lowercase()
            ))
        })
    }

    async fn spawn_supervisor(
        &self,
        folder: &SandboxFolder,
        launch: &LaunchSpec,
        secrets: Option<&OwnedFd>,
    ) -> Result<Watcher, StepFailure> {
        let failed = |error: io::Error| {
            let failure = StepFailure::new(format!("cannot spawn the supervisor: {error}"));
            match limit_hint(&error) {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        };
        executor_host::home::make_private_folder(&folder.logs()).map_err(failed)?;
        write_json(&folder.launch_spec(), launch).map_err(failed)?;
        // The state of an earlier run must not be taken for this one's.
        let _ = fs::remove_file(folder.state());
        let log = folder.logs().join(RUNTIME_LOG);
        let spawned = self.settings.supervise.spawn(launch.id.as_str(), &log, secrets);
        watch_spawned(spawned.map_err(failed)?).await.map_err(failed)
    }

    /// Waits until the main process has been started, or the sandbox has ended. `None` if the supervisor ends without a
    /// final state.
    async fn wait_until_started(
        &self,
        Watcher { mut client, mut first }: Watcher,
        folder: &SandboxFolder,
        name: &str,
    ) -> Result<Option<State>, StepFailure> {
        loop {
            let state = match first.take() {
                Some(state) => state,
                None => match client.next_state().await {
                    Ok(state) => state,
                    // The final state may have been lost with the socket, but it is in the file.
                    Err(_) => return Ok(read_state(folder).filter(State::is_final)),
                },
            };
            if let Phase::Backoff { exit } = &state.phase
                && state.restarts >= STARTS_BEFORE_GIVING_UP
            {
                let how = match exit {
                    Exit::Failure { cause: _, message } => format!(": {message}"),
                    exit => format!(" {exit}"),
                };
                let message =
                    format!("{name}{how}, {} times in a row; its restart policy goes on", state.restarts);
                return Err(StepFailure::new(message).last_output(folder).hint(format!("msb logs {name}")));
            }
            if state.phase == Phase::Running || state.is_final() {
                return Ok(Some(state));
            }
        }
    }
}

/// Names a value for people.
pub(super) fn described(name: &ValueName) -> String {
    match name {
        ValueName::Secret(name) => format!("the secret {name}"),
        ValueName::ProxyPassword => "the password of the proxy".to_owned(),
    }
}

/// A connection that watches a supervisor's states, with the state that has been received already.
struct Watcher {
    client: ControlClient,
    first: Option<State>,
}

/// Watches a supervisor that this process has spawned.
async fn watch_spawned(ours: std::os::unix::net::UnixStream) -> io::Result<Watcher> {
    ours.set_nonblocking(true)?;
    let mut client = ControlClient::over(UnixStream::from_std(ours)?);
    // One that has ended already, because another one has the lock, is noticed when its states are read.
    let _ = client.send(&Request::Watch).await;
    Ok(Watcher { client, first: None })
}

/// Watches the running supervisor. Without one, ends what is left of an earlier run and returns `None`.
async fn attach(
    folder: &SandboxFolder,
    run_folder: &RunFolder,
    id: &SandboxId,
) -> Result<Option<Watcher>, StepFailure> {
    let failed = |error: io::Error| StepFailure::new(format!("cannot make the folder of sockets: {error}"));
    executor_host::home::make_private_folder(run_folder.path()).map_err(failed)?;
    let deadline = tokio::time::Instant::now() + SUPERVISOR_TIMEOUT;
    loop {
        match FileLock::acquire(&run_folder.lock(), "msb", Duration::ZERO) {
            // Only a supervisor of this process takes it next: the project's lock is held.
            Ok(lock) => {
                // Under the lock, so that a supervisor of an interrupted msb starts no machine meanwhile, which would be
                // taken for an orphan.
                kill_orphan(folder).await?;
                lock.remove();
                return Ok(None);
            }
            Err(LockError::Held { .. }) if tokio::time::Instant::now() < deadline => {}
            Err(error) => return Err(error.into()),
        }
        // The supervisor may have no socket yet, or none any more.
        match ControlClient::connect_to(&run_folder.control_socket(), id).await {
            Ok((client, state)) => return Ok(Some(Watcher { client, first: Some(state) })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(StepFailure::from(error).hint("stop that sandbox first: msb ps --all lists them"));
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Returns the failure to resume a sandbox.
pub(super) fn not_resumed(name: &SandboxName, error: &io::Error) -> StepFailure {
    StepFailure::new(format!("{name} cannot be resumed: {error}"))
        .hint(format!("`msb restart {name}` starts it again"))
}

fn supervisor_failed(folder: &SandboxFolder) -> StepFailure {
    let details = last_lines(folder, &[Source::Runtime]);
    StepFailure { details, ..StepFailure::new("the supervisor ended unexpectedly") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_spawned_supervisor_that_has_ended_is_noticed_later() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(theirs);
        let mut watcher = watch_spawned(ours).await.unwrap();
        assert!(watcher.client.next_state().await.is_err());
    }
}
