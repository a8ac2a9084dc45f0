//! Messages of a file operation: one request about one path of the guest, and its answer.
//!
//! A path is the guest's business alone: the agent follows it with root's rights, and a link in it leads
//! wherever the guest put it. What the guest answers about its files is data to the host, never a path of
//! the host's.

use super::payload::{kinds, payload};

/// What `core.ready` lists when the agent knows the messages of this file.
pub const FEATURE_FILES: &str = "fs";
/// The most that one `core.fs.data`, or a request itself, carries of a file, in bytes.
pub const FILE_DATA_BYTES: usize = 128 * 1024;
/// Frames of data, or of a listing, that may be on their way before one of them is acknowledged.
pub const FILE_WINDOW_FRAMES: u64 = 8;
/// The most entries in one answer to a listing.
pub const FILE_ENTRIES: usize = 256;

payload! {
    /// `core.fs.request`, flag SESSION_START.
    pub struct FileRequest {
        pub op: FileOperation,
        /// Absolute. Bytes, because names of files are.
        #[serde(with = "serde_bytes")]
        pub path: Vec<u8>,
        /// Permissions of what is made; default 0644 for a file and 0755 for a directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mode: Option<u32>,
        /// The owner of what is made, `name|uid[:group|gid]`. Default: as for a command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub user: Option<String>,
        /// When the file was last modified, in nanoseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub modified_ns: Option<i64>,
        /// Makes the directories above it as well (`write`, `make_directory`, `make_link`).
        #[serde(default)]
        pub parents: bool,
        /// With everything in it (`remove`). What is mounted inside stays, and is an error.
        #[serde(default)]
        pub recursive: bool,
        /// The whole contents of a short file (`write`), or where a link leads (`make_link`). A `write`
        /// without it is followed by `core.fs.data`.
        #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
        pub data: Option<Vec<u8>>,
    }

    /// `core.fs.response`, flag TERMINAL: the operation is done, or has failed. With NONE instead, a
    /// part of a listing: more is to come.
    pub struct FileResponse {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub failure: Option<FileFailure>,
        /// What `stat` and `read` found at the path itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stat: Option<FileStat>,
        /// A part of what `list` found.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub entries: Vec<FileEntry>,
    }

    /// `core.fs.data`: the next bytes of a file, at most [`FILE_DATA_BYTES`]. To the guest for `write`, from it
    /// for `read`. Empty data is the end of a file that is written, and only then does it take its place.
    pub struct FileData {
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.fs.data.ack`: how many frames of data or of a listing have been taken since the operation began. At
    /// most [`FILE_WINDOW_FRAMES`] are on their way without one.
    pub struct FileAck {
        pub frames: u64,
    }

    /// Why a file operation failed.
    pub struct FileFailure {
        pub kind: FileFailureKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<i32>,
        /// `ENOSPC` for example.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno_name: Option<String>,
        /// A whole sentence for a person.
        pub message: String,
    }

    /// What is known of a file, of a link itself and not of where it leads.
    pub struct FileStat {
        pub kind: FileKind,
        /// Permissions, without the kind.
        pub mode: u32,
        pub uid: u32,
        pub gid: u32,
        pub size: u64,
        pub modified_ns: i64,
        /// Where a link leads.
        #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
        pub target: Option<Vec<u8>>,
    }

    /// One name in a directory.
    pub struct FileEntry {
        #[serde(with = "serde_bytes")]
        pub name: Vec<u8>,
        pub stat: FileStat,
    }
}

kinds! {
    /// What is to be done at a path.
    pub enum FileOperation {
        /// Makes or replaces a file. It is written beside its place and renamed into it, so that no reader ever
        /// sees half of it.
        Write,
        /// Makes a directory, or gives the one that is there this mode and owner.
        MakeDirectory,
        /// Makes a symbolic link, in place of a file or link that is there.
        MakeLink,
        /// Removes a file, a link or a directory. What is not there is removed already.
        Remove,
        /// Tells what is there.
        Stat,
        /// Sends a regular file's contents.
        Read,
        /// Tells the names in a directory, in no order.
        List,
        /// An operation of a later peer.
        #[serde(other)]
        Other,
    }
}

kinds! {
    /// What a name stands for.
    pub enum FileKind {
        File,
        Directory,
        Link,
        /// Devices, sockets, pipes; also a kind of a later peer.
        #[serde(other)]
        Other,
    }
}

kinds! {
    /// Why a file operation failed.
    pub enum FileFailureKind {
        NotFound,
        PermissionDenied,
        AlreadyExists,
        NotDirectory,
        IsDirectory,
        DirectoryNotEmpty,
        /// The disk, or its number of files, is full.
        NoSpace,
        ReadOnly,
        /// Not for this kind of file: a device is not read, a pipe not replaced by a directory.
        WrongKind,
        /// A relative path, a NUL, more data than the window allows.
        BadRequest,
        NoSuchUser,
        /// The agent has as many file operations under way as it can hold.
        Busy,
        /// `errno` says more; also a kind of a later peer.
        #[serde(other)]
        Other,
    }
}

impl FileRequest {
    /// A request of this kind, with all else as its default.
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
        }
    }
}

impl FileResponse {
    /// Done, with nothing to tell.
    pub const fn done() -> Self {
        Self { failure: None, stat: None, entries: Vec::new() }
    }

    pub const fn failed(failure: FileFailure) -> Self {
        Self { failure: Some(failure), stat: None, entries: Vec::new() }
    }
}
