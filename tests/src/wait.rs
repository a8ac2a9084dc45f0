//! Waiting for what happens asynchronously.

use std::time::{Duration, Instant};

/// More than anything takes on a busy host that emulates another one.
const TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// Repeats an attempt until it succeeds, and returns its result.
///
/// # Panics
///
/// With the last error if the attempts fail for two minutes.
pub fn retry<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match attempt() {
            Ok(result) => return result,
            Err(error) => assert!(Instant::now() < deadline, "not within {TIMEOUT:?}: {error}"),
        }
        std::thread::sleep(POLL);
    }
}
