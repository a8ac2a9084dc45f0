//! Files of a guest. Paths are absolute, and resolved in the guest only, with the rights of root.

use crate::convert;
use crate::error::{Error, Result};
use crate::file_streams::{FileReader, FileWriter};
use crate::file_types::{Copied, DirEntry, FileStat, WriteOptions};
use crate::guest::Guest;
use crate::pool::Leased;
use executor_client::agent::AgentError;
use executor_client::copy::{Progress, into_guest, out_of_guest};
use protocol::latest::{FileEntry, FileFailureKind, FileOperation, FileRequest};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// The most that `read` keeps unless another limit is set, in bytes.
const MAX_READ_BYTES: usize = 1024 * 1024 * 1024;
/// The longest time for which an operation is tried while the guest is busy with those of other clients.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two tries.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Carries out an operation on a connection, and tries it again while the guest is busy with those of other clients.
///
/// A function would take a closure, whose future the compiler does not accept as `Send`.
macro_rules! operate {
    ($files:expr, $path:expr, $client:ident => $operation:expr) => {{
        let deadline = Instant::now() + BUSY_TIMEOUT;
        loop {
            let mut $client = $files.take().await?;
            let done = $operation.await;
            if is_busy(&done) && Instant::now() < deadline {
                $client.give_back();
                tokio::time::sleep(BUSY_PAUSE).await;
            } else {
                break $files.finish($client, done, $path).await;
            }
        }
    }};
}

/// The files of a guest.
///
/// All calls fail with [`Error::FileFailed`] or [`Error::PathNotFound`] if the guest refuses, with [`Error::ConnectionLost`] if the
/// connection ends, and with [`Error::InvalidArgument`] for a relative path. A call that is dropped ends its operation in the
/// guest.
#[derive(Clone, Debug)]
pub struct Files {
    guest: Arc<Guest>,
}

impl Files {
    pub(crate) fn new(guest: Arc<Guest>) -> Self {
        Self { guest }
    }

    async fn take(&self) -> Result<Leased> {
        let link = self.guest.link().await?;
        // A connection for files must not outlive that of the commands.
        if link.raw.has_ended() {
            link.raw.open().map(drop).map_err(|error| link.error(&error))?;
        }
        link.files.take().await
    }

    async fn request(&self, request: FileRequest) -> Result<()> {
        let path = &request.path;
        match request.op {
            FileOperation::MakeDirectory => {
                operate!(self, path, client => client.make_directory(request.clone()))
            }
            _ => operate!(self, path, client => client.make_link(request.clone())),
        }
    }

    async fn finish<T>(&self, client: Leased, done: Result<T, AgentError>, path: &[u8]) -> Result<T> {
        match done {
            Ok(value) => {
                client.give_back();
                Ok(value)
            }
            Err(error) => {
                // Any other failure may have left the operation running.
                if matches!(error, AgentError::Refused { .. } | AgentError::UnsupportedOperation { .. }) {
                    client.give_back();
                }
                Err(self.guest.explain(convert::file(error, path)).await)
            }
        }
    }

    /// Reads a regular file of at most 1 GiB.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a larger one; also as of [`Files`].
    pub async fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        self.read_with_limit(path, MAX_READ_BYTES).await
    }

    /// Reads a regular file of at most this many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for a larger one; also as of [`Files`].
    pub async fn read_with_limit(&self, path: impl AsRef<Path>, max_bytes: usize) -> Result<Vec<u8>> {
        let path = absolute(path.as_ref())?;
        let mut contents = Limited { data: Vec::new(), max: max_bytes, is_exceeded: false };
        let read = operate!(self, path, client => client.read_file(path, &mut contents));
        match read {
            Err(_) if contents.is_exceeded => {
                let path = String::from_utf8_lossy(path);
                Err(Error::new("too-large", format!("{path} is larger than {max_bytes} bytes")))
            }
            read => read.map(|_| contents.data),
        }
    }

    /// Reads a text file.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is not UTF-8; also as [`Files::read`].
    pub async fn read_text(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        let data = self.read(path).await?;
        String::from_utf8(data).map_err(|_| Error::invalid(format!("{} is not UTF-8", path.display())))
    }

    /// Opens a file for reading in pieces.
    ///
    /// # Errors
    ///
    /// As of [`Files`]; a missing file is an error of the first piece.
    pub async fn read_stream(&self, path: impl AsRef<Path>) -> Result<FileReader> {
        let path = absolute(path.as_ref())?;
        Ok(FileReader::start(self.take().await?, path))
    }

    /// Creates or replaces a file at once: no reader sees a part of it.
    ///
    /// # Errors
    ///
    /// As of [`Files`].
    pub async fn write(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write_with(path, contents, WriteOptions::default()).await
    }

    /// Creates or replaces a file as [`Files::write`] does, with options.
    ///
    /// # Errors
    ///
    /// As of [`Files`].
    pub async fn write_with(
        &self,
        path: impl AsRef<Path>,
        contents: impl AsRef<[u8]>,
        options: WriteOptions,
    ) -> Result<()> {
        let request = write_request(path.as_ref(), options)?;
        let path = request.path.clone();
        operate!(self, &path, client => client.write_file(request.clone(), &mut contents.as_ref())).map(drop)
    }

    /// Opens a file for writing in pieces. It appears when the writer is closed; dropping the writer abandons it.
    ///
    /// # Errors
    ///
    /// As of [`Files`]; most of them are errors of the writer.
    pub async fn write_stream(&self, path: impl AsRef<Path>, options: WriteOptions) -> Result<FileWriter> {
        let request = write_request(path.as_ref(), options)?;
        Ok(FileWriter::start(self.take().await?, request))
    }

    /// Returns the entries of a directory, sorted by name.
    ///
    /// # Errors
    ///
    /// [`Error::ProtocolError`] for more than a million names; also as of [`Files`].
    pub async fn list(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>> {
        let folder = path.as_ref();
        let path = absolute(folder)?;
        let mut entries: Vec<DirEntry> = operate!(self, path, client => client.list(path))?
            .into_iter()
            .map(|entry| {
                let FileEntry { name, stat } = entry;
                let name = OsString::from_vec(name);
                DirEntry { path: folder.join(&name), name, stat: stat.into() }
            })
            .collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Creates a directory and its missing parents; an existing one is no error.
    ///
    /// # Errors
    ///
    /// As of [`Files`].
    pub async fn mkdir(&self, path: impl AsRef<Path>) -> Result<()> {
        self.mkdir_with(path, WriteOptions { parents: true, ..WriteOptions::default() }).await
    }

    /// Creates a directory with options, whose default mode is 0755 here; an existing one gets them.
    ///
    /// # Errors
    ///
    /// As of [`Files`].
    pub async fn mkdir_with(&self, path: impl AsRef<Path>, options: WriteOptions) -> Result<()> {
        let request = write_request(path.as_ref(), options)?;
        self.request(FileRequest { op: FileOperation::MakeDirectory, ..request }).await
    }

    /// Creates a symbolic link at a path, or replaces a file or link with one.
    ///
    /// # Errors
    ///
    /// As of [`Files`].
    pub async fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let request = FileRequest::new(FileOperation::MakeLink, absolute(path.as_ref())?);
        let data = Some(target.as_ref().as_os_str().as_bytes().to_vec());
        self.request(FileRequest { data, ..request }).await
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    ///
    /// [`Error::PathNotFound`] for a missing one, and [`Error::FileFailed`] for a directory.
    pub async fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        self.remove_if(path.as_ref(), false).await
    }

    /// Removes a directory with its contents.
    ///
    /// # Errors
    ///
    /// [`Error::PathNotFound`] for a missing one, and [`Error::FileFailed`] for a file.
    pub async fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        self.remove_if(path.as_ref(), true).await
    }

    /// Removes a path if it is a directory, or if it is none.
    async fn remove_if(&self, path: &Path, is_dir: bool) -> Result<()> {
        let found = self.stat(path).await?;
        let path = absolute(path)?;
        if found.is_dir() != is_dir {
            let (kind, errno, name, text) = match is_dir {
                true => ("not_directory", 20, "ENOTDIR", "is not a directory"),
                false => ("is_directory", 21, "EISDIR", "is a directory"),
            };
            let message = format!("{} {text}", String::from_utf8_lossy(path));
            return Err(convert::file_failure(kind, path, Some(errno), Some(name.to_owned()), message));
        }
        operate!(self, path, client => client.remove(path, is_dir))
    }

    /// Returns the metadata of a file; of a link itself.
    ///
    /// # Errors
    ///
    /// As of [`Files`].
    pub async fn stat(&self, path: impl AsRef<Path>) -> Result<FileStat> {
        let path = absolute(path.as_ref())?;
        operate!(self, path, client => client.stat(path)).map(FileStat::from)
    }

    /// Returns the metadata of a file; links are followed.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedOperation`] if the agent is too old; also as of [`Files`].
    pub async fn stat_followed(&self, path: impl AsRef<Path>) -> Result<FileStat> {
        let path = absolute(path.as_ref())?;
        operate!(self, path, client => client.stat_followed(path)).map(FileStat::from)
    }

    /// Copies a file or link inside the guest.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedOperation`] if the agent is too old; also as of [`Files`].
    pub async fn copy(&self, path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.copy_any(path.as_ref(), to.as_ref(), false).await
    }

    /// Copies a directory with its contents inside the guest.
    ///
    /// # Errors
    ///
    /// As [`Files::copy`].
    pub async fn copy_dir(&self, path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.copy_any(path.as_ref(), to.as_ref(), true).await
    }

    async fn copy_any(&self, path: &Path, to: &Path, is_recursive: bool) -> Result<()> {
        let (path, to) = (absolute(path)?, absolute(to)?);
        operate!(self, path, client => client.copy(path, to, is_recursive))
    }

    /// Gives a file or directory another path in the same file system.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedOperation`] if the agent is too old; also as of [`Files`].
    pub async fn rename(&self, path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (path, to) = (absolute(path.as_ref())?, absolute(to.as_ref())?);
        operate!(self, path, client => client.rename(path, to))
    }

    /// Returns the path without links, `.` and `..`.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedOperation`] if the agent is too old; also as of [`Files`].
    pub async fn real_path(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = absolute(path.as_ref())?;
        operate!(self, path, client => client.real_path(path))
            .map(|path| PathBuf::from(OsString::from_vec(path)))
    }

    /// Returns the target of a link.
    ///
    /// # Errors
    ///
    /// [`Error::FileFailed`] for anything else.
    pub async fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let target = self.stat(path).await?.target;
        target.ok_or_else(|| {
            let message = format!("{} is not a link", path.display());
            let bytes = path.as_os_str().as_bytes();
            convert::file_failure("wrong_kind", bytes, Some(22), Some("EINVAL".to_owned()), message)
        })
    }

    /// Returns whether there is a file, directory or link.
    ///
    /// # Errors
    ///
    /// As of [`Files`].
    pub async fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        match self.stat(path).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), Some("not_found" | "not_directory")) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies a file or directory of the host into the guest, as `msb cp` does: into the target if that is a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Host`] if the source cannot be read; also as of [`Files`].
    pub async fn copy_from_host(&self, host: impl AsRef<Path>, guest: impl AsRef<Path>) -> Result<Copied> {
        let target = absolute(guest.as_ref())?;
        let (mut client, progress) = (self.take().await?, Progress::default());
        let skipped =
            into_guest(&mut client, host.as_ref(), target, &progress).await.map_err(convert::copy)?;
        client.give_back();
        Ok(Copied::of(&progress, &skipped))
    }

    /// Copies a file or directory of the guest to the host, as `msb cp` does: into the target if that is a directory, and
    /// never through a link below it.
    ///
    /// # Errors
    ///
    /// [`Error::Host`] if the target cannot be written; also as of [`Files`].
    pub async fn copy_to_host(&self, guest: impl AsRef<Path>, host: impl AsRef<Path>) -> Result<Copied> {
        let source = absolute(guest.as_ref())?;
        let (mut client, progress) = (self.take().await?, Progress::default());
        let skipped =
            out_of_guest(&mut client, source, host.as_ref(), &progress).await.map_err(convert::copy)?;
        client.give_back();
        Ok(Copied::of(&progress, &skipped))
    }
}

/// Whether the guest has not begun the operation, because it carries out as many as it can.
pub(crate) fn is_busy<T>(done: &Result<T, AgentError>) -> bool {
    matches!(done, Err(AgentError::Refused { failure }) if failure.kind == FileFailureKind::Busy)
}

fn write_request(path: &Path, options: WriteOptions) -> Result<FileRequest> {
    let WriteOptions { mode, user, parents } = options;
    if mode.is_some_and(|mode| mode > 0o7777) {
        return Err(Error::invalid("a mode is from 0 to 0o7777"));
    }
    Ok(FileRequest { mode, user, parents, ..FileRequest::new(FileOperation::Write, absolute(path)?) })
}

/// Returns the bytes of an absolute path in the guest.
fn absolute(path: &Path) -> Result<&[u8]> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.starts_with(b"/") && !bytes.contains(&0) {
        Ok(bytes)
    } else {
        Err(Error::invalid(format!("{} is not an absolute path in the guest", path.display())))
    }
}

/// Keeps what is written, up to a limit.
struct Limited {
    data: Vec<u8>,
    max: usize,
    is_exceeded: bool,
}

impl AsyncWrite for Limited {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.data.len() + data.len() > self.max {
            self.is_exceeded = true;
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        self.data.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
