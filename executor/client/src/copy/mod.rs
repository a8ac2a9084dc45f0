//! Copies files, directories and links between the host and a running guest.
//!
//! ```text
//! into::guest    a path of the host, as its owner sees it ─► core.fs.write, make_directory, make_link
//! out::of_guest  core.fs.stat, list, read ─► below one directory of the host, never through a link
//! ```
//!
//! Names of a guest are hostile: each is one plain component, each directory is opened from its parent and never through a
//! link, and files are renamed to their place, which replaces a link there.

mod counted;
mod into;
mod out;
mod sparse;

pub use into::into_guest;
pub use out::out_of_guest;

use crate::agent::AgentError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The deepest directory: a guest may list them without end.
const DEPTH_MAX: usize = 256;
/// The most names of skipped paths that are kept.
const SKIPPED_KEPT: usize = 8;

/// The progress of a copy.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// Returns the number of files and links copied so far.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes copied so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn copied_one(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }
}

/// The paths that were not copied.
#[derive(Debug, Default)]
pub struct Skipped {
    /// The first few devices, sockets and pipes.
    pub paths: Vec<String>,
    /// The number of devices, sockets and pipes.
    pub count: u64,
    /// Directories of the guest's kernel, such as `/proc`.
    pub kernel: Vec<&'static str>,
    /// The first few unreadable paths, each with its reason.
    pub unreadable: Vec<String>,
    /// The number of unreadable paths.
    pub failed: u64,
}

impl Skipped {
    fn add(&mut self, path: String) {
        self.count += 1;
        if self.paths.len() < SKIPPED_KEPT {
            self.paths.push(path);
        }
    }

    fn fail(&mut self, path: &[u8], why: &str) {
        self.failed += 1;
        if self.unreadable.len() < SKIPPED_KEPT {
            self.unreadable.push(format!("{}: {why}", shown(path)));
        }
    }
}

/// A failure of a copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The guest refused, or the connection failed.
    #[error("cannot copy {path} in the sandbox")]
    Guest {
        /// The guest's path.
        path: String,
        /// The cause.
        source: AgentError,
    },
    /// A file of the host failed.
    #[error("cannot {action} {}", path.display())]
    Host {
        /// The failed action.
        action: &'static str,
        /// The host's path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A link of the host is in the place of a directory.
    #[error("refused {}: a link lies where the sandbox has a directory, and links are not followed", path.display())]
    ThroughLink {
        /// The path on the host.
        path: PathBuf,
    },
    /// The directories are too deep.
    #[error("refused {path}: it is more than {DEPTH_MAX} directories deep")]
    TooDeep {
        /// The path.
        path: String,
    },
    /// The target does not fit the source.
    #[error("{path} {why}")]
    Target {
        /// The path.
        path: String,
        /// The problem.
        why: &'static str,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Host { action, path, source }
}

fn refused(path: &[u8]) -> impl FnOnce(AgentError) -> CopyError {
    let path = shown(path);
    move |source| CopyError::Guest { path, source }
}

/// Converts a failure to transfer contents, which may be the host's.
fn not_transferred(error: AgentError, action: &'static str, host: &Path, guest: &[u8]) -> CopyError {
    match error {
        AgentError::Contents { source } => failed(action, host)(source),
        error => refused(guest)(error),
    }
}

/// Appends a name to a path of the guest.
fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut whole = path.to_vec();
    if !whole.ends_with(b"/") {
        whole.push(b'/');
    }
    whole.extend_from_slice(name);
    whole
}

/// Returns a path of the guest as text.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests;
