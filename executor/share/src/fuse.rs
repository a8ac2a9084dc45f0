//! Serves a file system to the kernel of this host, through the device of a FUSE mount.

use fuse_backend_rs::api::filesystem::FileSystem;
use fuse_backend_rs::api::server::Server;
use fuse_backend_rs::transport::{FuseBuf, FuseDevWriter, Reader};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat, major, makedev, minor};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The number of threads, which is the number of requests that are served at a time.
pub const THREADS: usize = 4;
/// The largest request or reply in bytes: 1 MiB of data and its headers.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024 + 4096;
/// The number of the device `/dev/fuse`.
const DEVICE: (u32, u32) = (10, 229);

/// A failure to serve a FUSE mount.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// The VM's process sent no device, or another file.
    #[error("the VM's process passed no FUSE device")]
    Device {
        /// The cause.
        source: io::Error,
    },
    /// The device cannot be read.
    #[error("cannot read FUSE requests")]
    Read {
        /// The cause.
        source: io::Error,
    },
    /// A thread does not start.
    #[error("cannot start a thread")]
    Thread {
        /// The cause.
        source: io::Error,
    },
}

/// Receives the device of a mount from the process that has mounted it; `None` if that has ended before.
///
/// # Errors
///
/// If something else arrives.
pub fn receive_device(socket: &UnixStream) -> Result<Option<OwnedFd>, FuseError> {
    let failed = |source: io::Error| FuseError::Device { source };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    match received {
        Ok(message) if message.bytes == 0 => return Ok(None),
        Err(Errno::CONNRESET) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Err(failed(error.into())),
    }
    let mut descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    let device = descriptors.next().ok_or_else(|| failed(Errno::BADMSG.into()))?;
    let status = fstat(&device).map_err(|error| failed(error.into()))?;
    let is_character_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    if is_character_device && status.st_rdev == makedev(DEVICE.0, DEVICE.1) {
        Ok(Some(device))
    } else {
        tracing::debug!(major = major(status.st_rdev), minor = minor(status.st_rdev), "not a FUSE device");
        Err(failed(Errno::NODEV.into()))
    }
}

/// Serves a file system until its mount is gone.
///
/// # Errors
///
/// If the device cannot be read, or a thread does not start.
pub fn serve<F: FileSystem + Send + Sync + 'static>(fs: Arc<F>, device: OwnedFd) -> Result<(), FuseError> {
    let server = Arc::new(Server::new(fs));
    let device = Arc::new(device);
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (server, device) = (Arc::clone(&server), Arc::clone(&device));
            let thread = std::thread::Builder::new().name(format!("fuse {number}"));
            thread.spawn(move || work(&server, device.as_fd()))
        })
        .collect::<Result<_, _>>()
        .map_err(|source| FuseError::Thread { source })?;
    let ends = threads.into_iter().map(|thread| {
        // A thread that panicked has reported it.
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    });
    // All of them, even after a failure.
    let ends: Vec<_> = ends.collect();
    ends.into_iter().collect::<io::Result<()>>().map_err(|source| FuseError::Read { source })
}

/// Serves one request after the other.
fn work<F: FileSystem + Send + Sync>(server: &Server<Arc<F>>, device: BorrowedFd<'_>) -> io::Result<()> {
    let mut request = vec![0; MESSAGE_BYTES_MAX];
    let mut reply = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let length = match rustix::io::read(device, &mut request[..]) {
            Ok(length) => length,
            // The request was interrupted before it was read.
            Err(Errno::INTR | Errno::NOENT) => continue,
            // The VM's process may have made the device non-blocking.
            Err(Errno::AGAIN) => {
                rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&device, PollFlags::IN)], None))?;
                continue;
            }
            // The mount is gone, or was aborted.
            Err(Errno::NODEV | Errno::CONNABORTED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let reader = Reader::<()>::from_fuse_buffer(FuseBuf::new(&mut request[..length]));
        let writer = FuseDevWriter::<()>::new(device.as_raw_fd(), &mut reply);
        let (Ok(reader), Ok(writer)) = (reader, writer) else { continue };
        // Fails if the requesting process has been interrupted meanwhile.
        if let Err(error) = server.handle_message(reader, writer.into(), None, None) {
            tracing::debug!(%error, "a FUSE request has no reply");
        }
    }
}
