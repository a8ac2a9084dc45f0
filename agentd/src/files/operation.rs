//! The file operations. They may block: each runs in a thread of its own.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::latest::{
    FILE_DATA_BYTES, FILE_ENTRIES, FileData, FileEntry, FileFailureKind, FileKind, FileOperation,
    FileRequest, FileResponse, FileStat,
};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, futimens};

use crate::files::copy::copy;
use crate::files::freeze::freeze;
use crate::files::remove;
use crate::files::worker::{Stop, Worker, failed, quoted, refused};
use crate::guest_file;
use crate::users::look_up;

const MAX_PATH_BYTES: usize = 4096;
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;
/// The permission bits, without the file type.
pub const MODE_MASK: u32 = 0o7777;
/// The number of attempts to find an unused temporary name.
const TEMPORARY_NAMES: u32 = 64;

/// Uid and gid of new files.
type Owner = (u32, u32);

pub fn execute(request: &FileRequest, user: &str, worker: &mut Worker) -> Result<FileResponse, Stop> {
    let bytes = request.path.as_slice();
    let path = absolute(bytes)?;
    let to = || match &request.to {
        Some(to) => absolute(to),
        None => Err(refused(FileFailureKind::BadRequest, "the request has no target path")),
    };
    let owner = || {
        look_up(user)
            .map(|identity| (identity.uid, identity.gid))
            .map_err(|error| refused(FileFailureKind::NoSuchUser, error.to_string()))
    };
    let mut response = FileResponse::done();
    match request.op {
        FileOperation::Write => write(request, path, owner()?, worker)?,
        FileOperation::MakeDirectory => make_directory(request, path, owner()?)?,
        FileOperation::MakeLink => make_link(request, path, owner()?)?,
        FileOperation::Remove => remove(request, path, worker)?,
        FileOperation::Stat if request.follow => {
            let metadata = failed(fs::metadata(path), "look at", bytes)?;
            response.stat = Some(stat_of(&metadata));
        }
        FileOperation::Stat => response.stat = Some(failed(stat(path), "look at", bytes)?),
        FileOperation::Copy => copy(path, to()?, request.recursive, worker)?,
        FileOperation::Rename => rename(request, path, to()?, owner()?)?,
        FileOperation::RealPath => {
            let resolved = failed(fs::canonicalize(path), "resolve", bytes)?;
            response.path = Some(resolved.into_os_string().into_vec());
        }
        FileOperation::Read => response.stat = Some(read(path, bytes, worker)?),
        FileOperation::List => list(path, bytes, worker)?,
        FileOperation::Freeze => freeze(path, worker)?,
        FileOperation::Other => {
            let message = "this agent does not know that file operation";
            return Err(refused(FileFailureKind::BadRequest, message));
        }
    }
    Ok(response)
}

fn absolute(bytes: &[u8]) -> Result<&Path, Stop> {
    if bytes.first() != Some(&b'/') || bytes.contains(&0) || bytes.len() >= MAX_PATH_BYTES {
        let message = format!("'{}' is not an absolute path", quoted(bytes));
        return Err(refused(FileFailureKind::BadRequest, message));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

fn rename(request: &FileRequest, path: &Path, to: &Path, owner: Owner) -> Result<(), Stop> {
    if request.parents {
        make_parents(to, owner, to.as_os_str().as_bytes())?;
    }
    failed(fs::rename(path, to), "rename", request.path.as_slice())
}

fn write(request: &FileRequest, path: &Path, owner: Owner, worker: &mut Worker) -> Result<(), Stop> {
    let shown = request.path.as_slice();
    let parent = parent(path, shown)?;
    if request.parents {
        make_parents(path, owner, shown)?;
    }
    let (mut file, temporary) = failed(temporary(parent, make_file), "write", shown)?;
    match &request.data {
        Some(data) => failed(file.write_all(data), "write", shown)?,
        None => {
            while let Some(data) = worker.next_data()? {
                failed(file.write_all(&data), "write", shown)?;
            }
        }
    }
    failed(lchown(&temporary.0, Some(owner.0), Some(owner.1)), "set the owner of", shown)?;
    // After changing the owner, which clears the set-user-id bit.
    let mode = fs::Permissions::from_mode(request.mode.unwrap_or(FILE_MODE) & MODE_MASK);
    failed(file.set_permissions(mode), "set the permissions of", shown)?;
    if let Some(modified) = request.modified_ns {
        // A file system without such times is not an error.
        let _ = futimens(&file, &timestamps(modified));
    }
    worker.check_cancelled()?;
    failed(temporary.rename(path), "write", shown)
}

pub fn timestamps(modified_ns: i64) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: modified_ns.div_euclid(SECOND),
            tv_nsec: modified_ns.rem_euclid(SECOND),
        },
    }
}

/// A temporary file; removed when dropped.
pub struct Temporary(PathBuf);

impl Temporary {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name.
    pub fn rename(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)?;
        self.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Creates a temporary file in the target's directory.
pub fn temporary<T>(parent: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(T, Temporary)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..TEMPORARY_NAMES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".msb-{:x}-{number:x}", crate::boot::nanoseconds_since_boot()));
        match make(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => return result.map(|made| (made, Temporary(path))),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

pub fn make_file(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(path)
}

pub fn parent<'a>(path: &'a Path, shown: &[u8]) -> Result<&'a Path, Stop> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(_)) => Ok(parent),
        _ => Err(refused(FileFailureKind::BadRequest, format!("'{}' names no file", quoted(shown)))),
    }
}

/// Creates missing directories; existing ones, and links to some, stay unchanged.
fn make_parents(path: &Path, owner: Owner, shown: &[u8]) -> Result<(), Stop> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors().skip(1) {
        match fs::metadata(ancestor) {
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(ancestor),
            other => {
                failed(other, "look above", shown)?;
                break;
            }
        }
    }
    for directory in missing.into_iter().rev() {
        let made = make_one_directory(directory, DIRECTORY_MODE, owner);
        failed(made, "make", directory.as_os_str().as_bytes())?;
    }
    Ok(())
}

fn make_directory(request: &FileRequest, path: &Path, owner: Owner) -> Result<(), Stop> {
    let shown = request.path.as_slice();
    if request.parents {
        make_parents(path, owner, shown)?;
    }
    let mode = request.mode.unwrap_or(DIRECTORY_MODE) & MODE_MASK;
    failed(make_one_directory(path, mode, owner), "make the directory", shown)
}

pub fn make_one_directory(path: &Path, mode: u32, owner: Owner) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // It keeps its mode and owner, as /tmp must.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            lchown(path, Some(owner.0), Some(owner.1))?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }
    }
}

fn make_link(request: &FileRequest, path: &Path, owner: Owner) -> Result<(), Stop> {
    let shown = request.path.as_slice();
    let Some(target) = &request.data else {
        let message = format!("the link '{}' has no target", quoted(shown));
        return Err(refused(FileFailureKind::BadRequest, message));
    };
    let parent = parent(path, shown)?;
    if request.parents {
        make_parents(path, owner, shown)?;
    }
    let make = |temporary: &Path| symlink(OsStr::from_bytes(target), temporary);
    let ((), temporary) = failed(temporary(parent, make), "make the link", shown)?;
    failed(lchown(&temporary.0, Some(owner.0), Some(owner.1)), "set the owner of", shown)?;
    failed(temporary.rename(path), "make the link", shown)
}

fn remove(request: &FileRequest, path: &Path, worker: &Worker) -> Result<(), Stop> {
    let shown = request.path.as_slice();
    if !path.components().any(|component| matches!(component, Component::Normal(_))) {
        return Err(refused(FileFailureKind::BadRequest, "the root directory is not removed"));
    }
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && request.recursive => return remove::tree(path, shown, worker),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        // A missing file counts as removed.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        result => failed(result, "remove", shown),
    }
}

fn stat(path: &Path) -> io::Result<FileStat> {
    let metadata = fs::symlink_metadata(path)?;
    // It may have been replaced meanwhile.
    let target = if metadata.is_symlink() { fs::read_link(path).ok() } else { None };
    let target = target.map(|target| target.into_os_string().into_vec());
    Ok(FileStat { target, ..stat_of(&metadata) })
}

pub fn modified_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

fn stat_of(metadata: &Metadata) -> FileStat {
    let kind = if metadata.is_file() {
        FileKind::File
    } else if metadata.is_dir() {
        FileKind::Directory
    } else if metadata.is_symlink() {
        FileKind::Link
    } else {
        FileKind::Other
    };
    FileStat {
        kind,
        mode: metadata.mode() & MODE_MASK,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.size(),
        modified_ns: modified_ns(metadata),
        target: None,
    }
}

fn read(path: &Path, shown: &[u8], worker: &mut Worker) -> Result<FileStat, Stop> {
    let file = failed(guest_file::options().read(true).open(path), "read", shown)?;
    let metadata = failed(file.metadata(), "look at", shown)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { FileFailureKind::IsDirectory } else { FileFailureKind::WrongKind };
        return Err(refused(kind, format!("'{}' is not a regular file", quoted(shown))));
    }
    loop {
        let mut data = Vec::with_capacity(FILE_DATA_BYTES);
        failed((&file).take(FILE_DATA_BYTES as u64).read_to_end(&mut data), "read", shown)?;
        if data.is_empty() {
            return Ok(stat_of(&metadata));
        }
        worker.send(FileData { data })?;
    }
}

fn list(path: &Path, shown: &[u8], worker: &mut Worker) -> Result<(), Stop> {
    let mut entries = Vec::new();
    for entry in failed(fs::read_dir(path), "list", shown)? {
        let entry = failed(entry, "list", shown)?;
        worker.check_cancelled()?;
        // It may have been removed meanwhile.
        let Ok(stat) = stat(&entry.path()) else { continue };
        entries.push(FileEntry { name: entry.file_name().into_vec(), stat });
        if entries.len() == FILE_ENTRIES {
            let entries = std::mem::take(&mut entries);
            worker.send(FileResponse { entries, ..FileResponse::done() })?;
        }
    }
    if entries.is_empty() {
        return Ok(());
    }
    worker.send(FileResponse { entries, ..FileResponse::done() })
}
