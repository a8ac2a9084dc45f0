//! Scans a folder of the host.

use super::Patterns;
use executor_fs::beneath::{c_name, is_gone};
use executor_fs::{Directory, Kind};
use rustix::fs::{Mode, OFlags, Stat};
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most entries of a source. A larger one contains something that should be ignored.
const ENTRIES_MAX: usize = 200_000;
/// The permission bits that are copied: no set-user-id and the like.
const MODE_MASK: u32 = 0o777;

/// The deepest directory: each one on the way is held open.
const DEPTH_MAX: usize = 256;

/// A found path, with everything that a change of it would change.
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

/// The stamp of a file: the same stamp means the same contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub mode: u32,
    pub size: u64,
    pub modified_ns: i64,
    changed: (i64, i64),
    inode: (u64, u64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Self {
            mode: stat.st_mode & MODE_MASK,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
            changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
            inode: (stat.st_dev, stat.st_ino),
        }
    }
}

/// Everything below a place, by path relative to the source.
#[derive(Debug, Default)]
pub struct Scanned {
    pub found: BTreeMap<PathBuf, Found>,
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Scans a place below the source. Devices, sockets and pipes are skipped, and no link is followed, even if one replaces a
/// directory meanwhile.
pub fn scan(source: &Path, place: &Path, ignored: &Patterns) -> io::Result<Scanned> {
    let mut scan = Scan { ignored, scanned: Scanned::default() };
    // The source itself may be a link; links below it are not followed.
    let stat = match rustix::fs::stat(source).map_err(io::Error::from) {
        Ok(stat) => stat,
        Err(error) => {
            scan.fail(place, error);
            return Ok(scan.scanned);
        }
    };
    if Kind::of(&stat) != Kind::Directory {
        if place.as_os_str().is_empty() {
            scan.add(place.to_owned(), &stat, || Err(io::ErrorKind::NotFound.into()))?;
        }
        return Ok(scan.scanned);
    }
    let looked = Directory::open(source).and_then(|root| match (place.parent(), place.file_name()) {
        (Some(parent), Some(name)) => {
            let directory = root.open_directory_below(parent)?;
            scan.entry(&directory, place.to_owned(), &c_name(name)?, 0)
        }
        _ => scan.directory(&root, place, &stat, 0),
    });
    match looked {
        Err(error) if error.kind() == io::ErrorKind::Other => return Err(error),
        Err(error) => scan.fail(place, error),
        Ok(()) => {}
    }
    Ok(scan.scanned)
}

struct Scan<'a> {
    ignored: &'a Patterns,
    scanned: Scanned,
}

impl Scan<'_> {
    /// Records an unreadable path, unless it is gone.
    fn fail(&mut self, path: &Path, error: io::Error) {
        if !is_gone(&error) {
            self.scanned.unreadable.push((path.to_owned(), error));
        }
    }

    /// Scans a name in a directory. The only error is too many entries.
    fn entry(&mut self, above: &Directory, path: PathBuf, name: &CStr, depth: usize) -> io::Result<()> {
        let stat = match above.stat(name) {
            Ok(stat) => stat,
            Err(error) => {
                self.fail(&path, error);
                return Ok(());
            }
        };
        if Kind::of(&stat) != Kind::Directory {
            return self.add(path, &stat, || above.read_link(name));
        }
        if self.ignored.is_ignored(&path, true) {
            return Ok(());
        }
        match above.open_directory(name) {
            Ok(directory) => self.directory(&directory, &path, &stat, depth),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => {
                self.add(path.clone(), &stat, || above.read_link(name))?;
                self.fail(&path, error);
                Ok(())
            }
        }
    }

    fn directory(&mut self, directory: &Directory, path: &Path, stat: &Stat, depth: usize) -> io::Result<()> {
        if self.ignored.is_ignored(path, true) {
            return Ok(());
        }
        self.add(path.to_owned(), stat, || Err(io::ErrorKind::NotFound.into()))?;
        if depth > DEPTH_MAX {
            let text = format!("it is more than {DEPTH_MAX} directories deep");
            self.fail(path, io::Error::new(io::ErrorKind::InvalidInput, text));
            return Ok(());
        }
        match directory.names() {
            Ok(names) => {
                for name in names.sorted() {
                    let path = path.join(OsStr::from_bytes(name.to_bytes()));
                    self.entry(directory, path, name, depth + 1)?;
                }
            }
            Err(error) => self.fail(path, error),
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: PathBuf,
        stat: &Stat,
        read_link: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let kind = Kind::of(stat);
        if self.ignored.is_ignored(&path, kind == Kind::Directory) {
            return Ok(());
        }
        if self.scanned.found.len() >= ENTRIES_MAX {
            let text = format!("more than {ENTRIES_MAX} files: ignore what need not be copied");
            return Err(io::Error::other(text));
        }
        let found = match kind {
            Kind::Directory => Found::Directory { mode: stat.st_mode & MODE_MASK },
            Kind::File => Found::File(Stamp::of(stat)),
            Kind::Link => match read_link() {
                Ok(target) => Found::Link { target },
                Err(_) => return Ok(()),
            },
            Kind::Other => return Ok(()),
        };
        self.scanned.found.insert(path, found);
        Ok(())
    }
}

/// Opens a regular file below the source, with its stamp. `None` if it is no regular file any more, or if its path
/// contains a link now.
pub fn open_file(source: &Path, place: &Path) -> io::Result<Option<(File, Stamp)>> {
    let opened = if place.as_os_str().is_empty() {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::open(source, flags, Mode::empty()).map(File::from).map_err(io::Error::from)
    } else {
        Directory::open(source).and_then(|root| root.open_file_below(place))
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&file)?;
    Ok((Kind::of(&stat) == Kind::File).then(|| (file, Stamp::of(&stat))))
}
