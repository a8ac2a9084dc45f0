//! A root file system as a value: every inode with its owner, mode and attributes, but without contents.
//!
//! Directories and archives are read into a [`Tree`], and the ext4 writer takes one. Nothing is unpacked on the host,
//! so a hostile path cannot reach one of the host, and owners, device nodes and setuid bits need no privilege.

use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};

/// The longest file name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The limit of nested directories.
pub const DEPTH_MAX: usize = 256;
/// The limit of inodes per image.
pub const ENTRIES_MAX: usize = 2_000_000;
/// The limit of all file contents of an image, in bytes: 64 GiB.
pub const BYTES_MAX: u64 = 64 << 30;
/// The longest symbolic link target, in bytes.
pub const LINK_BYTES_MAX: usize = 4095;
/// The limit of hard links to a file: ext4's own.
pub const HARD_LINKS_MAX: u32 = 65_000;

/// The limit of names, targets and extended attributes of an image, in bytes of memory: 512 MiB.
pub const METADATA_BYTES_MAX: usize = 512 << 20;

/// An inode's index in its tree.
pub type NodeId = usize;
/// The root directory's index.
pub const ROOT: NodeId = 0;

/// All inodes; replaced ones have no links left.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    bytes: u64,
    /// Of all inodes, removed ones included.
    metadata_bytes: usize,
}

/// An inode.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its kind.
    pub kind: Kind,
    /// Its owner, mode and other attributes.
    pub attributes: Attributes,
    /// The number of its names; 1 for a directory.
    pub links: u32,
}

/// The attributes of any inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The twelve permission bits.
    pub mode: u16,
    /// The owner in the guest.
    pub uid: u32,
    /// The group in the guest.
    pub gid: u32,
    /// The modification time, in seconds since 1970.
    pub modified_seconds: i64,
    /// Its nanoseconds.
    pub modified_nanoseconds: u32,
    /// Extended attributes by their full name.
    pub extended: Extended,
}

/// Extended attributes by their full name.
pub type Extended = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl Default for Attributes {
    /// The attributes of a directory that an archive does not list itself.
    fn default() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified_seconds: 0,
            modified_nanoseconds: 0,
            extended: BTreeMap::new(),
        }
    }
}

/// The kind of an inode.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A directory.
    Directory {
        /// The parent directory; the root is its own.
        parent: NodeId,
        /// Its entries, sorted by name.
        entries: BTreeMap<Box<[u8]>, NodeId>,
    },
    /// A regular file.
    File {
        /// Its size, in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: Box<[u8]>,
    },
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// Why an entry is not allowed in a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A name has more than [`NAME_BYTES_MAX`] bytes.
    #[error("a name in it is longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// It is below more than [`DEPTH_MAX`] directories.
    #[error("it is more than {DEPTH_MAX} directories deep")]
    TooDeep,
    /// A path contains `..`.
    #[error("its path contains '..'")]
    Climbs,
    /// A path is absolute.
    #[error("its path is absolute")]
    Absolute,
    /// A path or target contains a NUL.
    #[error("its path contains a NUL byte")]
    Nul,
    /// A required path is empty.
    #[error("its path is empty")]
    Empty,
    /// A path leads through an inode that is not a directory.
    #[error("its path leads through {through:?}, which is a {kind}")]
    Through {
        /// The part of the path that is not a directory.
        through: String,
        /// Its kind.
        kind: &'static str,
    },
    /// A directory has the name.
    #[error("a directory already has this name")]
    OverDirectory,
    /// A hard link has no target.
    #[error("it is a hard link to {target:?}, which is not an earlier entry")]
    LinkMissing {
        /// The target.
        target: String,
    },
    /// A hard link's target is a directory.
    #[error("it is a hard link to {target:?}, which is a directory")]
    LinkToDirectory {
        /// The target.
        target: String,
    },
    /// A file has too many hard links.
    #[error("its file has more than {HARD_LINKS_MAX} names")]
    TooManyLinks,
    /// A symbolic link's target is empty or too long.
    #[error("its target has {length} bytes; a symbolic link's has 1 to {LINK_BYTES_MAX}")]
    BadTarget {
        /// Its length, in bytes.
        length: usize,
    },
    /// There are more than [`ENTRIES_MAX`] inodes.
    #[error("the image has more than {ENTRIES_MAX} entries")]
    TooManyEntries,
    /// All layers together list too many entries, including whiteouts and repeated directories.
    #[error("the image's layers list more than {max} entries")]
    TooManyListed {
        /// The limit.
        max: usize,
    },
    /// File contents exceed [`BYTES_MAX`].
    #[error("the image's files have more than {} GiB", BYTES_MAX >> 30)]
    TooManyBytes,
    /// Names, targets and attributes exceed [`METADATA_BYTES_MAX`].
    #[error("the image's names, links and attributes have more than {} MiB", METADATA_BYTES_MAX >> 20)]
    TooMuchMetadata,
    /// A whiteout names `.` or `..`, or nothing.
    #[error("it is a whiteout without a name")]
    Whiteout,
    /// A path leads through a whiteout.
    #[error("its path leads through a whiteout")]
    BelowWhiteout,
    /// Symbolic links form a loop, or a long chain.
    #[error("its path leads through too many symbolic links")]
    LinkLoop,
    /// Extended attributes exceed what ext4 can store.
    #[error("its extended attributes take more than one block")]
    AttributesTooLarge,
}

impl Kind {
    /// The name of symbolic links in messages.
    pub const SYMLINK: &'static str = "symbolic link";

    /// The name of the kind in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::File { .. } => "file",
            Self::Symlink { .. } => Self::SYMLINK,
            Self::Character(_) | Self::Block(_) => "device",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        }
    }
}

impl Tree {
    /// A tree with an empty root.
    pub fn new(root: Attributes) -> Self {
        let kind = Kind::Directory { parent: ROOT, entries: BTreeMap::new() };
        Self { nodes: vec![Node { kind, attributes: root, links: 1 }], bytes: 0, metadata_bytes: 0 }
    }

    /// All inodes, including those without links.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The size of all file contents, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Looks up a name in a directory; `None` if there is none, or it is not a directory.
    pub fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.nodes[directory].kind {
            Kind::Directory { entries, .. } => entries.get(name).copied(),
            _ => None,
        }
    }

    /// Sets a directory's attributes.
    pub fn set_attributes(&mut self, node: NodeId, attributes: Attributes) {
        self.nodes[node].attributes = attributes;
    }

    /// Adds a new inode to a directory. An existing entry is replaced; a directory replaces only the attributes of an
    /// existing one.
    ///
    /// # Errors
    ///
    /// If the entry is not allowed or exceeds a limit.
    pub fn add(
        &mut self,
        directory: NodeId,
        name: &[u8],
        kind: Kind,
        attributes: Attributes,
    ) -> Result<NodeId, TreeError> {
        check_component(name)?;
        if let Kind::Symlink { target } = &kind
            && (target.is_empty() || target.len() > LINK_BYTES_MAX)
        {
            return Err(TreeError::BadTarget { length: target.len() });
        }
        if let Some(existing) = self.child(directory, name) {
            match (&self.nodes[existing].kind, &kind) {
                (Kind::Directory { .. }, Kind::Directory { .. }) => {
                    self.nodes[existing].attributes = attributes;
                    return Ok(existing);
                }
                (Kind::Directory { .. }, _) => return Err(TreeError::OverDirectory),
                (_, _) => self.unlink(existing),
            }
        }
        if self.nodes.len() >= ENTRIES_MAX {
            return Err(TreeError::TooManyEntries);
        }
        let target_bytes = if let Kind::Symlink { target } = &kind { target.len() } else { 0 };
        let extended = attributes.extended.iter().map(|(name, value)| name.len() + value.len());
        self.count_metadata(name.len() + target_bytes + extended.sum::<usize>())?;
        if let Kind::File { size } = kind {
            self.bytes = self.bytes.checked_add(size).ok_or(TreeError::TooManyBytes)?;
        }
        if self.bytes > BYTES_MAX {
            return Err(TreeError::TooManyBytes);
        }
        let id = self.nodes.len();
        let kind = match kind {
            Kind::Directory { entries, .. } => Kind::Directory { parent: directory, entries },
            other => other,
        };
        self.nodes.push(Node { kind, attributes, links: 1 });
        self.name(directory, name, id);
        Ok(id)
    }

    /// Adds a hard link.
    ///
    /// # Errors
    ///
    /// If it is not allowed or exceeds a limit.
    pub fn link(&mut self, directory: NodeId, name: &[u8], target: NodeId) -> Result<(), TreeError> {
        check_component(name)?;
        match self.child(directory, name) {
            Some(existing) if existing == target => return Ok(()),
            Some(existing) if matches!(self.nodes[existing].kind, Kind::Directory { .. }) => {
                return Err(TreeError::OverDirectory);
            }
            Some(existing) => self.unlink(existing),
            None => {}
        }
        if self.nodes[target].links >= HARD_LINKS_MAX {
            return Err(TreeError::TooManyLinks);
        }
        self.count_metadata(name.len())?;
        self.nodes[target].links += 1;
        self.name(directory, name, target);
        Ok(())
    }

    /// Removes a name from a directory, and a directory with its contents.
    pub fn remove(&mut self, directory: NodeId, name: &[u8]) {
        let Kind::Directory { entries, .. } = &mut self.nodes[directory].kind else { return };
        let Some(id) = entries.remove(name) else { return };
        self.remove_inode(id);
    }

    /// Recurses at most [`DEPTH_MAX`] levels.
    fn remove_inode(&mut self, id: NodeId) {
        self.unlink(id);
        if let Kind::Directory { entries, .. } = &mut self.nodes[id].kind {
            for child in std::mem::take(entries).into_values() {
                self.remove_inode(child);
            }
        }
    }

    fn count_metadata(&mut self, bytes: usize) -> Result<(), TreeError> {
        self.metadata_bytes += bytes;
        if self.metadata_bytes > METADATA_BYTES_MAX { Err(TreeError::TooMuchMetadata) } else { Ok(()) }
    }

    fn name(&mut self, directory: NodeId, name: &[u8], id: NodeId) {
        if let Kind::Directory { entries, .. } = &mut self.nodes[directory].kind {
            entries.insert(name.into(), id);
        }
    }

    fn unlink(&mut self, node: NodeId) {
        self.nodes[node].links -= 1;
        if let (0, Kind::File { size }) = (self.nodes[node].links, &self.nodes[node].kind) {
            self.bytes -= size;
        }
    }

    /// The digest of everything that a guest can observe, except times: equal contents have equal digests on any
    /// machine. `content` returns a file's SHA-256.
    pub fn digest(&self, content: impl Fn(NodeId) -> [u8; 32]) -> Digest {
        let mut hasher = Sha256::new();
        hasher.update(b"msb directory image 1\0");
        let (first_paths, path) = (HashMap::new(), Vec::new());
        TreeHasher { tree: self, content, hasher: &mut hasher, first_paths, path }.node(ROOT);
        Digest::from_sha256(hasher.finalize().into())
    }
}

struct TreeHasher<'a, C> {
    tree: &'a Tree,
    content: C,
    hasher: &'a mut Sha256,
    /// The first path of each inode that has several.
    first_paths: HashMap<NodeId, Vec<u8>>,
    path: Vec<u8>,
}

impl<C: Fn(NodeId) -> [u8; 32]> TreeHasher<'_, C> {
    fn node(&mut self, id: NodeId) {
        let node = &self.tree.nodes[id];
        hash_bytes(self.hasher, &self.path);
        if node.links > 1 {
            if let Some(first) = self.first_paths.get(&id) {
                self.hasher.update(b"h");
                hash_bytes(self.hasher, first);
                return;
            }
            self.first_paths.insert(id, self.path.clone());
        }
        let Attributes { mode, uid, gid, modified_seconds: _, modified_nanoseconds: _, extended } =
            &node.attributes;
        self.hasher.update(mode.to_le_bytes());
        self.hasher.update(uid.to_le_bytes());
        self.hasher.update(gid.to_le_bytes());
        self.hasher.update((extended.len() as u64).to_le_bytes());
        for (name, value) in extended {
            hash_bytes(self.hasher, name);
            hash_bytes(self.hasher, value);
        }
        match &node.kind {
            Kind::Directory { parent: _, entries } => {
                self.hasher.update(b"d");
                self.hasher.update((entries.len() as u64).to_le_bytes());
                for (name, child) in entries {
                    let length = self.path.len();
                    self.path.push(b'/');
                    self.path.extend_from_slice(name);
                    self.node(*child);
                    self.path.truncate(length);
                }
            }
            Kind::File { size } => {
                self.hasher.update(b"f");
                self.hasher.update(size.to_le_bytes());
                self.hasher.update((self.content)(id));
            }
            Kind::Symlink { target } => {
                self.hasher.update(b"l");
                hash_bytes(self.hasher, target);
            }
            Kind::Character(device) => self.device(b"c", device),
            Kind::Block(device) => self.device(b"b", device),
            Kind::Fifo => self.hasher.update(b"p"),
            Kind::Socket => self.hasher.update(b"s"),
        }
    }

    fn device(&mut self, tag: &[u8], Device { major, minor }: &Device) {
        self.hasher.update(tag);
        self.hasher.update(major.to_le_bytes());
        self.hasher.update(minor.to_le_bytes());
    }
}

/// Hashes bytes with a length prefix, so that different sequences of fields have different input.
fn hash_bytes(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn check_component(name: &[u8]) -> Result<(), TreeError> {
    match name {
        b"" | b"." => Err(TreeError::Empty),
        b".." => Err(TreeError::Climbs),
        name if name.contains(&0) => Err(TreeError::Nul),
        name if name.len() > NAME_BYTES_MAX => Err(TreeError::NameTooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
