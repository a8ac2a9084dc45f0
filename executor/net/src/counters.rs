//! What went over a link, counted while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one stack, which other threads may read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    refusals: AtomicU64,
}

impl Counters {
    /// Returns the bytes of the frames to the guest.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Returns the bytes of the frames from the guest.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of refusals, repeats included.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Sets the bytes of the frames to the guest.
    pub(crate) fn set_received(&self, bytes: u64) {
        self.received_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts a frame from the guest.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a refusal.
    pub(crate) fn count_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }
}
