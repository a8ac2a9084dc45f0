//! Directories on the host as images.
//!
//! Files of the invoking user become root's in the guest: a root file system that was unpacked without privilege
//! belongs to that user, but is meant to belong to root. Other owners are kept.

use crate::error::ImageError;
use crate::ext4;
use crate::tree::{Attributes, Device, Extended, Kind, NodeId, ROOT, Tree, TreeError};
use crate::walk::{FingerprintVisitor, Visit, Visitor, display_name, open_root, read_error, walk};
use executor_fs::Directory;
use executor_fs::beneath::is_gone;
use rustix::fs::{Stat, fstat, major, minor};
use rustix::io::Errno;
use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The buffer for the names of extended attributes, in bytes; ext4 has no room for more in a block.
const ATTRIBUTE_NAMES_BYTES: usize = 4096;
/// The largest attribute value in Linux, in bytes.
const ATTRIBUTE_VALUE_BYTES_MAX: usize = 64 * 1024;

/// A scanned directory: everything but the files' contents.
pub struct Scanned {
    /// Its tree.
    pub tree: Tree,
    /// The fingerprint of its metadata, which detects changes.
    pub fingerprint: Digest,
    /// The newest change, in seconds and nanoseconds since 1970.
    pub newest: (i64, i64),
    root: PathBuf,
    directory: Directory,
    files: HashMap<NodeId, Source>,
}

/// A file's path, and its metadata when it was scanned.
struct Source {
    path: Box<[u8]>,
    state: State,
}

#[derive(PartialEq, Eq)]
struct State([i64; 6]);

impl State {
    fn of(stat: &Stat) -> Self {
        Self([
            stat.st_ino as i64,
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec as i64,
            stat.st_ctime,
            stat.st_ctime_nsec as i64,
        ])
    }
}

/// The fingerprint alone, without opening any file.
pub fn fingerprint(root: &Path) -> Result<Digest, ImageError> {
    let (directory, stat) = open(root)?;
    let mut visitor = FingerprintVisitor::default();
    visitor.add(b"", &stat);
    walk(root, &directory, &mut visitor)?;
    Ok(visitor.finish())
}

/// Scans a directory without contents.
pub fn scan(root: &Path) -> Result<Scanned, ImageError> {
    let (directory, stat) = open(root)?;
    let owners = Owners::current();
    let extended = extended_attributes(directory.as_fd(), c".");
    let extended = extended.map_err(|source| read_error(root, b"", source))?;
    let mut visitor = ScanVisitor {
        root,
        owners: &owners,
        tree: Tree::new(owners.attributes(&stat, extended)),
        fingerprint: FingerprintVisitor::default(),
        parents: vec![ROOT],
        linked: HashMap::new(),
        files: HashMap::new(),
    };
    visitor.fingerprint.add(b"", &stat);
    walk(root, &directory, &mut visitor)?;
    let ScanVisitor { tree, fingerprint, files, .. } = visitor;
    let (newest, fingerprint) = (fingerprint.newest, fingerprint.finish());
    Ok(Scanned { tree, fingerprint, newest, root: root.to_owned(), directory, files })
}

fn open(root: &Path) -> Result<(Directory, Stat), ImageError> {
    let directory = open_root(root)?;
    let stat = directory.stat_self().map_err(|error| read_error(root, b"", error))?;
    Ok((directory, stat))
}

impl Scanned {
    /// Returns the digest of the directory. `read` adds the contents of a file, of a size in bytes, to a hasher.
    ///
    /// # Errors
    ///
    /// If a file has changed since the scan, or `read` fails.
    pub fn digest(
        &self,
        mut read: impl FnMut(NodeId, &File, u64, &mut Sha256) -> Result<(), ImageError>,
    ) -> Result<Digest, ImageError> {
        let mut digests = HashMap::new();
        for (id, node) in self.tree.nodes().iter().enumerate() {
            let Kind::File { size } = node.kind else { continue };
            let mut hasher = Sha256::new();
            if size > 0 {
                let file = self.open(id)?;
                read(id, &file, size, &mut hasher)?;
                self.check(id, &file)?;
            }
            digests.insert(id, hasher.finalize().into());
        }
        Ok(self.tree.digest(|id| digests[&id]))
    }

    /// Opens a scanned file.
    ///
    /// # Errors
    ///
    /// If it is no longer the same file.
    fn open(&self, node: NodeId) -> Result<File, ImageError> {
        let source = &self.files[&node];
        let path = Path::new(OsStr::from_bytes(&source.path));
        // A change of the tree since the scan must not lead out of it.
        let file = self.directory.open_file_below(path).map_err(|error| {
            if is_gone(&error) {
                self.changed_while_reading(node)
            } else {
                read_error(&self.root, &source.path, error)
            }
        })?;
        self.check(node, &file)?;
        Ok(file)
    }

    /// Checks that an open file has not changed since the scan.
    ///
    /// # Errors
    ///
    /// If it has.
    fn check(&self, node: NodeId, file: &File) -> Result<(), ImageError> {
        let stat = fstat(file).map_err(|errno| self.failed(node, errno.into()))?;
        if State::of(&stat) == self.files[&node].state {
            Ok(())
        } else {
            Err(self.changed_while_reading(node))
        }
    }

    /// Wraps an error of reading a file.
    pub fn failed(&self, node: NodeId, source: io::Error) -> ImageError {
        read_error(&self.root, &self.files[&node].path, source)
    }

    fn changed_while_reading(&self, node: NodeId) -> ImageError {
        ImageError::ChangedWhileReading {
            path: self.root.clone(),
            entry: display_name(&self.files[&node].path),
        }
    }
}

/// Maps the invoking user to root.
struct Owners {
    uid: u32,
    gid: u32,
}

impl Owners {
    fn current() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    fn attributes(&self, stat: &Stat, extended: Extended) -> Attributes {
        Attributes {
            mode: (stat.st_mode & 0o7777) as u16,
            uid: if stat.st_uid == self.uid { 0 } else { stat.st_uid },
            gid: if stat.st_gid == self.gid { 0 } else { stat.st_gid },
            modified_seconds: stat.st_mtime,
            modified_nanoseconds: stat.st_mtime_nsec as u32,
            extended,
        }
    }
}

struct ScanVisitor<'a> {
    root: &'a Path,
    owners: &'a Owners,
    tree: Tree,
    fingerprint: FingerprintVisitor,
    parents: Vec<NodeId>,
    /// Files with several names, by device and inode.
    linked: HashMap<(u64, u64), NodeId>,
    files: HashMap<NodeId, Source>,
}

impl ScanVisitor<'_> {
    fn kind(visit: &Visit<'_>) -> io::Result<Kind> {
        let stat = visit.stat;
        let device = Device { major: major(stat.st_rdev), minor: minor(stat.st_rdev) };
        Ok(match stat.st_mode & 0o170_000 {
            0o040_000 => Kind::Directory { parent: ROOT, entries: BTreeMap::new() },
            0o100_000 => Kind::File { size: stat.st_size as u64 },
            0o120_000 => {
                let target = rustix::fs::readlinkat(visit.directory, visit.name, Vec::new())?;
                Kind::Symlink { target: target.into_bytes().into() }
            }
            0o020_000 => Kind::Character(device),
            0o060_000 => Kind::Block(device),
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            _ => return Err(io::Error::other("a file of unknown type")),
        })
    }

    fn refused(&self, visit: &Visit<'_>, source: TreeError) -> ImageError {
        ImageError::Entry { path: self.root.to_owned(), entry: display_name(visit.path), source }
    }
}

impl Visitor for ScanVisitor<'_> {
    fn entry(&mut self, visit: &Visit<'_>) -> Result<(), ImageError> {
        self.fingerprint.add(visit.path, visit.stat);
        let parent = self.parents.last().copied().unwrap_or(ROOT);
        let (name, stat) = (visit.name.to_bytes(), visit.stat);
        let is_directory = stat.st_mode & 0o170_000 == 0o040_000;
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && !is_directory
            && let Some(&first) = self.linked.get(&identity)
        {
            return self.tree.link(parent, name, first).map_err(|source| self.refused(visit, source));
        }
        let kind = Self::kind(visit).map_err(|source| read_error(self.root, visit.path, source))?;
        let is_file = matches!(kind, Kind::File { .. });
        let extended = if matches!(kind, Kind::Symlink { .. }) {
            BTreeMap::new()
        } else {
            let extended = extended_attributes(visit.directory, visit.name);
            extended.map_err(|source| read_error(self.root, visit.path, source))?
        };
        if !ext4::attributes_fit(&extended) {
            return Err(self.refused(visit, TreeError::AttributesTooLarge));
        }
        let attributes = self.owners.attributes(stat, extended);
        let id =
            self.tree.add(parent, name, kind, attributes).map_err(|source| self.refused(visit, source))?;
        if is_directory {
            self.parents.push(id);
        } else if stat.st_nlink > 1 {
            self.linked.insert(identity, id);
        }
        if is_file {
            self.files.insert(id, Source { path: visit.path.into(), state: State::of(stat) });
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.parents.pop();
    }
}

/// Reads the extended attributes of a name in a directory, `.` for its own. No link is followed.
fn extended_attributes(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Extended> {
    // `listxattrat` needs Linux 6.13; the path of the descriptor leads to the directory before.
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    path.push(OsStr::from_bytes(name.to_bytes()));
    let mut attributes = BTreeMap::new();
    let mut names = [0; ATTRIBUTE_NAMES_BYTES];
    let length = match rustix::fs::llistxattr(&path, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::PERM) => 0,
        Err(errno) => return Err(errno.into()),
    };
    for name in names[..length].split(|&byte| byte == 0).filter(|name| ext4::attribute_is_kept(name)) {
        let mut value = vec![0; ATTRIBUTE_VALUE_BYTES_MAX];
        let length = rustix::fs::lgetxattr(&path, name, &mut value[..])?;
        attributes.insert(name.into(), value[..length].into());
    }
    Ok(attributes)
}
