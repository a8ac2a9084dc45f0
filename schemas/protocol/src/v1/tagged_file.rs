//! File requests in another form: the operation is a map of one key, its name, to its fields.
//!
//! Clients of microsandbox send this form (`FsOp` in its crate `microsandbox-protocol`), and expect the answers in it. The
//! type of the message and the frames of data are the same. Operations on open handles are not supported.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::envelope::{Envelope, MessageError, encode_payload};
use super::file::{FileKind, FileOperation, FileRequest, FileStat};
use crate::frame::{Flags, Frame};

/// The type of a file request.
const REQUEST_TYPE: &str = "core.fs.request";
/// The type of its response.
const RESPONSE_TYPE: &str = "core.fs.response";
const SECOND_NS: i64 = 1_000_000_000;

/// `core.fs.request` with a tagged operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedFileRequest {
    /// The same request in this protocol's own form.
    pub request: FileRequest,
    /// The result that the client expects.
    pub result: TaggedResult,
}

/// What the response to a tagged request contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaggedResult {
    /// The metadata.
    Stat,
    /// The entries.
    List,
    /// The resolved path.
    Path,
    /// The target of the link.
    Target,
    /// No result.
    Nothing,
}

#[derive(Deserialize)]
struct Request {
    op: BTreeMap<String, Fields>,
}

/// The fields of all operations: one type for each would make the agent a tenth larger.
#[derive(Deserialize)]
struct Fields {
    #[serde(alias = "link_path", alias = "src")]
    path: String,
    #[serde(default, alias = "dst")]
    target: Option<String>,
    #[serde(default)]
    follow_symlink: bool,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    mode: Option<u32>,
    #[serde(default)]
    user: Option<String>,
}

impl TaggedFileRequest {
    /// Decodes the body of a frame; `None` if it is not a request in this form.
    pub fn decode(frame: &Frame) -> Option<Self> {
        let envelope = Envelope::decode(frame).ok().filter(|envelope| envelope.t == REQUEST_TYPE)?;
        let Request { mut op } = envelope.payload().ok()?;
        let (name, fields) = op.pop_first().filter(|_| op.is_empty())?;
        let Fields { path, target, follow_symlink, recursive, mode, user } = fields;
        let target = target.map(String::into_bytes);
        let (op, result) = match name.as_str() {
            "RealPath" => (FileOperation::RealPath, TaggedResult::Path),
            "Stat" => (FileOperation::Stat, TaggedResult::Stat),
            // The metadata of a link contain its target.
            "ReadLink" => (FileOperation::Stat, TaggedResult::Target),
            "List" => (FileOperation::List, TaggedResult::List),
            "Symlink" => (FileOperation::MakeLink, TaggedResult::Nothing),
            "Mkdir" => (FileOperation::MakeDirectory, TaggedResult::Nothing),
            "Remove" | "RemoveDir" => (FileOperation::Remove, TaggedResult::Nothing),
            "Copy" => (FileOperation::Copy, TaggedResult::Nothing),
            "Rename" => (FileOperation::Rename, TaggedResult::Nothing),
            // Those of the first generation, of whole files.
            "Read" => (FileOperation::Read, TaggedResult::Nothing),
            "Write" => (FileOperation::Write, TaggedResult::Nothing),
            _ => return None,
        };
        let mut request = FileRequest { mode, user, follow: follow_symlink, ..FileRequest::new(op, path) };
        request.parents = op == FileOperation::MakeDirectory;
        request.recursive = recursive || op == FileOperation::Copy;
        match op {
            FileOperation::MakeLink => request.data = target,
            FileOperation::Copy | FileOperation::Rename => request.to = target,
            _ => {}
        }
        Some(Self { request, result })
    }
}

/// `core.fs.response` to a [`TaggedFileRequest`]. Always TERMINAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedFileResponse {
    /// Whether the operation has succeeded.
    pub ok: bool,
    /// The failure as a sentence.
    pub error: Option<String>,
    /// The result.
    pub data: Option<TaggedFileData>,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaggedFileData {
    /// The metadata of a path.
    Stat(TaggedFileEntry),
    /// The entries of a directory.
    List(Vec<TaggedFileEntry>),
    /// A resolved path, or the target of a link.
    Path(String),
}

/// The metadata of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedFileEntry {
    /// The whole path. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// `file`, `dir`, `symlink` or `other`.
    pub kind: String,
    /// The size, in bytes.
    pub size: u64,
    /// The permission bits.
    pub mode: u32,
    /// The time of the last modification, in seconds since 1970.
    pub modified: Option<i64>,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The time of the last access, which is not read.
    pub atime: Option<i64>,
    /// The time of the last modification, in seconds since 1970.
    pub mtime: Option<i64>,
}

impl TaggedFileEntry {
    /// Describes a file at a path.
    pub fn new(path: &[u8], stat: &FileStat) -> Self {
        let kind = match stat.kind {
            FileKind::File => "file",
            FileKind::Directory => "dir",
            FileKind::Link => "symlink",
            FileKind::Other => "other",
        };
        let modified = Some(stat.modified_ns.div_euclid(SECOND_NS));
        Self {
            path: String::from_utf8_lossy(path).into_owned(),
            kind: kind.to_owned(),
            size: stat.size,
            mode: stat.mode,
            modified,
            uid: stat.uid,
            gid: stat.gid,
            atime: None,
            mtime: modified,
        }
    }
}

impl TaggedFileResponse {
    /// Creates the response of a successful operation.
    pub const fn done(data: Option<TaggedFileData>) -> Self {
        Self { ok: true, error: None, data }
    }

    /// Creates the response of a failed operation.
    pub const fn failed(message: String) -> Self {
        Self { ok: false, error: Some(message), data: None }
    }

    /// Encodes it as the last frame of its session.
    ///
    /// # Errors
    ///
    /// If it does not fit into a frame.
    pub fn encode(&self, id: u32) -> Result<Frame, MessageError> {
        encode_payload(RESPONSE_TYPE, self, id, Flags::TERMINAL)
    }
}
