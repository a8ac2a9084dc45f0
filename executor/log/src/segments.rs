//! The files that make up one log.
//!
//! Each file has a number, which goes up and is never given again: `exec.log.000001`, then `exec.log.000002`. A
//! numbered name always means the same file; nothing is ever renamed, only added at one end and removed at the other.
//! So a reader can never take one file for another, and a number that is missing has been removed, and nothing else.
//! The plain name, `exec.log`, is a second name (a hard link) of the newest one, for people and other programs; the
//! readers here do not depend on it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How much is kept of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file that would become larger is followed by a new one, in bytes.
    pub max_bytes: u64,
    /// How many files are kept behind the newest one.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: 10 * 1024 * 1024, keep: 4 }
    }
}

/// How much is kept of several logs, said once for all who write them; it may change while they do.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Mutex<Rotation>>);

impl Limits {
    /// As it is now.
    pub fn rotation(&self) -> Rotation {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is from now on: a writer follows with what it writes next.
    pub fn set(&self, rotation: Rotation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rotation;
    }
}

impl From<Rotation> for Limits {
    fn from(rotation: Rotation) -> Self {
        Self(Arc::new(Mutex::new(rotation)))
    }
}

/// Where the files of one log are.
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

    /// Another file in the log's folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The newest file's second name.
    pub fn plain(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    /// One file by its number.
    pub fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{}.{segment:06}", self.name))
    }

    /// The numbers that are there, from the oldest on.
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

    /// The same for a reader: a log that was written before there were numbers is its own first file.
    pub fn list(&self) -> io::Result<Vec<u64>> {
        let numbered = self.numbered()?;
        Ok(if numbered.is_empty() && self.plain().exists() { vec![1] } else { numbered })
    }

    /// Opens one file for reading; none when it has been removed.
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

    /// Whether there is such a file.
    pub fn exists(&self, segment: u64) -> bool {
        rustix::fs::stat(self.path(segment)).is_ok()
    }
}
