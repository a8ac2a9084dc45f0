//! Copies what changes in a folder of the host into a running guest.
//!
//! The first run copies everything; later ones copy files whose size, time or inode has changed. Deleted files are deleted
//! in the guest if this [`Syncer`] has copied them: the guest's own files stay, and so does a directory that contains
//! some. Links are copied as links.

mod patterns;
mod scan;

pub use patterns::{PatternError, Patterns};

use crate::agent::{AgentClient, AgentError};
use protocol::latest::{FileFailure, FileFailureKind, FileOperation, FileRequest};
use scan::{Found, Scanned, open_file, scan};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most failures that are kept with their reasons.
const FAILURES_KEPT: usize = 8;

/// A source on the host and its target in the guest.
#[derive(Clone, Debug)]
pub struct SyncRule {
    /// A folder or a file of the host, absolute.
    pub source: PathBuf,
    /// The absolute target in the guest. With a `/` at its end, the folder for a file.
    pub target: String,
    /// The ignored paths.
    pub ignored: Arc<Patterns>,
}

/// The paths that may have changed.
#[derive(Clone, Copy, Debug)]
pub enum Changed<'a> {
    /// Any path.
    Anything,
    /// These paths of the host and everything below them. Paths outside the rule's source are skipped.
    Paths(&'a BTreeSet<PathBuf>),
}

/// The result of one run.
#[derive(Debug, Default)]
pub struct SyncReport {
    /// The number of copied files and links.
    pub copied: u64,
    /// The number of copied bytes.
    pub bytes: u64,
    /// The number of removed files, links and directories.
    pub removed: u64,
    /// One of the copied or removed paths, for a message about a single one.
    pub example: Option<PathBuf>,
    /// The first few failures.
    pub failures: Vec<SyncFailure>,
    /// The number of failures.
    pub failed: u64,
}

/// A path that could not be copied or removed.
#[derive(Debug)]
pub struct SyncFailure {
    /// The path, relative to the source.
    pub path: PathBuf,
    /// The reason, which may quote the guest.
    pub why: String,
}

/// The state of a path in the guest, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Exactly(Found),
    /// It was copied once, but the guest may have lost it since.
    Perhaps {
        directory: bool,
    },
}

impl Known {
    fn is_directory(&self) -> bool {
        match self {
            Self::Exactly(found) => found.is_directory(),
            Self::Perhaps { directory } => *directory,
        }
    }
}

/// Keeps a target in one guest in sync with a source on the host.
#[derive(Debug)]
pub struct Syncer {
    rule: SyncRule,
    known: BTreeMap<PathBuf, Known>,
}

impl Syncer {
    /// Creates a syncer that has copied nothing yet.
    pub fn new(rule: SyncRule) -> Self {
        Self { rule, known: BTreeMap::new() }
    }

    /// Returns its rule.
    pub fn rule(&self) -> &SyncRule {
        &self.rule
    }

    /// Makes the next run copy everything again, as the guest may have lost files. Deletions are still carried out.
    pub fn doubt(&mut self) {
        for known in self.known.values_mut() {
            *known = Known::Perhaps { directory: known.is_directory() };
        }
    }

    /// Whether one of these paths is below its source, or its source below one of them.
    pub fn concerns(&self, changed: Changed<'_>) -> bool {
        match changed {
            Changed::Anything => true,
            Changed::Paths(paths) => !self.places(paths).is_empty(),
        }
    }

    /// Updates the guest. Failures of single paths are in the report.
    ///
    /// # Errors
    ///
    /// If the connection fails; the syncer remembers the paths copied until then.
    pub async fn run(
        &mut self,
        client: &mut AgentClient,
        changed: Changed<'_>,
    ) -> Result<SyncReport, AgentError> {
        let mut report = SyncReport::default();
        let places = match changed {
            Changed::Anything => vec![PathBuf::new()],
            Changed::Paths(paths) => self.places(paths),
        };
        for place in places {
            let (rule, below) = (self.rule.clone(), place.clone());
            let scanned =
                tokio::task::spawn_blocking(move || scan(&rule.source, &below, &rule.ignored)).await;
            let scanned = scanned.unwrap_or_else(|_| Err(io::Error::other("it was given up")));
            match scanned {
                Ok(scanned) => {
                    for (path, error) in &scanned.unreadable {
                        report.fail(path, error.to_string());
                    }
                    self.remove_what_is_gone(&place, &scanned, client, &mut report).await?;
                    self.copy_what_is_new(&scanned.found, client, &mut report).await?;
                }
                Err(error) => report.fail(&place, error.to_string()),
            }
        }
        Ok(report)
    }

    /// Returns the changed paths below the source, without those below another one.
    fn places(&self, paths: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        let mut places: Vec<PathBuf> = Vec::new();
        for path in paths {
            let place = match path.strip_prefix(&self.rule.source) {
                Ok(below) => below.to_owned(),
                // The source itself was created or removed.
                Err(_) if self.rule.source.starts_with(path) => PathBuf::new(),
                Err(_) => continue,
            };
            let covered = places.last().is_some_and(|last| place.starts_with(last));
            if !covered && !self.rule.ignored.is_ignored_within(&place) {
                places.push(place);
            }
        }
        places
    }

    async fn remove_what_is_gone(
        &mut self,
        place: &Path,
        scanned: &Scanned,
        client: &mut AgentClient,
        report: &mut SyncReport,
    ) -> Result<(), AgentError> {
        let Scanned { found, unreadable } = scanned;
        let below =
            self.known.range(place.to_owned()..).map(|(path, known)| (path.clone(), known.is_directory()));
        let below = below.take_while(|(path, _)| path.starts_with(place));
        let gone: Vec<(PathBuf, bool)> = below
            .filter(|(path, was_directory)| match found.get(path) {
                // A directory in place of a file, or the reverse, is created again.
                Some(found) => found.is_directory() != *was_directory,
                // An unreadable path is not a deleted one.
                None => !unreadable.iter().any(|(folder, _)| path.starts_with(folder)),
            })
            .collect();
        // The contents of a directory before the directory, so that one with files of the guest's own stays.
        for (path, was_directory) in gone.into_iter().rev() {
            // The target itself stays, even if the source is deleted.
            let is_root = path.as_os_str().is_empty() && was_directory;
            if !is_root {
                match client.remove(&self.target(&path), false).await {
                    Ok(()) => report.removed(&path),
                    Err(AgentError::Refused { failure })
                        if was_directory && failure.kind == FileFailureKind::DirectoryNotEmpty => {}
                    Err(AgentError::Refused { failure }) => {
                        report.fail(&path, failure.message);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.known.remove(&path);
        }
        Ok(())
    }

    async fn copy_what_is_new(
        &mut self,
        found: &BTreeMap<PathBuf, Found>,
        client: &mut AgentClient,
        report: &mut SyncReport,
    ) -> Result<(), AgentError> {
        for (path, found) in found {
            if self.known.get(path) == Some(&Known::Exactly(found.clone())) {
                continue;
            }
            match self.copy(path, found, client).await {
                Ok(Some((copied, bytes))) => {
                    if !found.is_directory() {
                        report.copied(path, bytes);
                    }
                    self.known.insert(path.clone(), Known::Exactly(copied));
                }
                // Deleted meanwhile: the next batch contains that.
                Ok(None) => {}
                Err(AgentError::Refused { failure }) => {
                    let full = failure.kind == FileFailureKind::NoSpace;
                    report.fail(path, failure.message);
                    if full {
                        break;
                    }
                }
                Err(AgentError::Contents { source }) => {
                    report.fail(path, source.to_string());
                    // The file is incomplete: only a new connection recovers.
                    return Err(AgentError::Contents { source });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Copies one path: returns its stamp and its size in bytes, or `None` if it has been deleted.
    async fn copy(
        &self,
        path: &Path,
        found: &Found,
        client: &mut AgentClient,
    ) -> Result<Option<(Found, u64)>, AgentError> {
        let parents = path.as_os_str().is_empty();
        let request = FileRequest { parents, ..FileRequest::new(FileOperation::Write, self.target(path)) };
        match found {
            Found::Directory { mode } => {
                client.make_directory(FileRequest { mode: Some(*mode), ..request }).await?;
                Ok(Some((found.clone(), 0)))
            }
            Found::Link { target } => {
                client.make_link(FileRequest { data: Some(target.clone()), ..request }).await?;
                Ok(Some((found.clone(), 0)))
            }
            Found::File(_) => {
                let opened = open_file(&self.rule.source, path).map_err(|error| unreadable(&error))?;
                let Some((file, stamp)) = opened else { return Ok(None) };
                let request =
                    FileRequest { mode: Some(stamp.mode), modified_ns: Some(stamp.modified_ns), ..request };
                let bytes = client.write_file(request, &mut tokio::fs::File::from_std(file)).await?;
                Ok(Some((Found::File(stamp), bytes)))
            }
        }
    }

    fn target(&self, path: &Path) -> Vec<u8> {
        let mut target = self.rule.target.trim_end_matches('/').as_bytes().to_vec();
        let is_folder = self.rule.target.ends_with('/');
        let below = if path.as_os_str().is_empty() && is_folder && !self.rule.source.is_dir() {
            self.rule.source.file_name().unwrap_or_default()
        } else {
            path.as_os_str()
        };
        if !below.is_empty() || target.is_empty() {
            target.push(b'/');
            target.extend_from_slice(below.as_bytes());
        }
        target
    }
}

/// Skips an unreadable file of the host, like one that the guest refuses.
fn unreadable(error: &io::Error) -> AgentError {
    let (kind, message) = (FileFailureKind::Other, error.to_string());
    AgentError::Refused { failure: FileFailure { kind, errno: None, errno_name: None, message } }
}

impl SyncReport {
    /// Whether nothing was copied or removed, and nothing failed.
    pub fn is_empty(&self) -> bool {
        self.copied == 0 && self.removed == 0 && self.failed == 0
    }

    fn copied(&mut self, path: &Path, bytes: u64) {
        self.copied += 1;
        self.bytes += bytes;
        self.example = Some(path.to_owned());
    }

    fn removed(&mut self, path: &Path) {
        self.removed += 1;
        self.example = Some(path.to_owned());
    }

    fn fail(&mut self, path: &Path, why: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_KEPT {
            self.failures.push(SyncFailure { path: path.to_owned(), why });
        }
    }
}

#[cfg(test)]
mod tests;
