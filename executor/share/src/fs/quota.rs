//! The growth quota of a share.
//!
//! It counts the bytes that files occupy on the disk beyond what they occupied when the server started, as far as the
//! guest causes it, and [`ENTRY_BYTES`] for each name that the guest adds. What the guest removes is given back, when
//! the last link and the last open handle of a file are gone; so a guest that removes files that were there before can
//! write as much again.

use super::host::Answer;
use rustix::io::Errno;
use std::sync::atomic::{AtomicI64, Ordering};

/// The cost of a name in a directory in bytes, so that empty files are not free.
pub const ENTRY_BYTES: u64 = 512;

/// The unit in which file systems allocate space, in bytes.
const UNIT: u64 = 4096;

/// A growth quota and its use.
#[derive(Debug)]
pub struct Quota {
    limit: i64,
    used: AtomicI64,
}

impl Quota {
    /// Creates a quota of `bytes` bytes, of which none is used.
    pub fn new(bytes: u64) -> Self {
        Self { limit: signed(bytes), used: AtomicI64::new(0) }
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> u64 {
        u64::try_from(self.limit).unwrap_or(0)
    }

    /// Returns the number of bytes that are left.
    pub fn left(&self) -> u64 {
        u64::try_from(self.limit.saturating_sub(self.used.load(Ordering::Relaxed))).unwrap_or(0)
    }

    /// Counts `bytes` bytes as used before they are.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if fewer are left.
    pub fn reserve(&self, bytes: u64) -> Answer<()> {
        let add = |used: i64| {
            let sum = used.saturating_add(signed(bytes));
            (bytes == 0 || sum <= self.limit).then_some(sum)
        };
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::NOSPC),
        }
    }

    /// Corrects the use: `bytes` more, or if negative fewer.
    pub fn correct(&self, bytes: i64) {
        let add = |used: i64| Some(used.saturating_add(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Gives `bytes` bytes back.
    pub fn give_back(&self, bytes: u64) {
        self.correct(signed(bytes).saturating_neg());
    }
}

/// Converts a number of bytes; the largest number stands for any that is larger.
pub fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Returns the largest number of bytes that a file can grow by if `length` bytes at `offset` are written.
pub fn growth(offset: u64, length: u64) -> u64 {
    let end = offset.saturating_add(length).saturating_add(UNIT - 1) / UNIT * UNIT;
    end.saturating_sub(offset / UNIT * UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_reserved_up_to_the_limit_and_given_back() {
        let quota = Quota::new(10);
        quota.reserve(10).unwrap();
        assert_eq!(quota.reserve(1), Err(Errno::NOSPC));
        quota.reserve(0).unwrap();
        quota.give_back(4);
        assert_eq!((quota.left(), quota.limit()), (4, 10));
        // More than the quota if the guest removes what was there before.
        quota.give_back(20);
        assert_eq!(quota.left(), 24);
        quota.correct(100);
        assert_eq!((quota.left(), quota.reserve(0)), (0, Ok(())));
        assert_eq!(Quota::new(u64::MAX).limit(), i64::MAX as u64);
    }

    #[test]
    fn growth_covers_whole_units() {
        assert_eq!(growth(0, 1), 4096);
        assert_eq!(growth(4095, 2), 8192);
        assert_eq!(growth(8192, 4096), 4096);
        assert_eq!(growth(0, u64::MAX), u64::MAX / 4096 * 4096);
    }
}
