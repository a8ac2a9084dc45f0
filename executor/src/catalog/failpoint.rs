//! A test hook: dies right behind the n-th durable write of the journal or of a sandbox's row.
//!
//! `MSB_FAILPOINT=journal:N` makes this process kill itself with SIGKILL there. The tests of crashes set it
//! to go through every moment at which a crash could differ from another one. It is read once. Builds without debug
//! assertions, releases among them, do not know it.

use rustix::process::{Signal, getpid, kill_process};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const VARIABLE: &str = "MSB_FAILPOINT";

static LAST_WRITE: OnceLock<Option<u64>> = OnceLock::new();
static WRITES: AtomicU64 = AtomicU64::new(0);

/// A write has become durable.
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
