//! A test hook that kills this process right after the n-th durable write of the journal or of a sandbox's row.
//!
//! Crash tests set `MSB_FAILPOINT=journal:N` to cover every moment at which a crash makes a difference. It is read once,
//! and only in builds with debug assertions.

use rustix::process::{Signal, getpid, kill_process};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const VARIABLE: &str = "MSB_FAILPOINT";

static LAST_WRITE: OnceLock<Option<u64>> = OnceLock::new();
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Counts a durable write.
pub(super) fn written() {
    if !cfg!(debug_assertions) {
        return;
    }
    let read = || std::env::var(VARIABLE).ok()?.strip_prefix("journal:")?.parse().ok();
    let Some(last) = *LAST_WRITE.get_or_init(read) else { return };
    if WRITES.fetch_add(1, Ordering::Relaxed) + 1 == last {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
