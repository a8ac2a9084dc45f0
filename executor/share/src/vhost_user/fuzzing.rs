//! A ring in the memory of a hostile guest.

use crate::fuzzing::NoFiles;
use crate::vhost_user::request;
use crate::vhost_user::ring::{Addresses, Memory, Ring, Taken};
use fuse_backend_rs::api::server::Server;
use rustix::event::{EventfdFlags, eventfd};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

const MEMORY_BYTES: usize = 64 * 1024;
const QUEUE_SIZE: u16 = 16;
const ADDRESSES: Addresses = Addresses { descriptors: 0, available: 0x1000, used: 0x1800 };
/// More than a queue can have at a time, since a guest can make a request available twice.
const REQUESTS_MAX: usize = 64;

/// Serves all requests of a ring in a memory that starts with these bytes; returns their number.
pub fn ring(bytes: &[u8]) -> usize {
    serve(bytes).unwrap_or(0)
}

fn serve(bytes: &[u8]) -> Option<usize> {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).ok()?;
    memory.write(&bytes[..bytes.len().min(MEMORY_BYTES)], GuestAddress(0)).ok()?;
    let memory = GuestMemoryAtomic::new(memory);
    let view: Memory = memory.memory();
    let server = Server::new(Arc::new(NoFiles));
    let mut ring = Ring::new(QUEUE_SIZE).ok()?;
    // An odd length stands for a guest without the feature.
    ring.set_event_index(bytes.len().is_multiple_of(2)).ok()?;
    ring.set_addresses(ADDRESSES, &view).ok()?;
    ring.set_enabled(true);
    ring.start(eventfd(0, EventfdFlags::CLOEXEC).ok()?);
    let mut served = 0;
    while served < REQUESTS_MAX
        && let Some(Taken { chain, .. }) = ring.take(&view)
    {
        let length = request::serve(&server, &chain);
        ring.complete(&view, chain.head_index(), length);
        served += 1;
    }
    Some(served)
}
