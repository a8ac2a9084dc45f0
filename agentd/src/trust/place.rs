//! Files in the root of the sandbox, which may be anything: links, FIFOs, devices, and files of any size.
//!
//! No path leads out of the root or to a file that a process has open, and only regular files are opened. Files and
//! directories on other mounts are never changed: they are declared files, the host's, or volumes that other sandboxes
//! may use.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, StatxFlags, Uid, fchmod, fchown, fstat,
    mkdirat, openat, openat2, readlinkat, renameat, statat, statx, unlinkat,
};
use rustix::io::Errno;

/// The largest file that is read, in bytes. A distribution's bundle has about 200 KiB.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most links at a path that are followed, as by the kernel.
const LINKS_MAX: usize = 40;
/// The name of a file that is being written, in the directory of the one that it replaces.
const PARTIAL: &str = ".msb-ca.partial";
const DIRECTORY_MODE: Mode =
    Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// The root of the sandbox.
pub struct GuestRoot {
    directory: OwnedFd,
    /// The id of its mount.
    mount: u64,
}

/// The place of a file in its directory. The file itself is no link.
pub struct Place {
    directory: OwnedFd,
    name: OsString,
}

/// The device and the number of a file, which identify it while it exists.
pub type Identity = (u64, u64);

/// A regular file.
pub struct Found {
    pub contents: Vec<u8>,
    stat: Stat,
    mount: u64,
}

impl Found {
    pub fn identity(&self) -> Identity {
        (self.stat.st_dev, self.stat.st_ino)
    }
}

impl GuestRoot {
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { mount: mount_of(&directory)?, directory })
    }

    /// Returns the place that a path leads to, whether there is a file or not. Its directory exists.
    pub fn place(&self, path: &Path) -> Result<Place> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let Some(Component::Normal(name)) = path.components().next_back() else {
                return Err(ErrorKind::IsADirectory.into());
            };
            let parent = path.parent().unwrap_or(Path::new("/"));
            let place = Place { directory: self.open_directory(parent)?, name: name.to_owned() };
            match readlinkat(&place.directory, &place.name, Vec::new()) {
                Ok(link) => path = parent.join(PathBuf::from(OsString::from_vec(link.into_bytes()))),
                Err(_) => return Ok(place),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// Whether a path leads to a file or directory of any kind.
    pub fn exists(&self, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(&self.directory, path, flags, Mode::empty(), IN_ROOT).is_ok()
    }

    /// Returns the names in a directory, at most `limit`.
    pub fn names(&self, path: &Path, limit: usize) -> Vec<OsString> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat2(&self.directory, path, flags, Mode::empty(), IN_ROOT);
        let Ok(entries) = opened.and_then(rustix::fs::Dir::new) else { return Vec::new() };
        let names = entries.flatten().map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()));
        names.filter(|name| name != "." && name != "..").take(limit).collect()
    }

    /// Creates the missing directories of a path.
    pub fn make_directories(&self, path: &Path) -> Result<()> {
        let mut ancestors: Vec<_> = path.ancestors().collect();
        ancestors.reverse();
        let mut parent = self.open_directory(Path::new("/"))?;
        for directory in ancestors {
            let Some(name) = directory.file_name() else { continue };
            parent = match self.open_directory(directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.check_own(mount_of(&parent)?)?;
                    make_directory(&parent, name)?
                }
                opened => opened?,
            };
        }
        Ok(())
    }

    /// Reads the regular file at a place.
    pub fn read(&self, place: &Place) -> Result<Found> {
        let Place { directory, name } = place;
        // Opening a device may have side effects.
        check_regular(&statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(openat(directory, name, flags, Mode::empty())?);
        let stat = fstat(&file)?;
        check_regular(&stat)?;
        let mount = mount_of(&file)?;
        let mut contents = Vec::new();
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut contents)?;
        if contents.len() > FILE_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(Found { contents, stat, mount })
    }

    /// Replaces a file that was read there by one with other contents, and the same owner and mode.
    pub fn replace(&self, place: &Place, found: &Found, contents: &[u8]) -> Result<Identity> {
        self.check_own(found.mount)?;
        // It must be readable at the next boot.
        if contents.len() > FILE_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let owner = (Uid::from_raw(found.stat.st_uid), Gid::from_raw(found.stat.st_gid));
        let stat = self.write(place, contents, Mode::from_raw_mode(found.stat.st_mode), Some(owner))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Writes a file of root with mode 0644 to a place without one.
    pub fn create(&self, place: &Place, contents: &[u8]) -> Result<()> {
        self.write(place, contents, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH, None).map(drop)
    }

    pub fn remove(&self, place: &Place, found: &Found) -> Result<()> {
        self.check_own(found.mount)?;
        Ok(unlinkat(&place.directory, &place.name, AtFlags::empty())?)
    }

    /// Writes a file beside the place, and moves it there.
    fn write(&self, place: &Place, contents: &[u8], mode: Mode, owner: Option<(Uid, Gid)>) -> Result<Stat> {
        let directory = &place.directory;
        self.check_own(mount_of(directory)?)?;
        match unlinkat(directory, PARTIAL, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(openat(directory, PARTIAL, flags, Mode::RUSR | Mode::WUSR)?);
        let moved = complete_and_move(file, contents, mode, owner, place);
        if moved.is_err() {
            let _ = unlinkat(directory, PARTIAL, AtFlags::empty());
        }
        moved
    }

    /// Returns the root as it would be if all its files were on other mounts.
    #[cfg(test)]
    pub fn on_another_mount(self) -> Self {
        Self { mount: u64::MAX, ..self }
    }

    fn open_directory(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat2(&self.directory, path, flags, Mode::empty(), IN_ROOT)?)
    }

    fn check_own(&self, mount: u64) -> Result<()> {
        if mount == self.mount {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::CrossesDevices, "it is on another mount"))
        }
    }
}

/// Links are resolved as in a sandbox's own processes, except those of /proc to files that a process has open.
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

fn mount_of(file: impl AsFd) -> Result<u64> {
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}

fn check_regular(stat: &Stat) -> Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Writes a partial file, and moves it to its place.
fn complete_and_move(
    mut file: File,
    contents: &[u8],
    mode: Mode,
    owner: Option<(Uid, Gid)>,
    place: &Place,
) -> Result<Stat> {
    let Place { directory, name } = place;
    file.write_all(contents)?;
    if let Some((user, group)) = owner {
        fchown(&file, Some(user), Some(group))?;
    }
    fchmod(&file, mode)?;
    // The machine may be switched off at any time, and an empty bundle would stay.
    file.sync_data()?;
    renameat(directory, PARTIAL, directory, name)?;
    Ok(fstat(&file)?)
}

fn make_directory(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    mkdirat(parent, name, DIRECTORY_MODE)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(parent, name, flags, Mode::empty())?;
    // The mask may have removed bits.
    fchmod(&made, DIRECTORY_MODE)?;
    Ok(made)
}
