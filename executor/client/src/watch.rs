//! Watches a set of files and folders, and reports changes in batches of paths.
//!
//! Editors replace files by renaming, so a file is watched by its folder and the folders of the links to it. A missing
//! path is watched by its nearest existing folder. A tree is watched folder by folder, without the ignored ones. After
//! the first change a batch waits for a quiet period: one save is several events.

use crate::sync::Patterns;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The quiet period that ends a batch.
const QUIET: Duration = Duration::from_millis(60);
/// The longest time of a batch.
const BATCH_TIME_MAX: Duration = Duration::from_secs(1);
/// The most paths of a batch; more of them are reported as "anything".
const PATHS_MAX: usize = 10_000;
/// The longest chain of links that is followed.
const LINKS_MAX: usize = 16;

/// The watched paths, all of them absolute.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Files; they need not exist.
    pub files: BTreeSet<PathBuf>,
    /// Files or whole folders; they need not exist.
    pub trees: Vec<WatchedTree>,
}

/// A folder with its whole tree, or a file.
#[derive(Clone, Debug)]
pub struct WatchedTree {
    /// The root of the tree.
    pub root: PathBuf,
    /// The ignored paths.
    pub ignored: Arc<Patterns>,
}

/// The changes since the last batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Changed files, by their watched names, and changed paths in trees. A folder means that anything in it may have
    /// changed.
    pub paths: BTreeSet<PathBuf>,
    /// Whether anything may have changed, as there were too many events.
    pub anything: bool,
}

impl Batch {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.anything
    }

    /// Adds the changes of a later batch.
    pub fn extend(&mut self, later: Self) {
        self.anything |= later.anything;
        self.paths.extend(later.paths);
        if self.anything || self.paths.len() > PATHS_MAX {
            *self = Self { paths: BTreeSet::new(), anything: true };
        }
    }
}

/// A failure to watch.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch for changes{}", place.as_ref().map_or_else(String::new, |place| format!(" in {}", place.display())))]
pub struct WatchError {
    /// The watched place, if it is known.
    pub place: Option<PathBuf>,
    /// The cause.
    pub source: notify::Error,
}

/// The stamp of a file; `None` if it does not exist.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// Watches until it is dropped.
pub struct Watcher {
    inner: RecommendedWatcher,
    pending: Arc<Pending>,
    watched: Watched,
    stamps: BTreeMap<PathBuf, Stamp>,
    /// Folders that the kernel watches, by device and inode, as another folder may take the name.
    folders: BTreeMap<PathBuf, (u64, u64)>,
}

#[derive(Default)]
struct Pending {
    batch: Mutex<Batch>,
    changed: Notify,
}

impl Pending {
    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: notify::Result<Event>) {
        let mut batch = self.batch();
        match event {
            Ok(event) if event.need_rescan() => batch.extend(Batch { anything: true, ..Batch::default() }),
            Ok(event) if is_change(event.kind) => {
                batch.extend(Batch { paths: event.paths.into_iter().collect(), anything: false });
            }
            Ok(_) => return,
            Err(_) => batch.extend(Batch { anything: true, ..Batch::default() }),
        }
        drop(batch);
        self.changed.notify_one();
    }
}

/// Whether an event is a change: opening and reading a file are not.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

impl Watcher {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// If the kernel's limit on watches is exhausted.
    pub fn new(watched: Watched) -> Result<Self, WatchError> {
        let pending = Arc::new(Pending::default());
        let taker = pending.clone();
        let inner = notify::recommended_watcher(move |event| taker.take(event))
            .map_err(|source| WatchError { place: None, source })?;
        let (stamps, folders) = (BTreeMap::new(), BTreeMap::new());
        let mut watcher = Self { inner, pending, watched: Watched::default(), stamps, folders };
        watcher.want(watched)?;
        Ok(watcher)
    }

    /// Watches other paths from now on. Paths that were watched before lose no change.
    ///
    /// # Errors
    ///
    /// As [`Watcher::new`].
    pub fn want(&mut self, watched: Watched) -> Result<(), WatchError> {
        self.watched = watched;
        self.watch_folders(None)?;
        let files = self.watched.files.iter();
        self.stamps = files
            .map(|file| (file.clone(), self.stamps.get(file).copied().unwrap_or_else(|| stamp(file))))
            .collect();
        Ok(())
    }

    /// Waits for the next batch of changes. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Watcher::new`].
    pub async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            // A cancelled call may have left changes.
            if self.pending.batch().is_empty() {
                self.pending.changed.notified().await;
            }
            let give_up = Instant::now() + BATCH_TIME_MAX;
            while Instant::now() < give_up
                && tokio::time::timeout(QUIET, self.pending.changed.notified()).await.is_ok()
            {}
            // No await from here on: the taken changes are returned.
            let raw = std::mem::take(&mut *self.pending.batch());
            let changed = if raw.anything { None } else { Some(&raw.paths) };
            let mut batch = Batch { paths: self.watch_folders(changed)?, anything: raw.anything };
            for path in raw.paths {
                let in_tree = self.watched.trees.iter().any(|tree| is_wanted(tree, &path));
                if in_tree || self.watched.files.contains(&path) {
                    batch.paths.insert(path);
                }
            }
            for (file, before) in &mut self.stamps {
                let now = stamp(file);
                if now != *before {
                    *before = now;
                    batch.paths.insert(file.clone());
                }
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// Adds the missing watches of the kernel. Returns the newly watched folders of trees: earlier changes in them cause
    /// no event.
    fn watch_folders(
        &mut self,
        changed: Option<&BTreeSet<PathBuf>>,
    ) -> Result<BTreeSet<PathBuf>, WatchError> {
        let mut anchors = BTreeSet::new();
        for path in self.watched.files.iter().chain(self.watched.trees.iter().map(|tree| &tree.root)) {
            add_anchors(path, &mut anchors);
        }
        let trees = self.watched.trees.clone();
        let is_of_tree = |folder: &Path| trees.iter().any(|tree| is_wanted(tree, folder));
        let unwanted = |folder: &PathBuf| !anchors.contains(folder) && !is_of_tree(folder);
        let stale: Vec<PathBuf> = self
            .folders
            .iter()
            .filter(|(folder, identity)| unwanted(folder) || identity_of(folder) != Some(**identity))
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in stale {
            self.folders.remove(&folder);
            // The kernel drops the watch of a removed folder by itself.
            let _ = self.inner.unwatch(&folder);
        }
        let new_roots: BTreeSet<PathBuf> = trees
            .iter()
            .map(|tree| tree.root.clone())
            .filter(|root| root.is_dir() && !self.folders.contains_key(root))
            .collect();
        for folder in anchors {
            self.watch_folder(&folder)?;
        }
        let mut new = BTreeSet::new();
        for tree in &trees {
            let places: Vec<PathBuf> = match changed {
                None => vec![tree.root.clone()],
                Some(paths) => {
                    let below = paths.iter().filter(|path| path.starts_with(&tree.root)).cloned();
                    below.chain(new_roots.get(&tree.root).cloned()).collect()
                }
            };
            for place in places {
                self.watch_tree(tree, place, &mut new)?;
            }
        }
        Ok(new)
    }

    fn watch_tree(
        &mut self,
        tree: &WatchedTree,
        place: PathBuf,
        new: &mut BTreeSet<PathBuf>,
    ) -> Result<(), WatchError> {
        let mut waiting = vec![place];
        while let Some(folder) = waiting.pop() {
            let is_root = folder == tree.root;
            let metadata = if is_root { folder.metadata() } else { folder.symlink_metadata() };
            if !metadata.is_ok_and(|metadata| metadata.is_dir()) || !is_wanted_folder(tree, &folder) {
                continue;
            }
            if self.watch_folder(&folder)? {
                new.insert(folder.clone());
            }
            // Read after the watch is set: later changes cause events.
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            waiting.extend(folders.map(|entry| entry.path()));
        }
        Ok(())
    }

    /// Watches a folder; returns whether the watch is new. A folder that was removed meanwhile is no error.
    fn watch_folder(&mut self, folder: &Path) -> Result<bool, WatchError> {
        let Some(identity) = identity_of(folder) else { return Ok(false) };
        if self.folders.get(folder) == Some(&identity) {
            return Ok(false);
        }
        match self.inner.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.folders.insert(folder.to_owned(), identity);
                Ok(true)
            }
            Err(_) if identity_of(folder).is_none() => Ok(false),
            Err(source) => Err(WatchError { place: Some(folder.to_owned()), source }),
        }
    }
}

fn is_wanted(tree: &WatchedTree, path: &Path) -> bool {
    path.strip_prefix(&tree.root).is_ok_and(|below| !tree.ignored.is_ignored_within(below))
}

fn is_wanted_folder(tree: &WatchedTree, folder: &Path) -> bool {
    let below = folder.strip_prefix(&tree.root);
    below.is_ok_and(|below| !tree.ignored.is_ignored(below, true) && !tree.ignored.is_ignored_within(below))
}

/// Returns the folders whose entries determine the target of a path.
fn add_anchors(path: &Path, anchors: &mut BTreeSet<PathBuf>) {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let existing = path.ancestors().skip(1).find(|folder| folder.is_dir());
        let Some(folder) = existing.map(Path::to_owned) else { return };
        let is_parent = path.parent() == Some(&folder);
        anchors.insert(folder.clone());
        match std::fs::read_link(&path) {
            Ok(target) if is_parent => path = folder.join(target),
            _ => return,
        }
    }
}

fn identity_of(folder: &Path) -> Option<(u64, u64)> {
    let metadata = folder.metadata().ok()?;
    metadata.is_dir().then(|| (metadata.dev(), metadata.ino()))
}

fn stamp(file: &Path) -> Stamp {
    let metadata = file.metadata().ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

#[cfg(test)]
mod tests;
