//! The file system of a sandbox's mounts: a FUSE file system that serves directories and files of the host, each with a
//! policy of its own.
//!
//! Its root is a synthetic, read-only directory with an entry per share, called `0`, `1`, and so on.
//!
//! Architecture invariant: all requests are hostile. A file of the host is reached only from the descriptor of its
//! directory and a single name, links of the host are never followed, and only regular files and directories are opened.
#![warn(missing_docs)]

mod change;
mod fs;
pub mod fuse;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod notify;
mod policy;
pub mod server;
mod stat_override;
pub mod vhost_user;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use change::{Change, ChangeKind, receive_change};
pub use fs::{HostChange, ShareFs, check_attributes};
pub use policy::{Limits, Owner, Share, ShareError, SharePolicy};
pub use server::{ServerError, ServerSpec, ShareProcess, Transport, launch, probe, run_share_server};

/// Locks a value. Values are consistent after every statement, so a panic in another thread does not matter.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a value for reading, see [`lock`].
fn read<T>(value: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    value.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a value for writing, see [`lock`].
fn write<T>(value: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    value.write().unwrap_or_else(PoisonError::into_inner)
}
