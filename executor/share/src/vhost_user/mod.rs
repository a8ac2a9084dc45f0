//! Serves a file system to a guest, through virtio queues in its memory: the back end of a vhost-user-fs device.
//!
//! ```text
//!   VMM ──socket──► front end's requests (device) ──► rings: where the guest's queues are
//!   guest ──kick──► epoll ──► one of the workers: takes a request from a ring, serves it, adds it to the used ring ──call──► guest
//! ```
//!
//! The guest's kernel and the VMM are hostile: the guest writes its queues while they are read, and the VMM chooses the
//! memory and all descriptors. Guest memory is only mapped from files that cannot shrink, each access is checked against the
//! mapped regions, and descriptor chains are bounded in number and bytes. A broken request gets an error or no reply; a broken
//! message of the VMM ends the connection.

mod device;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod memory;
mod request;
mod ring;
mod worker;

use crate::vhost_user::device::Device;
use crate::vhost_user::worker::Workers;
use fuse_backend_rs::api::filesystem::FileSystem;
use fuse_backend_rs::api::server::Server;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vhost::vhost_user::{BackendReqHandler, Error as ProtocolError};

/// The queues: one for urgent requests, which have no reply, and one for the rest. A guest of several processors uses as
/// many as its VMM offers, which is one.
const QUEUES: usize = 2;
/// The largest number of descriptors in a queue.
const QUEUE_SIZE_MAX: u16 = 1024;

/// A failure to serve a guest.
#[derive(Debug, thiserror::Error)]
pub enum VhostUserError {
    /// The kernel refuses what the server needs.
    #[error("cannot set up the queues of the mounts")]
    Setup {
        /// The cause.
        source: io::Error,
    },
    /// The VM's process broke the protocol.
    #[error("the VM's process broke the vhost-user protocol")]
    Protocol {
        /// The cause.
        source: ProtocolError,
    },
}

/// Serves a file system to the guest of the VMM at the other end of a socket, until that closes it.
///
/// # Errors
///
/// If the VMM breaks the protocol, or the kernel refuses what the server needs.
pub fn serve<F: FileSystem + Send + Sync + 'static>(
    fs: Arc<F>,
    socket: UnixStream,
) -> Result<(), VhostUserError> {
    let device = Arc::new(Device::new().map_err(|source| VhostUserError::Setup { source })?);
    let workers =
        Workers::start(&device, Server::new(fs)).map_err(|source| VhostUserError::Setup { source })?;
    let mut requests = BackendReqHandler::from_stream(socket, Arc::clone(&device));
    let end = loop {
        if let Err(error) = requests.handle_request() {
            break error;
        }
    };
    workers.stop();
    match end {
        // A VMM that was killed may have sent a part of a message.
        ProtocolError::Disconnected
        | ProtocolError::PartialMessage
        | ProtocolError::SocketBroken(_)
        | ProtocolError::SocketError(_) => Ok(()),
        source => Err(VhostUserError::Protocol { source }),
    }
}

/// Locks a mutex. No thread panics while it holds one, and what they guard is sound between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notifies the other side of an event descriptor.
fn notify(event: &OwnedFd) {
    // Fails if nobody has read the last 2⁶⁴ notifications, or if the VMM chose another file.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}
