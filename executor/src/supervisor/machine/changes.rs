//! Changes of shared files, from the file server to the guest.

use crate::supervisor::agent_link::link::Link;
use crate::supervisor::state_store::StateStore;
use executor_client::deadline::within;
use executor_share::{Change, ChangeKind, receive_change};
use protocol::frame::LINK_ID;
use protocol::latest::{
    FEATURE_MOUNT_CHANGES, MOUNT_CHANGES_MAX, Message, MountChange, MountChangeKind, MountsChanged,
};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// The time in which a guest handles one report, unless it does not any more.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);

/// Forwards the reports of the file server to a guest with these features, one at a time; the caller drops it when the
/// link is lost.
pub async fn forward(
    link: &Link,
    features: &[String],
    reports: Option<&AsyncFd<OwnedFd>>,
    store: &StateStore,
) -> Infallible {
    if let Some(reports) = reports
        && features.iter().any(|known| known == FEATURE_MOUNT_CHANGES)
    {
        while let Some(changes) = receive(reports).await {
            let frame = match Message::from(MountsChanged { changes }).encode(LINK_ID) {
                Ok(frame) => frame,
                Err(error) => {
                    tracing::warn!("cannot report changes of mounted files: {error}");
                    continue;
                }
            };
            if link.send(frame).await.is_err() {
                break;
            }
            while within(REFRESH_TIMEOUT, link.refreshed()).await.is_err() {
                if store.state().paused {
                    continue;
                }
                tracing::warn!("the guest has not refreshed changed files for {REFRESH_TIMEOUT:?}");
                break;
            }
        }
    }
    pending().await
}

/// Waits for reports, and returns those that are there; `None` if the server has ended.
async fn receive(reports: &AsyncFd<OwnedFd>) -> Option<Vec<MountChange>> {
    let mut changes = Vec::new();
    loop {
        let mut ready = reports.readable().await.ok()?;
        loop {
            match receive_change(reports.get_ref()) {
                Ok(Some(change)) => changes.push(message(change)),
                // The next call finds the end again.
                Ok(None) if !changes.is_empty() => return Some(changes),
                Ok(None) => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    break;
                }
                Err(error) => {
                    tracing::warn!("the file server of the mounts sent a malformed report: {error}");
                    return None;
                }
            }
            if changes.len() == MOUNT_CHANGES_MAX {
                return Some(changes);
            }
        }
        if !changes.is_empty() {
            return Some(changes);
        }
    }
}

fn message(Change { kind, path }: Change) -> MountChange {
    let kind = match kind {
        ChangeKind::Changed => MountChangeKind::Changed,
        ChangeKind::Removed => MountChangeKind::Removed,
        ChangeKind::Everything => MountChangeKind::Everything,
    };
    MountChange { kind, path: path.into_os_string().into_vec() }
}
