//! Messages of a file operation: a request about one path of the guest, and the response.
//!
//! A path is resolved in the guest only: the agent follows it with the rights of root, including the links that the
//! guest created. The host treats names and targets in responses as data, never as paths of its own.

use super::payload::{kinds, payload};

/// The feature in `core.ready` of an agent that supports these messages.
pub const FEATURE_FILES: &str = "fs";
/// The feature in `core.ready` of an agent that supports [`FileOperation::Freeze`].
pub const FEATURE_FREEZE: &str = "freeze";
/// The feature in `core.ready` of an agent that supports [`FileOperation::Copy`], `Rename` and `RealPath`, and a `Stat`
/// that follows links.
pub const FEATURE_FILE_TREE: &str = "fs_tree";
/// The most data of a file in one `core.fs.data` or in a request, in bytes.
pub const FILE_DATA_BYTES: usize = 128 * 1024;
/// The most frames of data or of a listing that are sent without an acknowledgement.
pub const FILE_WINDOW_FRAMES: u64 = 8;
/// The most time that an agent holds writes for [`FileOperation::Freeze`], in seconds.
pub const FREEZE_SECONDS_MAX: u64 = 600;
/// The most entries in one response to a listing.
pub const FILE_ENTRIES: usize = 256;

payload! {
    /// `core.fs.request`, flag SESSION_START: starts a file operation.
    pub struct FileRequest {
        /// The operation.
        pub op: FileOperation,
        /// The absolute path, as bytes.
        #[serde(with = "serde_bytes")]
        pub path: Vec<u8>,
        /// The permissions of the created file; without it 0644, or 0755 for a directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mode: Option<u32>,
        /// The owner of the created file as `name|uid[:group|gid]`; without it the user of commands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub user: Option<String>,
        /// The time of the last modification to set, in nanoseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub modified_ns: Option<i64>,
        /// Whether missing parent directories are created (`write`, `make_directory`, `make_link`).
        #[serde(default)]
        pub parents: bool,
        /// Whether a directory is removed with its contents (`remove`), where mounts in it are kept and are an error, or
        /// copied with them (`copy`).
        #[serde(default)]
        pub recursive: bool,
        /// The complete contents of a short file (`write`), or the target of a link (`make_link`). A `write` without it
        /// is followed by `core.fs.data`.
        #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
        pub data: Option<Vec<u8>>,
        /// The absolute path of the copy (`copy`), or the new path (`rename`), as bytes.
        #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
        pub to: Option<Vec<u8>>,
        /// Whether a link at the path is followed (`stat`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub follow: bool,
    }

    /// `core.fs.response`, flag TERMINAL: the operation has succeeded or failed. Without the flag, a part of a listing
    /// that more parts follow.
    pub struct FileResponse {
        /// The failure; `None` after success.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub failure: Option<FileFailure>,
        /// The metadata of the path (`stat`, `read`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stat: Option<FileStat>,
        /// A part of the entries (`list`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub entries: Vec<FileEntry>,
        /// The resolved path, as bytes (`real_path`).
        #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
        pub path: Option<Vec<u8>>,
    }

    /// `core.fs.data`: the next bytes of a file, to the guest for `write` and from it for `read`.
    pub struct FileData {
        /// The bytes, at most [`FILE_DATA_BYTES`]. Empty data ends a `write`, and the file gets its name.
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.fs.data.ack`: acknowledges data or a listing, of which at most [`FILE_WINDOW_FRAMES`] frames are sent
    /// without it.
    pub struct FileAck {
        /// The frames received since the start of the operation.
        pub frames: u64,
    }

    /// A failure of a file operation.
    pub struct FileFailure {
        /// Its kind.
        pub kind: FileFailureKind,
        /// The error number, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<i32>,
        /// The name of the error number, such as `ENOSPC`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno_name: Option<String>,
        /// The reason as a sentence, for people.
        pub message: String,
    }

    /// The metadata of a file, without following a link.
    pub struct FileStat {
        /// The kind of the file.
        pub kind: FileKind,
        /// The permission bits, without those of the kind.
        pub mode: u32,
        /// The user id of the owner.
        pub uid: u32,
        /// The group id.
        pub gid: u32,
        /// The size, in bytes.
        pub size: u64,
        /// The time of the last modification, in nanoseconds since 1970.
        pub modified_ns: i64,
        /// The target of a link.
        #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
        pub target: Option<Vec<u8>>,
    }

    /// One entry of a directory.
    pub struct FileEntry {
        /// The name, as bytes.
        #[serde(with = "serde_bytes")]
        pub name: Vec<u8>,
        /// The metadata.
        pub stat: FileStat,
    }
}

kinds! {
    /// An operation on a path.
    pub enum FileOperation {
        /// Creates or replaces a file. It is written under another name and then renamed, so that no reader sees a part
        /// of it.
        Write,
        /// Creates a directory, or sets the mode and owner of an existing one.
        MakeDirectory,
        /// Creates a symbolic link, or replaces a file or link with one.
        MakeLink,
        /// Removes a file, a link or a directory. A missing one is a success.
        Remove,
        /// Returns the metadata.
        Stat,
        /// Sends the contents of a regular file.
        Read,
        /// Lists a directory, in no order.
        List,
        /// Writes back the sandbox's own disk, and holds all writes to it until the client sends `core.fs.data` or
        /// disconnects, or for [`FREEZE_SECONDS_MAX`]. The path is `/`. A response without the flag TERMINAL says that
        /// writes are held; the last one fails if they were not all the time.
        Freeze,
        /// Copies a file, a link or, if `recursive`, a directory to the path `to`, with modes and owners. A file or link
        /// there is replaced; the entries of a directory are added to those of an existing one.
        Copy,
        /// Gives a file or directory the path `to`, in the same file system. A file there is replaced.
        Rename,
        /// Returns the path without links, `.` and `..`; it must exist.
        RealPath,
        /// Any operation of a later peer.
        #[serde(other)]
        Other,
    }
}

kinds! {
    /// The kind of a file.
    pub enum FileKind {
        /// A regular file.
        File,
        /// A directory.
        Directory,
        /// A symbolic link.
        Link,
        /// A device, a socket or a pipe, or a kind of a later peer.
        #[serde(other)]
        Other,
    }
}

kinds! {
    /// The reason why a file operation failed.
    pub enum FileFailureKind {
        /// The file does not exist.
        NotFound,
        /// The operation is not permitted.
        PermissionDenied,
        /// The file exists.
        AlreadyExists,
        /// A part of the path is not a directory.
        NotDirectory,
        /// The path is a directory.
        IsDirectory,
        /// The directory is not empty.
        DirectoryNotEmpty,
        /// The disk has no space or no inodes left.
        NoSpace,
        /// The file system is read only.
        ReadOnly,
        /// The operation does not support this kind of file, such as reading a device.
        WrongKind,
        /// The path is relative or contains a NUL, or the client sent more data than the window allows.
        BadRequest,
        /// The user or the group does not exist.
        NoSuchUser,
        /// The agent runs as many file operations as it can.
        Busy,
        /// Anything else, as `errno` describes it, or a kind of a later peer.
        #[serde(other)]
        Other,
    }
}

impl FileRequest {
    /// Creates a request with defaults for all else.
    pub fn new(op: FileOperation, path: impl Into<Vec<u8>>) -> Self {
        Self {
            op,
            path: path.into(),
            mode: None,
            user: None,
            modified_ns: None,
            parents: false,
            recursive: false,
            data: None,
            to: None,
            follow: false,
        }
    }
}

impl FileResponse {
    /// Creates the response of a successful operation without a result.
    pub const fn done() -> Self {
        Self { failure: None, stat: None, entries: Vec::new(), path: None }
    }

    /// Creates the response of a failed operation.
    pub const fn failed(failure: FileFailure) -> Self {
        Self { failure: Some(failure), stat: None, entries: Vec::new(), path: None }
    }
}
