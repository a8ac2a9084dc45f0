//! Copies files, directories and links between the host and a running guest.
//!
//! ```text
//! into::guest    a path of the host, as its owner sees it ─► core.fs.write, make_directory, make_link
//! out::of_guest  core.fs.stat, list, read ─► below one directory of the host, never through a link
//! ```
//!
//! What a guest names is hostile: each name is one plain component, each directory is opened from the one above it
//! and never through a link, and what is made takes its place by a rename, so that a link that is there is replaced.

mod counted;
mod into;
mod out;
mod sparse;

pub use into::into_guest;
pub use out::out_of_guest;

use crate::agent::AgentError;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// How deep directories may lie in each other: a guest can tell of them without end.
const DEPTH_MAX: usize = 256;
/// How many names are kept of what was left out.
const SKIPPED_KEPT: usize = 8;

/// How far a copy is, for whoever looks on.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// Files and links that were copied so far.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Bytes that were copied so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn copied_one(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was not copied.
#[derive(Debug, Default)]
pub struct Skipped {
    /// The first few of what is neither a file nor a directory nor a link.
    pub paths: Vec<String>,
    /// How many of these there were.
    pub count: u64,
    /// Directories of the sandbox's kernel, which hold no files of its own.
    pub kernel: Vec<&'static str>,
    /// The first few that could not be read, each with the reason.
    pub unreadable: Vec<String>,
    /// How many could not be read.
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

/// Why a copy came to no good end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The guest did not do it, or could not be asked.
    #[error("cannot copy {path} in the sandbox")]
    Guest {
        /// Which path of the guest's.
        path: String,
        /// Why.
        source: AgentError,
    },
    /// Something on the host.
    #[error("cannot {action} {}", path.display())]
    Host {
        /// What was to be done.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// What the guest sent would have led out of the target.
    #[error("refused {}: a link lies where the sandbox has a directory, and links are not followed", path.display())]
    ThroughLink {
        /// The path on the host.
        path: PathBuf,
    },
    /// Directories within directories.
    #[error("refused {path}: it lies more than {DEPTH_MAX} directories deep")]
    TooDeep {
        /// Which path.
        path: String,
    },
    /// A directory over a file, or a file over nothing.
    #[error("{path} {why}")]
    Target {
        /// Which path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A guest's path with a name behind it.
fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut whole = path.to_vec();
    if !whole.ends_with(b"/") {
        whole.push(b'/');
    }
    whole.extend_from_slice(name);
    whole
}

/// A guest's path for a person.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests;
