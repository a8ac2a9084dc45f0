//! The boot document: everything the guest learns from the host before its first command.
//!
//! The document is one CBOR map. `core.boot` carries its bytes in chunks, because an environment and
//! scripts may be larger than a frame: `{seq, last, data}`, `seq` counting from 0 without gaps, `last`
//! on the final one. The whole is at most 64 MiB; the receiver counts while it collects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use thiserror::Error;

use super::envelope::{MessageError, encode_payload, from_cbor, to_cbor};
use super::payload::payload;
use crate::frame::{Flags, Frame, LINK_ID};

/// The version of [`BootDocument`]; the guest refuses another.
pub const BOOT_DOCUMENT_VERSION: u32 = 1;
/// How much of the document travels in one `core.boot`.
pub const BOOT_CHUNK_BYTES: usize = 1024 * 1024;
/// The largest document: 64 MiB.
pub const MAX_BOOT_BYTES: usize = 64 * 1024 * 1024;

payload! {
    /// `core.boot`: one piece of the boot document.
    pub struct BootChunk {
        pub seq: u32,
        pub last: bool,
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.boot.failed`: the guest cannot come up and powers off.
    pub struct BootFailed {
        pub message: String,
    }

    /// What the guest is to be.
    pub struct BootDocument {
        pub version: u32,
        pub hostname: String,
        /// The environment of every command, below a request's own.
        pub env: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub workdir: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub user: Option<String>,
        /// `SHELL` of every command.
        pub shell: String,
        /// Installed 0755 as `/.msb/scripts/NAME`, first on PATH.
        pub scripts: BTreeMap<String, ByteBuf>,
        /// Installed 0400 as `/.msb/Sandboxfile`, for the sandbox's own user: what it was made from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sandboxfile: Option<String>,
        /// The image's file system, never written to.
        pub base: Disk,
        /// The sandbox's own disk (ext4), over the base.
        pub writable: Disk,
        /// Absolute paths that are directories, made where they are missing: what the image means for data.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub directories: Vec<String>,
        /// Where volumes are mounted, outer paths first. One disk may be mounted at several.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub volumes: Vec<VolumeMount>,
        /// Reserved: this generation's agent refuses a document that has any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub mounts: Vec<Mount>,
        /// Without one there is only the loopback.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub network: Option<Network>,
        /// The time of day when the document was sent, nanoseconds since 1970.
        pub clock_unix_ns: u64,
    }

    /// A virtio-blk disk with a file system on it, unpartitioned.
    pub struct Disk {
        pub at: DiskAt,
        /// The kernel's name for it: `ext4`; for the base also `erofs` or `squashfs`.
        pub file_system: String,
    }

    /// A disk that outlives the sandbox, at one place of its root.
    pub struct VolumeMount {
        pub disk: Disk,
        /// An absolute path; made when it is missing.
        pub destination: String,
        pub read_only: bool,
        pub noexec: bool,
        pub nosuid: bool,
        pub nodev: bool,
    }

    /// A shared directory of the host.
    pub struct Mount {
        /// The virtio-fs tag.
        pub tag: String,
        pub destination: String,
        pub read_only: bool,
        pub noexec: bool,
        pub nosuid: bool,
        pub nodev: bool,
    }

    /// The one network interface.
    pub struct Network {
        /// `ADDRESS/PREFIX`, both families.
        pub addresses: Vec<String>,
        pub gateways: Vec<String>,
        pub nameservers: Vec<String>,
        pub mtu: u16,
    }
}

/// How the guest finds a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskAt {
    /// virtio-blk's serial (QEMU's `serial=`), at most 20 bytes. libkrun makes up its own: use the index there.
    Serial(String),
    /// 0 is `/dev/vda`. The order is the driver's: as added under libkrun.
    Index(u32),
}

/// Why chunks are not a boot document.
#[derive(Debug, Error)]
pub enum BootError {
    #[error("chunk {found} of the boot document came where {expected} was due")]
    OutOfOrder { expected: u32, found: u32 },
    #[error("the boot document is larger than {MAX_BOOT_BYTES} bytes")]
    TooLarge,
    #[error("the boot document has version {found}, this agent reads {BOOT_DOCUMENT_VERSION}")]
    Version { found: u32 },
    #[error("the boot document cannot be read")]
    Malformed {
        #[from]
        source: MessageError,
    },
}

impl BootDocument {
    /// The frames to send, in order, with id 0.
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

/// Only as much of a document as says whether the rest can be understood.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Collects chunks until the document is whole.
#[derive(Debug, Default)]
pub struct BootAssembler {
    bytes: Vec<u8>,
    next: u32,
}

impl BootAssembler {
    pub fn new() -> Self {
        Self::default()
    }

    /// `None` means that more chunks are due. After an error or a document, begin with a new assembler.
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
