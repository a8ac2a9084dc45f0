//! Copies from the host to the guest.

use super::counted::Counted;
use super::{CopyError, DEPTH_MAX, Progress, Skipped, failed, joined, not_transferred, refused, shown};
use crate::agent::{AgentClient, AgentError};
use executor_fs::{Directory, Kind};
use protocol::latest::{FileFailureKind, FileOperation, FileRequest};
use rustix::fs::Stat;
use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The permission bits of a mode.
const MODE_MASK: u32 = 0o7777;

/// Copies a path of the host to one of the guest: into it if that is a directory. A source that ends in `/.` means the
/// contents of the directory.
///
/// # Errors
///
/// If a file of the host or the guest fails, or the target does not fit the source.
pub async fn into_guest(
    client: &mut AgentClient,
    source: &Path,
    target: &[u8],
    progress: &Progress,
) -> Result<Skipped, CopyError> {
    let contents_alone = matches!(source.as_os_str().as_bytes(), b"." | b"..")
        || [&b"/."[..], b"/.."].iter().any(|end| source.as_os_str().as_bytes().ends_with(end));
    let metadata = fs::symlink_metadata(source).map_err(failed("look at", source))?;
    let into = is_directory(client, target).await?;
    let target = match (into, source.file_name()) {
        (true, Some(name)) if !contents_alone => joined(target, name.as_bytes()),
        (false, _) if target.ends_with(b"/") && !metadata.is_dir() => {
            return Err(CopyError::Target { path: shown(target), why: "is not a directory in the sandbox" });
        }
        _ => target.to_vec(),
    };
    let mut copy = Into { client, progress, skipped: Skipped::default() };
    let source = Source { directory: None, name: c"", path: source };
    copy.one(&source, &target, 0).await?;
    Ok(copy.skipped)
}

/// Whether the guest's path is a directory or a link to one.
async fn is_directory(client: &mut AgentClient, path: &[u8]) -> Result<bool, CopyError> {
    match client.stat(&joined(path, b".")).await {
        Ok(_) => Ok(true),
        Err(AgentError::Refused { failure })
            if matches!(failure.kind, FileFailureKind::NotFound | FileFailureKind::NotDirectory) =>
        {
            Ok(false)
        }
        Err(error) => Err(refused(path)(error)),
    }
}

struct Into<'a> {
    client: &'a mut AgentClient,
    progress: &'a Progress,
    skipped: Skipped,
}

/// A name in an open directory of the host.
struct Source<'a> {
    /// `None` for the path that the user has named.
    directory: Option<&'a Directory>,
    name: &'a CStr,
    /// For messages.
    path: &'a Path,
}

impl Source<'_> {
    fn stat(&self) -> io::Result<Stat> {
        match self.directory {
            Some(directory) => directory.stat(self.name),
            None => Ok(rustix::fs::lstat(self.path)?),
        }
    }

    fn read_link(&self) -> io::Result<Vec<u8>> {
        match self.directory {
            Some(directory) => directory.read_link(self.name),
            None => Ok(rustix::fs::readlink(self.path, Vec::new())?.into_bytes()),
        }
    }

    fn open_directory(&self) -> io::Result<Directory> {
        match self.directory {
            Some(directory) => directory.open_directory(self.name),
            None => Directory::open(self.path),
        }
    }

    fn open_file(&self) -> io::Result<File> {
        match self.directory {
            Some(directory) => directory.open_file_below(self.name),
            None => executor_fs::beneath::open_file(self.path),
        }
    }
}

impl Into<'_> {
    async fn one(&mut self, source: &Source<'_>, target: &[u8], depth: usize) -> Result<(), CopyError> {
        let path = source.path;
        if depth > DEPTH_MAX {
            return Err(CopyError::TooDeep { path: path.display().to_string() });
        }
        let stat = source.stat().map_err(failed("look at", path))?;
        let mut request = FileRequest::new(FileOperation::Write, target);
        match Kind::of(&stat) {
            Kind::Link => {
                request.data = Some(source.read_link().map_err(failed("read the link", path))?);
                self.client.make_link(request).await.map_err(refused(target))?;
                self.progress.copied_one();
            }
            Kind::Directory => {
                // Opened before it is listed: its contents are reached by this descriptor only, even if the name is
                // replaced meanwhile.
                let directory = source.open_directory().map_err(failed("open", path))?;
                request.mode = Some(stat.st_mode & MODE_MASK);
                self.client.make_directory(request).await.map_err(refused(target))?;
                let names = directory.names().map_err(failed("list", path))?;
                for name in names.sorted() {
                    let target = joined(target, name.to_bytes());
                    let path = path.join(OsStr::from_bytes(name.to_bytes()));
                    let source = Source { directory: Some(&directory), name, path: &path };
                    Box::pin(self.one(&source, &target, depth + 1)).await?;
                }
            }
            // Boxed, so that the stack of a deep recursion is small.
            Kind::File => Box::pin(self.file(source, target, request)).await?,
            Kind::Other => self.skipped.add(path.display().to_string()),
        }
        Ok(())
    }

    async fn file(
        &mut self,
        source: &Source<'_>,
        target: &[u8],
        mut request: FileRequest,
    ) -> Result<(), CopyError> {
        let path = source.path;
        let file = source.open_file().map_err(failed("read", path))?;
        let metadata = file.metadata().map_err(failed("look at", path))?;
        if !metadata.is_file() {
            self.skipped.add(path.display().to_string());
            return Ok(());
        }
        request.mode = Some(metadata.mode() & MODE_MASK);
        let seconds = metadata.mtime().checked_mul(1_000_000_000);
        request.modified_ns = seconds.and_then(|whole| whole.checked_add(metadata.mtime_nsec()));
        let mut contents = Counted::new(tokio::fs::File::from_std(file), self.progress);
        let written = self.client.write_file(request, &mut contents).await;
        written.map_err(|error| not_transferred(error, "read", path, target))?;
        self.progress.copied_one();
        Ok(())
    }
}
