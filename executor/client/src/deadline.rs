//! Timeouts for answers of guests: no answer is awaited without one.

use std::time::Duration;
use tokio::time::Instant;

/// The timeout of starting a command. It takes milliseconds, or a second on a busy host.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of ending a killed command, or of any other reaction to a signal.
pub const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a ping, which the guest's agent answers at once.
pub const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The guest did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest did not answer within {} s", timeout.as_secs())]
pub struct Unresponsive {
    /// The timeout.
    pub timeout: Duration,
}

/// Waits for an answer of a guest, at most for `timeout`.
///
/// # Errors
///
/// If there is no answer in time.
pub async fn within<T>(timeout: Duration, answer: impl Future<Output = T>) -> Result<T, Unresponsive> {
    tokio::time::timeout(timeout, answer).await.map_err(|_| Unresponsive { timeout })
}

/// Waits until a moment; forever if there is none.
pub async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
