//! The files that the guest knows, all of which may have changed once events of the host were lost.

use super::ShareFs;
use super::changes::HostChange;
use super::inode::Place;
use crate::change::{Change, ChangeKind};
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most components of a path. What lies deeper is only known by numbers.
const DEPTH_MAX: usize = 256;

impl ShareFs {
    /// Describes all files that the guest knows as changed, directories before their contents.
    pub(super) fn known_changes(&self) -> Vec<HostChange> {
        let places: HashMap<u64, Place> = self.inodes.places().into_iter().collect();
        let mut paths: Vec<(PathBuf, u64)> =
            places.keys().filter_map(|number| Some((self.known_path(&places, *number)?, *number))).collect();
        paths.sort_unstable();
        paths
            .into_iter()
            .filter_map(|(path, inode)| {
                let Place { parent, name } = places.get(&inode)?.clone();
                let directory = self.inodes.get(parent).and_then(|parent| self.inodes.descriptor(&parent));
                let exists = directory.and_then(|it| statat(&it, &name, AtFlags::SYMLINK_NOFOLLOW));
                let kind = match exists {
                    Err(Errno::NOENT | Errno::STALE) => ChangeKind::Removed,
                    _ => ChangeKind::Changed,
                };
                let change = Change { kind, path };
                Some(HostChange { change, entry: Some((parent, name)), inode: Some(inode) })
            })
            .collect()
    }

    /// Returns the path by which the guest has looked a file up; `None` if a directory on the way is forgotten.
    fn known_path(&self, places: &HashMap<u64, Place>, number: u64) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut number = number;
        while let Some(Place { parent, name }) = places.get(&number) {
            names.push(name);
            number = *parent;
            // Places change one by one, so there may be a loop for a moment.
            if names.len() > DEPTH_MAX {
                return None;
            }
        }
        let share = self.roots.iter().position(|root| *root == number)?;
        let entry = Path::new(&share.to_string()).to_owned();
        Some(names.into_iter().rev().fold(entry, |path, name| path.join(OsStr::from_bytes(name.to_bytes()))))
    }
}
