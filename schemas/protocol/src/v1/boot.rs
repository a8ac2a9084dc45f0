//! The boot document: everything that the guest needs from the host before its first command.
//!
//! The document is one CBOR map of at most 64 MiB. As its environment and scripts may be larger than a frame,
//! `core.boot` transfers it in chunks `{seq, last, data}`: `seq` counts from 0 without gaps, and `last` marks the final
//! chunk. The receiver checks the limit with each chunk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use thiserror::Error;

use super::envelope::{MessageError, encode_payload, from_cbor, to_cbor};
use super::exec::Rlimit;
use super::payload::payload;
use crate::frame::{Flags, Frame, LINK_ID};

/// The version of [`BootDocument`]. The guest refuses any other.
pub const BOOT_DOCUMENT_VERSION: u32 = 1;
/// The file system of a disk that has any of those that the guest's kernel knows.
pub const ANY_FILE_SYSTEM: &str = "any";
/// The size of the chunk in one `core.boot`, in bytes.
pub const BOOT_CHUNK_BYTES: usize = 1024 * 1024;
/// The largest document, in bytes: 64 MiB.
pub const MAX_BOOT_BYTES: usize = 64 * 1024 * 1024;
/// The directory in a volume with an incomplete copy of the image's files.
pub const COPY_PARTIAL: &str = ".msb-copy.partial";
/// The directory in a volume with a complete copy whose entries are being moved out.
pub const COPY_COMPLETE: &str = ".msb-copy.complete";
/// The most files that a document declares.
pub const MAX_BOOT_FILES: usize = 64;
/// The largest size of their contents together, in bytes: 1 MiB.
pub const MAX_BOOT_FILES_BYTES: usize = 1024 * 1024;
/// The largest size of the certificates in [`Trust`], in bytes: 64 KiB.
pub const MAX_TRUST_BYTES: usize = 64 * 1024;

payload! {
    /// `core.boot`: one chunk of the boot document.
    pub struct BootChunk {
        /// The index of the chunk, from 0.
        pub seq: u32,
        /// Whether it is the last chunk.
        pub last: bool,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.boot.failed`: the guest cannot boot and powers off.
    pub struct BootFailed {
        /// The reason as text, for people.
        pub message: String,
    }

    /// `core.boot.progress`: the guest still copies files into empty volumes; the host waits on.
    pub struct BootProgress {
        /// The number of bytes that are copied into the present volume.
        pub copied_bytes: u64,
    }

    /// The configuration of the guest.
    pub struct BootDocument {
        /// [`BOOT_DOCUMENT_VERSION`].
        pub version: u32,
        /// The host name.
        pub hostname: String,
        /// The environment of every command; that of a request takes precedence.
        pub env: BTreeMap<String, String>,
        /// The working directory of commands; `/` without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub workdir: Option<String>,
        /// The user of commands as `name|uid[:group|gid]`; root without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub user: Option<String>,
        /// The `SHELL` of every command.
        pub shell: String,
        /// Programs by name, installed as `/.msb/scripts/NAME` with mode 0755 and first on PATH.
        pub scripts: BTreeMap<String, ByteBuf>,
        /// The sandbox's declaration, installed as `/.msb/Sandboxfile` with mode 0400 for the sandbox's user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sandboxfile: Option<String>,
        /// The image's file system, which is read only.
        pub base: Disk,
        /// The sandbox's writable disk with ext4, the upper layer over the base.
        pub writable: Disk,
        /// The absolute paths of the image's data directories, which are created where they are missing.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub directories: Vec<String>,
        /// The mounts of disks. One disk may have several.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub volumes: Vec<VolumeMount>,
        /// The mounts of shared files and directories. One device may have several.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub mounts: Vec<Mount>,
        /// The directories in memory.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub tmpfs: Vec<TmpfsMount>,
        /// The files that are written at each boot, at most [`MAX_BOOT_FILES`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub files: Vec<BootFile>,
        /// The network interface; without it the guest has a loopback only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub network: Option<Network>,
        /// The certificate authority that the guest trusts; without it, an earlier one is removed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub trust: Option<Trust>,
        /// The time at which the document was sent, in nanoseconds since 1970.
        pub clock_unix_ns: u64,
        /// The resource limits of every process, which a request may replace.
        #[serde(default)]
        pub rlimits: Vec<Rlimit>,
        /// More names in `/etc/hosts`, with their addresses.
        #[serde(default)]
        pub hosts: BTreeMap<String, String>,
        /// Whether the root and its mount points are read only, without the mounts in it.
        #[serde(default)]
        pub read_only: bool,
    }

    /// A disk with a file system and without partitions.
    pub struct Disk {
        /// The device.
        pub at: DiskAt,
        /// The kernel's name of the file system: `ext4`, or `erofs` or `squashfs` for the base; or [`ANY_FILE_SYSTEM`] for
        /// a volume.
        pub file_system: String,
    }

    /// A volume that is a disk, mounted at one path. An empty one that is writable gets a copy of the contents of the
    /// directory of the image that it covers.
    pub struct VolumeMount {
        /// The volume's disk.
        pub disk: Disk,
        /// The absolute path, which is created if it is missing.
        pub destination: String,
        /// Whether it is a disk of the host, whose files keep their owners; an unchanged empty volume gets the owner and
        /// mode of the directory that it covers.
        #[serde(default)]
        pub of_host: bool,
        /// Whether it is mounted read only.
        pub read_only: bool,
        /// Whether programs on it cannot be executed.
        pub noexec: bool,
        /// Whether set-user-id bits on it have no effect.
        pub nosuid: bool,
        /// Whether device nodes on it have no effect.
        pub nodev: bool,
    }

    /// A directory or a regular file of the host, or a volume that is a directory, mounted at one path.
    pub struct Mount {
        /// The tag of the virtio-fs device.
        pub tag: String,
        /// The name of the directory or file in the root of the device's file system.
        pub entry: String,
        /// The absolute path, which is created if it is missing.
        pub destination: String,
        /// Whether it is a volume: an unchanged empty one gets the owner and mode of the directory that it covers, and if it
        /// is writable, a copy of the contents of a directory of the image.
        #[serde(default)]
        pub volume: bool,
        /// Whether it is mounted read only.
        pub read_only: bool,
        /// Whether programs on it cannot be executed.
        pub noexec: bool,
        /// Whether set-user-id bits on it have no effect.
        pub nosuid: bool,
        /// Whether device nodes on it have no effect.
        pub nodev: bool,
    }

    /// A directory in memory, mounted at one path.
    pub struct TmpfsMount {
        /// The absolute path, which is created if it is missing.
        pub destination: String,
        /// The most that it can contain, in bytes; without it, half of the memory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub size_bytes: Option<u64>,
        /// Its mode.
        pub mode: u32,
        /// Its owner; root without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub uid: Option<u32>,
        /// Its group; root's without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub gid: Option<u32>,
        /// Whether it is mounted read only.
        pub read_only: bool,
        /// Whether programs on it cannot be executed.
        pub noexec: bool,
        /// Whether set-user-id bits on it have no effect.
        pub nosuid: bool,
        /// Whether device nodes on it have no effect.
        pub nodev: bool,
    }

    /// A file that is written at each boot, and covers what is at its path.
    pub struct BootFile {
        /// The absolute path; missing directories are created.
        pub destination: String,
        /// The contents.
        #[serde(with = "serde_bytes")]
        pub contents: Vec<u8>,
        /// The permission bits.
        pub mode: u32,
        /// The user who owns it.
        pub uid: u32,
        /// Its group.
        pub gid: u32,
    }

    /// The network interface.
    pub struct Network {
        /// Its addresses of both families, as `ADDRESS/PREFIX`.
        pub addresses: Vec<String>,
        /// The addresses of the gateways.
        pub gateways: Vec<String>,
        /// The addresses of the name servers.
        pub nameservers: Vec<String>,
        /// The domains in which names without a dot are looked up.
        pub search: Vec<String>,
        /// The MTU, in bytes.
        pub mtu: u16,
    }

    /// The certificate authority of the sandbox, which signs the certificates of intercepted TLS connections. It is
    /// installed as `/.msb/tls/ca.pem` and in the trust stores of the distribution.
    pub struct Trust {
        /// One or more certificates in PEM, at most [`MAX_TRUST_BYTES`].
        pub ca_pem: String,
    }
}

/// The device of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskAt {
    /// The serial of virtio-blk (QEMU's `serial=`), at most 20 bytes. libkrun generates its own, so it needs the index.
    Serial(String),
    /// The index, where 0 is `/dev/vda`. libkrun counts in the order of addition.
    Index(u32),
    /// A regular file that a virtio-fs device serves, for which the guest has a loop device.
    Entry {
        /// The tag of the device.
        tag: String,
        /// The name of the file in the root of the device's file system.
        entry: String,
    },
}

/// The reason why chunks are not a boot document.
#[derive(Debug, Error)]
pub enum BootError {
    /// A chunk is missing or repeated.
    #[error("expected chunk {expected} of the boot document, found chunk {found}")]
    OutOfOrder {
        /// The expected index.
        expected: u32,
        /// The index of the chunk.
        found: u32,
    },
    /// The document exceeds [`MAX_BOOT_BYTES`].
    #[error("the boot document is larger than {MAX_BOOT_BYTES} bytes")]
    TooLarge,
    /// The document has another version.
    #[error("the boot document has version {found}, this agent reads {BOOT_DOCUMENT_VERSION}")]
    Version {
        /// The version of the document.
        found: u32,
    },
    /// The document or a message cannot be encoded or decoded.
    #[error("the boot document cannot be read")]
    Malformed {
        /// The cause.
        #[from]
        source: MessageError,
    },
}

impl BootDocument {
    /// Encodes it as frames with id 0, to be sent in order.
    ///
    /// # Errors
    ///
    /// If it is larger than [`MAX_BOOT_BYTES`].
    pub fn to_frames(&self) -> Result<Vec<Frame>, BootError> {
        let bytes = to_cbor(self)?;
        if bytes.len() > MAX_BOOT_BYTES {
            return Err(BootError::TooLarge);
        }
        let count = bytes.len().div_ceil(BOOT_CHUNK_BYTES);
        let mut frames = Vec::with_capacity(count);
        for (seq, data) in (0u32..).zip(bytes.chunks(BOOT_CHUNK_BYTES)) {
            let chunk = BootChunk { seq, last: seq as usize + 1 == count, data: data.to_vec() };
            frames.push(encode_payload("core.boot", &chunk, LINK_ID, Flags::NONE)?);
        }
        Ok(frames)
    }
}

/// The version of a document, which is decoded first.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Collects chunks until the document is complete.
#[derive(Debug, Default)]
pub struct BootAssembler {
    bytes: Vec<u8>,
    next: u32,
}

impl BootAssembler {
    /// Creates an assembler that expects the first chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk, and returns the document with the last one; `None` before that. It cannot be used after an
    /// error or a document.
    ///
    /// # Errors
    ///
    /// If the chunk is out of order, or the document is too large, has another version or cannot be decoded.
    pub fn push(&mut self, chunk: &BootChunk) -> Result<Option<BootDocument>, BootError> {
        if chunk.seq != self.next {
            return Err(BootError::OutOfOrder { expected: self.next, found: chunk.seq });
        }
        if self.bytes.len() + chunk.data.len() > MAX_BOOT_BYTES {
            return Err(BootError::TooLarge);
        }
        self.next = self.next.saturating_add(1);
        self.bytes.extend_from_slice(&chunk.data);
        if !chunk.last {
            return Ok(None);
        }
        let bytes = std::mem::take(&mut self.bytes);
        let Versioned { version } = from_cbor("the boot document", &bytes)?;
        if version != BOOT_DOCUMENT_VERSION {
            return Err(BootError::Version { found: version });
        }
        Ok(Some(from_cbor("the boot document", &bytes)?))
    }
}
