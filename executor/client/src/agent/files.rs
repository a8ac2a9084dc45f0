//! File operations in a guest.
//!
//! The guest is not trusted: its answers are bounded in bytes and time, and its names are never paths of the host.

use super::{AgentClient, AgentError};
use crate::deadline::{PING_TIMEOUT, Unresponsive, within};
use crate::guest_text::GuestText;
use protocol::latest::{
    FEATURE_FILE_TREE, FEATURE_FILES, FEATURE_FREEZE, FILE_DATA_BYTES, FILE_ENTRIES, FILE_WINDOW_FRAMES,
    FileAck, FileData, FileEntry, FileOperation, FileRequest, FileResponse, FileStat, Message, Ping,
};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// The longest time for one message of the guest, or for the removal of a whole tree.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most names in a directory that a guest may send.
const LISTED_ENTRIES_MAX: usize = 1_000_000;
/// The longest path of Linux in bytes.
const PATH_BYTES_MAX: usize = 4096;
/// The longest file name of Linux in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The most bytes of a directory listing: names, and targets of links.
const LISTED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A disk of a guest whose writes are held.
#[derive(Debug)]
#[must_use]
pub struct FrozenDisk(u32);

/// File operations, one at a time. After any error but [`AgentError::Refused`], drop the client: the operation may still
/// run in the guest, and ends with the connection.
impl AgentClient {
    /// Writes a file atomically and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// If the contents cannot be read, the guest refuses, or the connection fails.
    pub async fn write_file(
        &mut self,
        mut request: FileRequest,
        contents: &mut (impl AsyncRead + Unpin),
    ) -> Result<u64, AgentError> {
        request.op = FileOperation::Write;
        let first = next_piece(contents).await?;
        if first.len() < FILE_DATA_BYTES {
            // The operation has ended.
            let bytes = first.len() as u64;
            request.data = Some(first);
            self.file_operation(request).await?;
            return Ok(bytes);
        }
        let id = self.begin(request).await?;
        let (mut piece, mut bytes) = (first, 0);
        let (mut sent, mut taken) = (0, 0);
        loop {
            while sent - taken >= FILE_WINDOW_FRAMES {
                match self.answer(id).await? {
                    Message::FileAck(ack) => taken = ack.frames.clamp(taken, sent),
                    Message::FileResponse(FileResponse { failure: Some(failure), .. }) => {
                        return Err(AgentError::Refused { failure });
                    }
                    other => return Err(unexpected(&other)),
                }
            }
            let ends = piece.is_empty();
            bytes += piece.len() as u64;
            self.send(id, &FileData { data: piece }.into()).await?;
            sent += 1;
            if ends {
                break;
            }
            piece = next_piece(contents).await?;
        }
        loop {
            match self.answer(id).await? {
                Message::FileAck(_) => {}
                Message::FileResponse(response) => return finished(response).map(|_| bytes),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Creates a directory unless it exists.
    ///
    /// # Errors
    ///
    /// If the guest refuses, or the connection fails.
    pub async fn make_directory(&mut self, mut request: FileRequest) -> Result<(), AgentError> {
        request.op = FileOperation::MakeDirectory;
        self.file_operation(request).await.map(drop)
    }

    /// Creates a symbolic link; the request's `data` is its target.
    ///
    /// # Errors
    ///
    /// If the guest refuses, or the connection fails.
    pub async fn make_link(&mut self, mut request: FileRequest) -> Result<(), AgentError> {
        request.op = FileOperation::MakeLink;
        self.file_operation(request).await.map(drop)
    }

    /// Removes a file, a link or, if `recursive`, a tree. A missing path is no error.
    ///
    /// # Errors
    ///
    /// If the guest refuses, or the connection fails.
    pub async fn remove(&mut self, path: &[u8], recursive: bool) -> Result<(), AgentError> {
        let request = FileRequest { recursive, ..FileRequest::new(FileOperation::Remove, path) };
        self.file_operation(request).await.map(drop)
    }

    /// Returns the metadata of a path; links are not followed.
    ///
    /// # Errors
    ///
    /// If the path is missing, the guest refuses, or the connection fails.
    pub async fn stat(&mut self, path: &[u8]) -> Result<FileStat, AgentError> {
        stat_of(self.file_operation(FileRequest::new(FileOperation::Stat, path)).await?)
    }

    /// Returns the metadata of a path; links are followed.
    ///
    /// # Errors
    ///
    /// As [`AgentClient::stat`], and if the guest's agent is too old.
    pub async fn stat_followed(&mut self, path: &[u8]) -> Result<FileStat, AgentError> {
        self.require(FEATURE_FILE_TREE, "follow links")?;
        let request = FileRequest { follow: true, ..FileRequest::new(FileOperation::Stat, path) };
        stat_of(self.file_operation(request).await?)
    }

    /// Copies a file, a link or, if `recursive`, a directory within the guest.
    ///
    /// # Errors
    ///
    /// If the guest's agent is too old or refuses, or the connection fails.
    pub async fn copy(&mut self, from: &[u8], to: &[u8], recursive: bool) -> Result<(), AgentError> {
        self.require(FEATURE_FILE_TREE, "copy files")?;
        let request = FileRequest::new(FileOperation::Copy, from);
        self.file_operation(FileRequest { to: Some(to.to_vec()), recursive, ..request }).await.map(drop)
    }

    /// Gives a file or directory another path in the same file system.
    ///
    /// # Errors
    ///
    /// If the guest's agent is too old or refuses, or the connection fails.
    pub async fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), AgentError> {
        self.require(FEATURE_FILE_TREE, "rename files")?;
        let request = FileRequest::new(FileOperation::Rename, from);
        self.file_operation(FileRequest { to: Some(to.to_vec()), ..request }).await.map(drop)
    }

    /// Returns a path without links, `.` and `..`; it must exist.
    ///
    /// # Errors
    ///
    /// If the path is missing, the guest's agent is too old or refuses, or the connection fails.
    pub async fn real_path(&mut self, path: &[u8]) -> Result<Vec<u8>, AgentError> {
        self.require(FEATURE_FILE_TREE, "resolve paths")?;
        let response = self.file_operation(FileRequest::new(FileOperation::RealPath, path)).await?;
        let missing = || AgentError::Unexpected { what: "without a path".into() };
        response.path.filter(|path| path.len() <= PATH_BYTES_MAX).ok_or_else(missing)
    }

    /// Reads a regular file. The guest decides its length, so the writer must be bounded.
    ///
    /// # Errors
    ///
    /// If the contents cannot be written, the guest refuses, or the connection fails.
    pub async fn read_file(
        &mut self,
        path: &[u8],
        contents: &mut (impl AsyncWrite + Unpin),
    ) -> Result<FileStat, AgentError> {
        let id = self.begin(FileRequest::new(FileOperation::Read, path)).await?;
        let mut frames = 0;
        loop {
            match self.answer(id).await? {
                Message::FileData(FileData { data }) => {
                    contents.write_all(&data).await.map_err(|source| AgentError::Contents { source })?;
                    frames += 1;
                    self.send(id, &FileAck { frames }.into()).await?;
                }
                Message::FileResponse(response) => return stat_of(finished(response)?),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Lists a directory. Each name is one plain component.
    ///
    /// # Errors
    ///
    /// If the listing is too long or has other names, the guest refuses, or the connection fails.
    pub async fn list(&mut self, path: &[u8]) -> Result<Vec<FileEntry>, AgentError> {
        let id = self.begin(FileRequest::new(FileOperation::List, path)).await?;
        let (mut entries, mut frames, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let Message::FileResponse(mut response) = self.answer(id).await? else {
                return Err(AgentError::Unexpected { what: "a listing with something else".into() });
            };
            let (part, last) = (std::mem::take(&mut response.entries), response == FileResponse::done());
            if response.failure.is_some() {
                return finished(response).map(|_| entries);
            }
            if part.len() > FILE_ENTRIES || entries.len() + part.len() > LISTED_ENTRIES_MAX {
                return Err(AgentError::Unexpected { what: "with more names than fit".into() });
            }
            bytes += part.iter().map(listed_bytes).sum::<usize>();
            if bytes > LISTED_BYTES_MAX {
                let what = format!("with a listing of more than {} MiB", LISTED_BYTES_MAX >> 20);
                return Err(AgentError::Unexpected { what });
            }
            if let Some(entry) = part.iter().find(|entry| !is_plain_name(&entry.name)) {
                let name = &entry.name[..entry.name.len().min(NAME_BYTES_MAX)];
                let what = format!("with the name {:?}", String::from_utf8_lossy(name));
                return Err(AgentError::Unexpected { what });
            }
            if part.is_empty() && last {
                return Ok(entries);
            }
            entries.extend(part);
            frames += 1;
            self.send(id, &FileAck { frames }.into()).await?;
        }
    }

    /// Has the guest write back the sandbox's own disk and hold all writes to it, until [`AgentClient::thaw_disk`] or the
    /// end of this client.
    ///
    /// # Errors
    ///
    /// If the guest's agent is too old or refuses, or the connection fails.
    pub async fn freeze_disk(&mut self) -> Result<FrozenDisk, AgentError> {
        self.require(FEATURE_FREEZE, "hold the writes to its disk")?;
        let id = self.begin(FileRequest::new(FileOperation::Freeze, b"/")).await?;
        match self.answer(id).await? {
            Message::FileResponse(response) => finished(response).map(|_| FrozenDisk(id)),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the guest go on with writes to its disk.
    ///
    /// # Errors
    ///
    /// If the writes were not held all the time, or the connection fails.
    pub async fn thaw_disk(&mut self, FrozenDisk(id): FrozenDisk) -> Result<(), AgentError> {
        self.send(id, &FileData { data: Vec::new() }.into()).await?;
        match self.answer(id).await? {
            Message::FileResponse(response) => finished(response).map(drop),
            other => Err(unexpected(&other)),
        }
    }

    async fn file_operation(&mut self, request: FileRequest) -> Result<FileResponse, AgentError> {
        let id = self.begin(request).await?;
        match self.answer(id).await? {
            Message::FileResponse(response) => finished(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn begin(&mut self, request: FileRequest) -> Result<u32, AgentError> {
        self.require(FEATURE_FILES, "work with files")?;
        let id = self.sender.next_id()?;
        self.send(id, &request.into()).await?;
        Ok(id)
    }

    async fn send(&mut self, id: u32, message: &Message) -> Result<(), AgentError> {
        within(MESSAGE_TIMEOUT, self.sender.send(id, message)).await?
    }

    /// Receives the next message of this session, and drops those of earlier ones.
    ///
    /// An operation may take long, but the guest's agent must answer a ping meanwhile.
    async fn answer(&mut self, id: u32) -> Result<Message, AgentError> {
        let deadline = Instant::now() + MESSAGE_TIMEOUT;
        let mut asked = false;
        loop {
            match within(PING_TIMEOUT, self.receiver.next()).await {
                Ok(next) => match next?.ok_or(AgentError::ReaderClosed)? {
                    (of, message) if of == id => return Ok(message),
                    // A pong, or any other message.
                    _ => asked = false,
                },
                Err(_) if asked => return Err(Unresponsive { timeout: 2 * PING_TIMEOUT }.into()),
                Err(_) => {
                    asked = true;
                    let ping = self.sender.next_id()?;
                    within(PING_TIMEOUT, self.sender.send(ping, &Ping {}.into())).await??;
                }
            }
            if Instant::now() >= deadline {
                return Err(Unresponsive { timeout: MESSAGE_TIMEOUT }.into());
            }
        }
    }
}

/// Reads one piece; only the last one is shorter than the buffer.
async fn next_piece(contents: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, AgentError> {
    let mut piece = Vec::new();
    contents
        .take(FILE_DATA_BYTES as u64)
        .read_to_end(&mut piece)
        .await
        .map_err(|source| AgentError::Contents { source })?;
    Ok(piece)
}

fn finished(response: FileResponse) -> Result<FileResponse, AgentError> {
    match response.failure {
        None => Ok(response),
        Some(failure) => Err(AgentError::Refused { failure }),
    }
}

fn stat_of(response: FileResponse) -> Result<FileStat, AgentError> {
    response.stat.ok_or_else(|| AgentError::Unexpected { what: "without a word about the file".into() })
}

fn unexpected(message: &Message) -> AgentError {
    let what = match message {
        Message::Error(report) => GuestText::message(&report.message).to_string(),
        other => format!("with {}", GuestText::message(other.message_type())),
    };
    AgentError::Unexpected { what }
}

/// The memory of an entry in bytes.
fn listed_bytes(entry: &FileEntry) -> usize {
    size_of::<FileEntry>() + entry.name.len() + entry.stat.target.as_ref().map_or(0, Vec::len)
}

fn is_plain_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(&b'/')
        && !name.contains(&0)
}

#[cfg(test)]
pub(crate) mod fake_guest;
#[cfg(test)]
mod tests;
