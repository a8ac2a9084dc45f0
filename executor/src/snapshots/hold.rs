//! Holds the writes of a sandbox that is up while its disk is copied.
//!
//! The guest writes everything back and freezes the file system, so the copy is as after an orderly stop. A paused machine
//! runs for that moment, and is paused while its disk is copied.

use super::SnapshotError;
use executor_client::agent::{AgentClient, AgentError, FrozenDisk};
use executor_client::control::ControlClient;
use executor_host::home::RunFolder;
use schemas::name::SandboxId;

/// A disk whose writes are held. The guest goes on with them if this is dropped, or its process is killed.
pub(super) struct HeldDisk {
    agent: AgentClient,
    frozen: FrozenDisk,
    /// The supervisor of a machine that is paused.
    paused: Option<ControlClient>,
}

impl HeldDisk {
    /// Holds the writes of this sandbox.
    pub async fn hold(folder: &RunFolder, id: &SandboxId) -> Result<Self, SnapshotError> {
        let (mut control, state) = ControlClient::connect_to(&folder.control_socket(), id)
            .await
            .map_err(SnapshotError::Supervisor)?;
        let mut agent = AgentClient::connect(&folder.agent_socket()).await.map_err(SnapshotError::guest)?;
        if !state.paused {
            let frozen = agent.freeze_disk().await.map_err(SnapshotError::guest)?;
            return Ok(Self { agent, frozen, paused: None });
        }
        control.resume().await.map_err(SnapshotError::Supervisor)?;
        let frozen = agent.freeze_disk().await;
        control.pause().await.map_err(SnapshotError::Supervisor)?;
        Ok(Self { agent, frozen: frozen.map_err(SnapshotError::guest)?, paused: Some(control) })
    }

    /// Has the guest go on with its writes. Fails if it could write meanwhile.
    pub async fn release(self) -> Result<(), SnapshotError> {
        let Self { mut agent, frozen, paused } = self;
        let Some(mut control) = paused else {
            return agent.thaw_disk(frozen).await.map_err(SnapshotError::guest);
        };
        control.resume().await.map_err(SnapshotError::Supervisor)?;
        let thawed = agent.thaw_disk(frozen).await;
        control.pause().await.map_err(SnapshotError::Supervisor)?;
        match thawed {
            // The time of the pause may count for the guest, which then goes on by itself. It wrote nothing before.
            Ok(()) | Err(AgentError::Refused { .. }) => Ok(()),
            Err(error) => Err(SnapshotError::guest(error)),
        }
    }
}
