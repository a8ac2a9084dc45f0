//! The segments of a log: its files.
//!
//! Each segment has an increasing number that is never reused: `exec.log.000001`, then `exec.log.000002`. A numbered
//! name always means the same file; segments are never renamed, only added at one end and removed at the other. So a
//! reader cannot confuse segments, and a missing number was removed. The plain name, `exec.log`, is a hard link to the
//! newest segment for people and other programs; the readers here do not depend on it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The size limits of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The size at which a new segment is started, in bytes.
    pub max_bytes: u64,
    /// The number of older segments that are kept.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 10 * 1024 * 1024, keep: 4 }
    }
}

/// The limits that several writers share; they may change at any time.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Mutex<Rotation>>);

impl Limits {
    /// The current limits.
    pub fn rotation(&self) -> Rotation {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the limits. Writers apply them with their next record.
    pub fn set(&self, rotation: Rotation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rotation;
    }
}

impl From<Rotation> for Limits {
    fn from(rotation: Rotation) -> Self {
        Self(Arc::new(Mutex::new(rotation)))
    }
}

/// The location of a log's segments.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    folder: PathBuf,
    name: &'static str,
}

impl Segments {
    pub fn new(folder: &Path, name: &'static str) -> Self {
        Self { folder: folder.to_owned(), name }
    }

    /// The log's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The path of another file in the log's folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of the plain name.
    pub fn plain(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    /// The path of a segment.
    pub fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{}.{segment:06}", self.name))
    }

    /// The numbers of the existing segments, in order.
    pub fn numbered(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(self.name)?.strip_prefix('.'));
            if let Some(number) = number
                && number.len() >= 6
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && let Ok(number) = number.parse()
            {
                found.push(number);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The same for a reader: a log from before segments had numbers is its own first one.
    pub fn list(&self) -> io::Result<Vec<u64>> {
        let numbered = self.numbered()?;
        Ok(if numbered.is_empty() && self.plain().exists() { vec![1] } else { numbered })
    }

    /// Opens a segment for reading; `None` if it was removed.
    pub fn open(&self, segment: u64) -> io::Result<Option<File>> {
        match File::open(self.path(segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(Some),
        }
        if segment != 1 || !self.numbered()?.is_empty() {
            return Ok(None);
        }
        match File::open(self.plain()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Whether a segment exists.
    pub fn exists(&self, segment: u64) -> bool {
        rustix::fs::stat(self.path(segment)).is_ok()
    }
}
