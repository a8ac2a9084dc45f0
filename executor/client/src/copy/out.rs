//! Copies from the guest to the host.

use super::counted::Counted;
use super::sparse::SparseFile;
use super::{CopyError, DEPTH_MAX, Progress, Skipped, failed, joined, not_transferred, refused, shown};
use crate::agent::{AgentClient, AgentError};
use executor_fs::beneath::c_name;
use executor_fs::{Directory, Kind};
use protocol::latest::{FileKind, FileStat};
use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The bits of a guest's modes that are kept on the host: no set-user-id and the like.
const MODE_MASK: u32 = 0o777;
/// The mode of a directory while it is filled.
const FILLING: Mode = Mode::RWXU;
/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// Copies a path of the guest to one of the host: into it if that is a directory. A source that ends in `/.` means the
/// contents of the directory.
///
/// # Errors
///
/// If the guest or a file of the host fails, or the target does not fit the source.
pub async fn out_of_guest(
    client: &mut AgentClient,
    source: &[u8],
    target: &Path,
    progress: &Progress,
) -> Result<Skipped, CopyError> {
    let stat = client.stat(source).await.map_err(refused(source))?;
    if stat.kind == FileKind::File && is_special(target) {
        let mut copy = Out { client, progress, skipped: Skipped::default(), number: 0 };
        let file = File::options().write(true).open(target).map_err(failed("open", target))?;
        copy.pour(source, file, target).await?;
        copy.progress.copied_one();
        return Ok(copy.skipped);
    }
    let name = source.split(|&byte| byte == b'/').rfind(|part| !part.is_empty());
    let name = name.filter(|name| !matches!(*name, b"." | b".."));
    // Links in the target are followed: the user has named it.
    let (folder, name) = match (target.is_dir(), name) {
        (true, name) => (target.to_owned(), name.map(<[u8]>::to_vec)),
        (false, _) if stat.kind != FileKind::Directory && target.as_os_str().as_bytes().ends_with(b"/") => {
            let path = target.display().to_string();
            return Err(CopyError::Target { path, why: "is not a directory" });
        }
        (false, _) => {
            let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
            let named = target.file_name().ok_or_else(|| CopyError::Target {
                path: target.display().to_string(),
                why: "names no file",
            })?;
            (parent.unwrap_or(Path::new(".")).to_owned(), Some(named.as_bytes().to_vec()))
        }
    };
    let directory = Directory::open(&folder).map_err(failed("open", &folder))?;
    let mut copy = Out { client, progress, skipped: Skipped::default(), number: 0 };
    match name {
        Some(name) => {
            let path = folder.join(OsStr::from_bytes(&name));
            copy.one(Source { path: source, stat: &stat }, &Destination::new(&directory, &name, &path)?, 0)
                .await?
        }
        None if stat.kind == FileKind::Directory => copy.contents(source, &directory, &folder, 0).await?,
        None => return Err(CopyError::Target { path: shown(source), why: "is no directory in the sandbox" }),
    }
    Ok(copy.skipped)
}

/// Whether a target is written to instead of replaced: a device or a pipe, or a link to one.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Directories of the kernel with endless files; copied only if the user names them or a path in them.
const KERNEL_DIRECTORIES: [&str; 4] = ["/proc", "/sys", "/dev", "/.msb"];

/// Returns the kernel directory at a path of the guest, if it is one.
fn kernel_directory(path: &[u8]) -> Option<&'static str> {
    let mut parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let (Some(name), None) = (parts.next(), parts.next()) else { return None };
    KERNEL_DIRECTORIES.into_iter().find(|kernel| kernel.as_bytes()[1..] == *name)
}

/// A path in the guest.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a [u8],
    stat: &'a FileStat,
}

/// A name in an open directory of the host.
struct Destination<'a> {
    directory: &'a Directory,
    name: CString,
    /// For messages.
    path: &'a Path,
}

impl<'a> Destination<'a> {
    fn new(directory: &'a Directory, name: &[u8], path: &'a Path) -> Result<Self, CopyError> {
        let name = c_name(OsStr::from_bytes(name)).map_err(failed("name", path))?;
        Ok(Self { directory, name, path })
    }

    /// Renames a finished temporary file or link to this destination.
    fn take(&self, temporary: &CString) -> Result<(), CopyError> {
        self.directory.replace(temporary, &self.name).map_err(failed("replace", self.path))
    }
}

struct Out<'a> {
    client: &'a mut AgentClient,
    progress: &'a Progress,
    skipped: Skipped,
    /// The number of temporary names so far.
    number: u64,
}

impl Out<'_> {
    /// Copies one path of the guest to its destination on the host.
    async fn one(
        &mut self,
        source: Source<'_>,
        destination: &Destination<'_>,
        depth: usize,
    ) -> Result<(), CopyError> {
        if depth > DEPTH_MAX {
            return Err(CopyError::TooDeep { path: shown(source.path) });
        }
        match source.stat.kind {
            FileKind::Directory => {
                let mode = Mode::from_raw_mode(source.stat.mode & MODE_MASK);
                let directory = make_directory(destination)?;
                Box::pin(self.contents(source.path, &directory, destination.path, depth)).await?;
                rustix::fs::fchmod(&directory, mode)
                    .map_err(|error| failed("set the mode of", destination.path)(error.into()))
            }
            FileKind::Link => {
                let target = source.stat.target.as_deref().unwrap_or_default();
                let temporary = self.temporary()?;
                destination
                    .directory
                    .make_link(target, &temporary)
                    .map_err(failed("make the link", destination.path))?;
                destination.take(&temporary)?;
                self.progress.copied_one();
                Ok(())
            }
            // Boxed, so that the stack of a deep recursion is small.
            FileKind::File => Box::pin(self.file(source.path, destination)).await,
            FileKind::Other => {
                self.skipped.add(shown(source.path));
                Ok(())
            }
        }
    }

    async fn contents(
        &mut self,
        source: &[u8],
        directory: &Directory,
        path: &Path,
        depth: usize,
    ) -> Result<(), CopyError> {
        for entry in self.client.list(source).await.map_err(refused(source))? {
            let path = path.join(OsStr::from_bytes(&entry.name));
            let source = joined(source, &entry.name);
            if let Some(kernel) = kernel_directory(&source) {
                self.skipped.kernel.push(kernel);
                continue;
            }
            let destination = Destination::new(directory, &entry.name, &path)?;
            match self.one(Source { path: &source, stat: &entry.stat }, &destination, depth + 1).await {
                // The connection is still good; the other entries are copied.
                Err(CopyError::Guest { path: _, source: AgentError::Refused { failure } }) => {
                    self.skipped.fail(&source, &failure.message);
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn file(&mut self, source: &[u8], destination: &Destination<'_>) -> Result<(), CopyError> {
        let temporary = self.temporary()?;
        let created = destination.directory.create_file(&temporary, Mode::RUSR | Mode::WUSR);
        let file = created.map_err(failed("make a file beside", destination.path))?;
        let filled = self.fill(source, file, destination.path).await;
        filled.inspect_err(|_| destination.directory.remove_file(&temporary))?;
        destination.take(&temporary)?;
        self.progress.copied_one();
        Ok(())
    }

    /// Writes a guest's file into a device or a pipe of the host.
    async fn pour(&mut self, source: &[u8], file: File, path: &Path) -> Result<(), CopyError> {
        let mut contents = Counted::new(tokio::fs::File::from_std(file), self.progress);
        let read = self.client.read_file(source, &mut contents).await;
        read.map_err(|error| not_transferred(error, "write", path, source))?;
        tokio::io::AsyncWriteExt::flush(&mut contents.into_inner()).await.map_err(failed("write", path))
    }

    async fn fill(&mut self, source: &[u8], file: File, path: &Path) -> Result<(), CopyError> {
        let mut contents = Counted::new(SparseFile::new(file), self.progress);
        let read = self.client.read_file(source, &mut contents).await;
        let stat = read.map_err(|error| not_transferred(error, "write", path, source))?;
        let file = contents.into_inner().finish().map_err(failed("write", path))?;
        let mode = Mode::from_raw_mode(stat.mode & MODE_MASK);
        rustix::fs::fchmod(&file, mode).map_err(|error| failed("set the mode of", path)(error.into()))?;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: stat.modified_ns.div_euclid(SECOND),
                tv_nsec: stat.modified_ns.rem_euclid(SECOND),
            },
        };
        // Not every file system keeps such times.
        let _ = rustix::fs::futimens(&file, &times);
        Ok(())
    }

    fn temporary(&mut self) -> Result<CString, CopyError> {
        self.number += 1;
        let name = format!(".msb-cp-{}-{}", std::process::id(), self.number);
        c_name(OsStr::new(&name)).map_err(failed("name", Path::new(&name)))
    }
}

/// Creates a directory, or opens the one that exists; never the target of a link.
fn make_directory(destination: &Destination<'_>) -> Result<Directory, CopyError> {
    destination.directory.make_directory(&destination.name, FILLING).map_err(|error| {
        let is_link =
            destination.directory.stat(&destination.name).is_ok_and(|stat| Kind::of(&stat) == Kind::Link);
        if is_link {
            CopyError::ThroughLink { path: destination.path.to_owned() }
        } else {
            failed("make the directory", destination.path)(error)
        }
    })
}
