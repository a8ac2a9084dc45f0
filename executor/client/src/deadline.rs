//! Limits on waiting for a guest: nothing that a guest must answer is awaited without one.

use std::time::Duration;
use tokio::time::Instant;

/// How long a guest may take to start a command. It takes milliseconds, or a second on a busy host.
pub const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest may take to end what was killed, or to show in any other way that it has heard a signal.
pub const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a guest may take to answer a ping, which its agent does at once, whatever else it does.
pub const PING_PATIENCE: Duration = Duration::from_secs(5);

/// The guest did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest did not answer within {} s", patience.as_secs())]
pub struct Unresponsive {
    /// How long it had.
    pub patience: Duration,
}

/// Waits for what a guest has to answer, and no longer than this.
pub async fn within<T>(patience: Duration, answer: impl Future<Output = T>) -> Result<T, Unresponsive> {
    tokio::time::timeout(patience, answer).await.map_err(|_| Unresponsive { patience })
}

/// Waits until a moment; for ever where there is none.
pub async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
