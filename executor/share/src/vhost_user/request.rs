//! One FUSE request in the guest's memory.

use crate::vhost_user::ring::Chain;
use fuse_backend_rs::abi::fuse_abi::{InHeader, Opcode, OutHeader};
use fuse_backend_rs::api::filesystem::FileSystem;
use fuse_backend_rs::api::server::Server;
use fuse_backend_rs::transport::{Reader, VirtioFsWriter};
use rustix::io::Errno;

/// The largest request or reply in bytes: 1 MiB of data and its headers.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024 + 4096;
/// The requests without a reply.
const WITHOUT_REPLY: [u32; 3] = [Opcode::Forget as u32, Opcode::BatchForget as u32, Opcode::Interrupt as u32];

/// Serves a request; returns the length of its reply.
pub(super) fn serve<F: FileSystem + Sync>(server: &Server<F>, chain: &Chain) -> u32 {
    let length = handle(server, chain).or_else(|| refuse(chain));
    length.and_then(|length| u32::try_from(length).ok()).unwrap_or(0)
}

/// Has the file system handle the request; `None` if it is broken.
fn handle<F: FileSystem + Sync>(server: &Server<F>, chain: &Chain) -> Option<usize> {
    let request = Reader::from_descriptor_chain(chain.memory(), chain.clone()).ok()?;
    let reply = VirtioFsWriter::new(chain.memory(), chain.clone()).ok()?;
    if request.available_bytes() > MESSAGE_BYTES_MAX || reply.available_bytes() > MESSAGE_BYTES_MAX {
        return None;
    }
    server.handle_message(request, reply.into(), None, None).ok()
}

/// Replies with an I/O error, so that the guest does not take what was in its memory for the reply.
fn refuse(chain: &Chain) -> Option<usize> {
    let mut request = Reader::from_descriptor_chain(chain.memory(), chain.clone()).ok()?;
    let header: InHeader = request.read_obj().ok()?;
    if WITHOUT_REPLY.contains(&header.opcode) {
        return None;
    }
    let mut reply = VirtioFsWriter::new(chain.memory(), chain.clone()).ok()?;
    let length = size_of::<OutHeader>();
    let error = OutHeader {
        len: u32::try_from(length).ok()?,
        error: -Errno::IO.raw_os_error(),
        unique: header.unique,
    };
    reply.write_obj(error).ok()?;
    Some(length)
}
