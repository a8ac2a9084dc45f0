//! The files of a layout: in a folder, or in an uncompressed archive.

use crate::error::ImageError;
use crate::layer::{Entries, FileRange, LayerFile, ParsedEntry};
use crate::tree::{ENTRIES_MAX, Kind};
use crate::walk::display_name;
use executor_fs::Directory;
use executor_fs::beneath::is_gone;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The limit of links from one archive member to the next.
const LINKS_MAX: usize = 4;
/// Top-level directories of a root file system, which no archive of images has.
const ROOT_DIRECTORIES: [&[u8]; 8] = [b"bin", b"dev", b"etc", b"lib", b"proc", b"sbin", b"usr", b"var"];

/// The files of a layout.
#[derive(Debug)]
pub enum LayoutRoot {
    /// In a folder.
    Folder {
        /// Its path.
        path: PathBuf,
        /// The folder itself; names cannot lead out of it.
        directory: Directory,
    },
    /// In an archive.
    Archive {
        /// Its path.
        path: PathBuf,
        /// The uncompressed archive.
        file: Arc<File>,
        /// Its members by name.
        entries: BTreeMap<Box<[u8]>, Entry>,
    },
}

/// A member of an archive.
#[derive(Debug)]
pub enum Entry {
    /// Its offset and length.
    File(u64, u64),
    /// A link to another name.
    Link(Box<[u8]>),
}

impl LayoutRoot {
    /// Opens a folder.
    pub fn folder(path: &Path) -> Result<Self, ImageError> {
        let directory =
            Directory::open(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
        Ok(Self::Folder { path: path.to_owned(), directory })
    }

    /// Reads the members of an uncompressed archive; `None` if it contains a root file system or is damaged.
    pub fn archive(path: &Path, file: Arc<File>) -> Option<Self> {
        let mut entries = BTreeMap::new();
        let mut reader = Entries::new(FileRange::whole(file.clone()).ok()?.reader().ok()?);
        while let Some(described) = reader.next().ok()? {
            let name = normal(reader.path());
            let top = name.split(|&byte| byte == b'/').next().unwrap_or_default();
            if ROOT_DIRECTORIES.contains(&top) || entries.len() == ENTRIES_MAX {
                return None;
            }
            let entry = match described {
                ParsedEntry::Node(Kind::File { .. }, _) => match reader.stored() {
                    (size, true) => Entry::File(reader.source().at, size),
                    (_, false) => continue,
                },
                ParsedEntry::Node(Kind::Symlink { target }, _) => {
                    let folder = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
                    Entry::Link(normal(&[&name[..folder], &target[..]].concat()))
                }
                ParsedEntry::HardLink(target) => Entry::Link(normal(&target)),
                ParsedEntry::Node(..) => continue,
            };
            entries.insert(name, entry);
        }
        Some(Self::Archive { path: path.to_owned(), file, entries })
    }

    /// The path that the user gave.
    pub fn path(&self) -> &Path {
        let (Self::Folder { path, .. } | Self::Archive { path, .. }) = self;
        path
    }

    /// Finds a file; `None` if there is none.
    pub fn find(&self, name: &str) -> Result<Option<FileRange>, ImageError> {
        match self {
            Self::Folder { path, directory } => {
                let opened = directory.open_linked_file_below(name).and_then(|file| file.metadata());
                match opened {
                    // By path: an image may have more layers than a process has descriptors.
                    Ok(metadata) if metadata.is_file() => {
                        let (file, size) = (LayerFile::Path(path.join(name)), metadata.len());
                        Ok(Some(FileRange { file, offset: 0, size }))
                    }
                    Ok(_) => Ok(None),
                    // The name comes from a hostile document, or is a link out of the folder: it counts as missing.
                    Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::InvalidInput => Ok(None),
                    Err(source) => {
                        Err(ImageError::ReadEntry { path: path.clone(), entry: name.to_owned(), source })
                    }
                }
            }
            Self::Archive { path: _, file, entries } => {
                let mut name = normal(name.as_bytes());
                for _ in 0..=LINKS_MAX {
                    match entries.get(&name) {
                        Some(&Entry::File(offset, size)) => {
                            return Ok(Some(FileRange { file: LayerFile::Open(file.clone()), offset, size }));
                        }
                        Some(Entry::Link(target)) => name = target.clone(),
                        None => return Ok(None),
                    }
                }
                Ok(None)
            }
        }
    }

    /// Finds a required file.
    pub fn require(&self, name: &str) -> Result<FileRange, ImageError> {
        let missing = || ImageError::NotInLayout { path: self.path().to_owned(), entry: name.to_owned() };
        self.find(name)?.ok_or_else(missing)
    }

    /// Reads a file of at most `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
        let range = self.require(name)?;
        let failed = |source| ImageError::ReadEntry {
            path: self.path().to_owned(),
            entry: display_name(name.as_bytes()),
            source,
        };
        if range.size > limit {
            return Err(failed(io::Error::other(format!("it has more than {limit} bytes"))));
        }
        let mut bytes = Vec::new();
        range.reader().and_then(|reader| reader.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
        Ok(bytes)
    }
}

/// Normalizes `./a//b/` to `a/b`. A path that climbs stays as it is and matches no member.
fn normal(path: &[u8]) -> Box<[u8]> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in parts {
        if part == b".." && kept.last().is_some_and(|last| *last != b"..") {
            kept.pop();
        } else {
            kept.push(part);
        }
    }
    kept.join(&b'/').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normal() {
        for (path, expected) in
            [("./a//b/", "a/b"), ("/a/./b", "a/b"), ("a/../b", "b"), ("../a", "../a"), ("a/../../b", "../b")]
        {
            assert_eq!(&*normal(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn files_outside_of_a_folder_are_not_found() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("layout");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(scratch.path().join("secret"), "x").unwrap();
        std::fs::write(folder.join("there"), "abc").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        std::os::unix::fs::symlink(scratch.path().join("secret"), folder.join("absolute")).unwrap();
        let root = LayoutRoot::folder(&folder).unwrap();
        assert_eq!(root.read("there", 3).unwrap(), b"abc");
        assert!(root.read("there", 2).is_err());
        for name in ["../secret", "link", "absolute", "missing", ""] {
            assert!(root.find(name).unwrap().is_none(), "{name}");
        }
    }
}
