//! What lies below a folder of the host now.

use super::Patterns;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// More than a person edits. Beyond it something is in the folder that ought to be ignored.
const ENTRIES_MAX: usize = 200_000;
/// Permissions that travel; set-user-id and the like do not.
const MODE_MASK: u32 = 0o777;

/// What opening a link as a file says.
const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();

/// What a path stands for, and how a change of it would show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    File(Stamp),
    Directory { mode: u32 },
    Link { target: Vec<u8> },
}

impl Found {
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

/// A file whose stamp is the same has the same contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub mode: u32,
    pub size: u64,
    pub modified_ns: i64,
    changed: (i64, i64),
    inode: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        Self {
            mode: metadata.mode() & MODE_MASK,
            size: metadata.size(),
            modified_ns: seconds.saturating_add(metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

/// Everything below a place, by its path below the source.
#[derive(Debug, Default)]
pub struct Scanned {
    pub found: BTreeMap<PathBuf, Found>,
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Looks at a place below the source and at all that is below it. Devices, sockets and pipes are passed over.
pub fn scan(source: &Path, place: &Path, ignored: &Patterns) -> io::Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut waiting = vec![place.to_owned()];
    while let Some(path) = waiting.pop() {
        let full = source.join(&path);
        // The source itself may be a link; what is in it is taken as it is.
        let is_source = path.as_os_str().is_empty();
        let metadata = if is_source { fs::metadata(source) } else { fs::symlink_metadata(&full) };
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(error) if is_gone(&error) => continue,
            Err(error) => {
                scanned.unreadable.push((path, error));
                continue;
            }
        };
        if ignored.is_ignored(&path, metadata.is_dir()) {
            continue;
        }
        if scanned.found.len() >= ENTRIES_MAX {
            let text = format!("more than {ENTRIES_MAX} files: ignore what need not be copied");
            return Err(io::Error::other(text));
        }
        if metadata.is_dir() {
            match read_names(&full) {
                Ok(names) => waiting.extend(names.into_iter().map(|name| path.join(name))),
                Err(error) if is_gone(&error) => continue,
                Err(error) => scanned.unreadable.push((path.clone(), error)),
            }
            scanned.found.insert(path, Found::Directory { mode: metadata.mode() & MODE_MASK });
        } else if metadata.is_symlink() {
            if let Ok(target) = fs::read_link(&full) {
                scanned.found.insert(path, Found::Link { target: target.into_os_string().into_vec() });
            }
        } else if metadata.is_file() {
            scanned.found.insert(path, Found::File(Stamp::of(&metadata)));
        }
    }
    Ok(scanned)
}

fn read_names(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Opens a regular file below the source, with the stamp of what is opened. Nothing if it is none any more.
pub fn open_file(source: &Path, place: &Path) -> io::Result<Option<(File, Stamp)>> {
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut path = source.to_owned();
    if !place.as_os_str().is_empty() {
        path.push(place);
        // A link by now: where it leads is not to be copied.
        flags |= OFlags::NOFOLLOW;
    }
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_gone(&error) || error.raw_os_error() == Some(LOOP) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then(|| (file, Stamp::of(&metadata))))
}
