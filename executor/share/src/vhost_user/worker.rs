//! The threads that serve requests.
//!
//! All wait at one epoll descriptor, whose kicks are edge-triggered: each kick wakes one of them, and nobody has to read its
//! counter. A worker that takes a request and sees another one wakes an idle worker for it, so a lone request costs one
//! switch of threads and a slow one delays no other.

use crate::vhost_user::device::Device;
use crate::vhost_user::request;
use crate::vhost_user::ring::{Ring, Taken};
use fuse_backend_rs::api::filesystem::FileSystem;
use fuse_backend_rs::api::server::Server;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The number of workers, which is the number of requests that are served at a time.
const WORKERS: usize = 4;

/// Running workers.
pub(super) struct Workers {
    device: Arc<Device>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the workers of a device.
    ///
    /// # Errors
    ///
    /// If a thread does not start.
    pub(super) fn start<F: FileSystem + Send + Sync + 'static>(
        device: &Arc<Device>,
        server: Server<Arc<F>>,
    ) -> io::Result<Self> {
        let server = Arc::new(server);
        let mut workers = Self { device: Arc::clone(device), threads: Vec::new() };
        for number in 0..WORKERS {
            let (device, server) = (Arc::clone(device), Arc::clone(&server));
            let thread = std::thread::Builder::new().name(format!("mounts {number}"));
            match thread.spawn(move || work(&device, &server)) {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => {
                    workers.stop();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// Ends all workers after the requests that they are serving.
    pub(super) fn stop(self) {
        self.device.end();
        for thread in self.threads {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

/// Serves requests until the device ends.
fn work<F: FileSystem + Send + Sync>(device: &Device, server: &Server<Arc<F>>) {
    while device.wait() {
        while !device.has_ended() && device.rings().iter().any(|ring| serve_next(device, server, ring)) {}
    }
}

/// Serves the next request of a ring; returns false if there is none.
fn serve_next<F: FileSystem + Send + Sync>(
    device: &Device,
    server: &Server<Arc<F>>,
    ring: &Mutex<Ring>,
) -> bool {
    let taken = super::lock(ring).take(&device.memory());
    let Some(Taken { chain, more }) = taken else { return false };
    if more {
        device.wake_idle();
    }
    let bytes = request::serve(server, &chain);
    let call = super::lock(ring).complete(&device.memory(), chain.head_index(), bytes);
    if let Some(call) = call {
        super::notify(&call);
    }
    true
}
