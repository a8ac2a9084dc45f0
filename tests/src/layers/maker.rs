//! Creates tar archives, invalid ones too.

use tar::{Builder, EntryType, Header};

/// The modification time of all entries.
pub const MODIFIED: u64 = 1_700_000_000;

/// A builder of an archive.
pub struct Maker {
    builder: Builder<Vec<u8>>,
}

impl Default for Maker {
    fn default() -> Self {
        Self { builder: Builder::new(Vec::new()) }
    }
}

impl Maker {
    /// Creates an empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry with arbitrary bytes as its name.
    pub fn add(
        mut self,
        kind: EntryType,
        name: &[u8],
        contents: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(MODIFIED);
        header.set_size(contents.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.builder.append(&header, contents).expect("it is written to memory");
        self
    }

    /// Adds a file.
    pub fn file(self, name: &str, contents: &[u8]) -> Self {
        self.add(EntryType::Regular, name.as_bytes(), contents, |_| {})
    }

    /// Adds a directory.
    pub fn folder(self, name: &str) -> Self {
        self.add(EntryType::Directory, name.as_bytes(), b"", |header| header.set_mode(0o755))
    }

    /// Adds a hard or a symbolic link.
    pub fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.add(kind, name.as_bytes(), b"", |header| {
            header.set_link_name_literal(target).expect("it fits into a header")
        })
    }

    /// Returns the archive.
    pub fn bytes(self) -> Vec<u8> {
        self.builder.into_inner().expect("it is written to memory")
    }

    /// Adds an extended header for the next entry.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.builder.append_pax_extensions(records.iter().copied()).expect("it is written to memory");
        self
    }

    /// Adds a whiteout of a path.
    pub fn whiteout(self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let slash = if parent.is_empty() { "" } else { "/" };
        self.file(&format!("{parent}{slash}.wh.{name}"), b"")
    }
}
