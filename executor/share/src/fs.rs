//! The file system.

use crate::{Limits, Share, ShareError};
use fuse_backend_rs::api::filesystem::FileSystem;

/// The largest number of shares of a file system.
const SHARES_MAX: usize = 1024;

/// The file system that serves shares.
#[derive(Debug)]
pub struct ShareFs {
    _shares: Vec<Share>,
    _limits: Limits,
}

impl ShareFs {
    /// Creates a file system whose root has an entry per share, called `0`, `1`, and so on.
    ///
    /// # Errors
    ///
    /// If a share is neither a directory nor a regular file, or cannot be opened.
    pub fn new(shares: Vec<Share>, limits: Limits) -> Result<Self, ShareError> {
        if shares.len() > SHARES_MAX {
            return Err(ShareError::TooMany { found: shares.len(), most: SHARES_MAX });
        }
        Ok(Self { _shares: shares, _limits: limits })
    }
}

impl FileSystem for ShareFs {
    type Inode = u64;
    type Handle = u64;
}
