//! From the guest onto the host.

use super::counted::Counted;
use super::sparse::SparseFile;
use super::{CopyError, DEPTH_MAX, Progress, Skipped, joined, shown};
use crate::agent::{AgentClient, AgentError};
use protocol::latest::{FileKind, FileStat};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is kept of a guest's modes on the host: nothing that lends somebody's rights.
const MODE_MASK: u32 = 0o777;
/// What the owner of a directory needs while it is filled.
const OWNER: u32 = 0o700;
const SECOND: i64 = 1_000_000_000;

/// Copies a path of the guest's to one of the host: into it, where that is a directory. A source that ends in `/.`
/// stands for what is in it.
pub async fn out_of_guest(
    client: &mut AgentClient,
    source: &[u8],
    target: &Path,
    progress: &Progress,
) -> Result<Skipped, CopyError> {
    let stat =
        client.stat(source).await.map_err(|error| CopyError::Guest { path: shown(source), source: error })?;
    if stat.kind == FileKind::File && is_special(target) {
        let mut copy = Out { client, progress, skipped: Skipped::default(), number: 0 };
        let file = File::options().write(true).open(target).map_err(failed("open", target))?;
        copy.pour(source, file, target).await?;
        copy.progress.copied_one();
        return Ok(copy.skipped);
    }
    let name = source.split(|&byte| byte == b'/').rfind(|part| !part.is_empty());
    let name = name.filter(|name| !matches!(*name, b"." | b".."));
    // The target is the user's own word: links in it are followed.
    let (folder, name) = match (target.is_dir(), name) {
        (true, Some(name)) => (target.to_owned(), Some(name.to_vec())),
        (true, None) => (target.to_owned(), None),
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
    let opened = rustix::fs::openat(CWD, &folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = opened.map_err(|error| failed("open", &folder)(error.into()))?;
    let mut copy = Out { client, progress, skipped: Skipped::default(), number: 0 };
    match name {
        Some(name) => {
            copy.one((source, &stat), directory.as_fd(), (&name, folder.join(OsStr::from_bytes(&name))), 0)
                .await?
        }
        None if stat.kind == FileKind::Directory => copy.contents(source, &directory, &folder, 0).await?,
        None => return Err(CopyError::Target { path: shown(source), why: "is no directory in the sandbox" }),
    }
    Ok(copy.skipped)
}

/// Whether something is to be written to, rather than replaced: a device or a pipe, also behind a link.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Host { action, path, source }
}

/// Where kernels show themselves as files without end; copied only by whoever names them or what is in them.
const KERNEL_DIRECTORIES: [&str; 4] = ["/proc", "/sys", "/dev", "/.msb"];

/// The one of them that a path of the guest's is.
fn kernel_directory(path: &[u8]) -> Option<&'static str> {
    let mut parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let (Some(name), None) = (parts.next(), parts.next()) else { return None };
    KERNEL_DIRECTORIES.into_iter().find(|kernel| kernel.as_bytes()[1..] == *name)
}

struct Out<'a> {
    client: &'a mut AgentClient,
    progress: &'a Progress,
    skipped: Skipped,
    /// Tells temporary names apart.
    number: u64,
}

impl Out<'_> {
    /// Makes `name` in a directory of the host; `path` is for messages.
    async fn one(
        &mut self,
        (source, stat): (&[u8], &FileStat),
        directory: BorrowedFd<'_>,
        (name, path): (&[u8], PathBuf),
        depth: usize,
    ) -> Result<(), CopyError> {
        if depth > DEPTH_MAX {
            return Err(CopyError::TooDeep { path: shown(source) });
        }
        match stat.kind {
            FileKind::Directory => {
                let mode = Mode::from_raw_mode(stat.mode & MODE_MASK);
                let made = self.directory(directory, name, &path)?;
                Box::pin(self.contents(source, &made, &path, depth)).await?;
                rustix::fs::fchmod(&made, mode)
                    .map_err(|error| failed("set the mode of", &path)(error.into()))
            }
            FileKind::Link => {
                let target = stat.target.as_deref().unwrap_or_default();
                let temporary = self.temporary();
                rustix::fs::symlinkat(target, directory, temporary.as_str())
                    .map_err(|error| failed("make the link", &path)(error.into()))?;
                self.take_place(directory, &temporary, name, &path)?;
                self.progress.copied_one();
                Ok(())
            }
            FileKind::File => self.file(source, directory, name, &path).await,
            FileKind::Other => {
                self.skipped.add(shown(source));
                Ok(())
            }
        }
    }

    async fn contents(
        &mut self,
        source: &[u8],
        directory: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> Result<(), CopyError> {
        let refused = |error| CopyError::Guest { path: shown(source), source: error };
        for entry in self.client.list(source).await.map_err(refused)? {
            let path = path.join(OsStr::from_bytes(&entry.name));
            let source = joined(source, &entry.name);
            if let Some(kernel) = kernel_directory(&source) {
                self.skipped.kernel.push(kernel);
                continue;
            }
            match self.one((&source, &entry.stat), directory.as_fd(), (&entry.name, path), depth + 1).await {
                // The client goes on after this; the others arrive.
                Err(CopyError::Guest { path: _, source: AgentError::Refused { failure } }) => {
                    self.skipped.fail(&source, &failure.message);
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Makes a directory, or takes the one that is there; never what a link leads to.
    fn directory(&self, above: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<OwnedFd, CopyError> {
        match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(OWNER)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed("make the directory", path)(error.into())),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(above, name, flags, Mode::empty()).map_err(|error| {
            let is_link = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink());
            match is_link {
                true => CopyError::ThroughLink { path: path.to_owned() },
                false => failed("open", path)(error.into()),
            }
        })
    }

    async fn file(
        &mut self,
        source: &[u8],
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &Path,
    ) -> Result<(), CopyError> {
        let temporary = self.temporary();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = rustix::fs::openat(directory, temporary.as_str(), flags, Mode::from_raw_mode(0o600));
        let file = File::from(made.map_err(|error| failed("make a file beside", path)(error.into()))?);
        let filled = self.fill(source, file, path).await;
        let placed = filled.and_then(|()| self.take_place(directory, &temporary, name, path));
        if placed.is_err() {
            let _ = rustix::fs::unlinkat(directory, temporary.as_str(), AtFlags::empty());
        }
        placed?;
        self.progress.copied_one();
        Ok(())
    }

    /// Writes a guest's file into a device or a pipe of the host.
    async fn pour(&mut self, source: &[u8], file: File, path: &Path) -> Result<(), CopyError> {
        let mut contents = Counted::new(tokio::fs::File::from_std(file), self.progress);
        match self.client.read_file(source, &mut contents).await {
            Ok(_) => {}
            Err(AgentError::Contents { source }) => return Err(failed("write", path)(source)),
            Err(error) => return Err(CopyError::Guest { path: shown(source), source: error }),
        }
        tokio::io::AsyncWriteExt::flush(&mut contents.into_inner()).await.map_err(failed("write", path))
    }

    async fn fill(&mut self, source: &[u8], file: File, path: &Path) -> Result<(), CopyError> {
        let mut contents = Counted::new(SparseFile::new(file), self.progress);
        let stat = match self.client.read_file(source, &mut contents).await {
            Ok(stat) => stat,
            Err(AgentError::Contents { source }) => return Err(failed("write", path)(source)),
            Err(error) => return Err(CopyError::Guest { path: shown(source), source: error }),
        };
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
        // A file system that keeps no such times is no reason to refuse a file.
        let _ = rustix::fs::futimens(&file, &times);
        Ok(())
    }

    fn temporary(&mut self) -> String {
        self.number += 1;
        format!(".msb-cp-{}-{}", std::process::id(), self.number)
    }

    /// By a rename: a file or a link that is there is replaced, and nothing is followed.
    fn take_place(
        &self,
        directory: BorrowedFd<'_>,
        temporary: &str,
        name: &[u8],
        path: &Path,
    ) -> Result<(), CopyError> {
        rustix::fs::renameat(directory, temporary, directory, name).map_err(|error| {
            let _ = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
            failed("replace", path)(error.into())
        })
    }
}
