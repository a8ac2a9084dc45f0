//! One queue of the device.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vhost::vhost_user::{Error, Result};
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::atomic::GuestMemoryLoadGuard;
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// A view of the guest's memory, which stays mapped as long as it exists.
pub(super) type Memory = GuestMemoryLoadGuard<GuestMemoryMmap>;
/// A request in the guest's memory.
pub(super) type Chain = DescriptorChain<Memory>;

/// The addresses of a queue's parts in the guest's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
}

/// A request taken from a ring.
pub(super) struct Taken {
    pub(super) chain: Chain,
    /// Whether the ring has another request.
    pub(super) more: bool,
}

/// A served request.
#[derive(Clone, Copy, Debug)]
struct Served {
    head: u16,
    bytes: u32,
}

/// A queue with the event descriptors of its two directions.
///
/// It starts when the VMM sets its kick, and stops when the VMM asks for its position, at a pause of the VM.
pub(super) struct Ring {
    queue: Queue,
    enabled: bool,
    /// What the guest writes to when it has added requests.
    kick: Option<OwnedFd>,
    /// What is written to when requests have been served.
    call: Option<Arc<OwnedFd>>,
    /// Requests that were served after a stop, at most one per worker. They are reported after the next start.
    late: Vec<Served>,
}

impl Ring {
    pub(super) fn new(size_max: u16) -> Result<Self> {
        let queue = Queue::new(size_max).map_err(|_| Error::BackendInternalError)?;
        Ok(Self { queue, enabled: false, kick: None, call: None, late: Vec::new() })
    }

    pub(super) fn set_size(&mut self, size: u32) -> Result<()> {
        self.check_stopped()?;
        let size = u16::try_from(size).map_err(|_| Error::InvalidParam)?;
        self.queue.try_set_size(size).map_err(|_| Error::InvalidParam)
    }

    pub(super) fn set_addresses(&mut self, addresses: Addresses, memory: &Memory) -> Result<()> {
        self.check_stopped()?;
        let Addresses { descriptors, available, used } = addresses;
        let invalid = |_| Error::InvalidParam;
        self.queue.try_set_desc_table_address(GuestAddress(descriptors)).map_err(invalid)?;
        self.queue.try_set_avail_ring_address(GuestAddress(available)).map_err(invalid)?;
        self.queue.try_set_used_ring_address(GuestAddress(used)).map_err(invalid)?;
        let next_used = self.queue.used_idx(&**memory, Ordering::Relaxed).map_err(invalid)?;
        self.queue.set_next_used(next_used.0);
        Ok(())
    }

    pub(super) fn set_next_available(&mut self, index: u32) -> Result<()> {
        self.check_stopped()?;
        self.queue.set_next_avail(u16::try_from(index).map_err(|_| Error::InvalidParam)?);
        Ok(())
    }

    pub(super) fn set_event_index(&mut self, used: bool) -> Result<()> {
        if self.queue.event_idx_enabled() == used {
            return Ok(());
        }
        self.check_stopped()?;
        self.queue.set_event_idx(used);
        Ok(())
    }

    pub(super) fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub(super) fn set_call(&mut self, call: Option<OwnedFd>) {
        self.call = call.map(Arc::new);
    }

    /// Starts the ring.
    pub(super) fn start(&mut self, kick: OwnedFd) {
        self.kick = Some(kick);
        self.queue.set_ready(true);
    }

    /// Stops the ring and returns its kick, if it had been started.
    pub(super) fn stop(&mut self) -> Option<OwnedFd> {
        self.queue.set_ready(false);
        self.kick.take()
    }

    /// Returns the index of the next request.
    pub(super) fn next_available(&self) -> u16 {
        self.queue.next_avail()
    }

    fn check_stopped(&self) -> Result<()> {
        if self.kick.is_some() { Err(Error::InvalidOperation("the queue is in use")) } else { Ok(()) }
    }

    fn is_running(&self) -> bool {
        self.enabled && self.queue.ready()
    }

    /// Takes the next request; `None` if there is none. The guest kicks for the one after it.
    pub(super) fn take(&mut self, memory: &Memory) -> Option<Taken> {
        if !self.is_running() {
            return None;
        }
        // The second round is for a request that came between the look at the ring and the announcement that no request is
        // left. One that comes later is kicked for. A guest that breaks the ring gets no more rounds.
        for _ in 0..2 {
            let chain = self.queue.iter(memory.clone()).ok()?.next();
            let more = self.queue.enable_notification(&**memory).ok()?;
            match chain {
                Some(chain) => return Some(Taken { chain, more }),
                None if !more => return None,
                None => {}
            }
        }
        None
    }

    /// Reports a request as served, with the length of its reply. Returns the descriptor to notify the guest with, if it
    /// wants that.
    pub(super) fn complete(&mut self, memory: &Memory, head: u16, bytes: u32) -> Option<Arc<OwnedFd>> {
        let served = Served { head, bytes };
        if self.queue.ready() {
            self.report(memory, served)
        } else {
            self.late.push(served);
            None
        }
    }

    /// Reports the requests that were served after the last stop.
    pub(super) fn complete_late(&mut self, memory: &Memory) -> Option<Arc<OwnedFd>> {
        let mut call = None;
        for served in std::mem::take(&mut self.late) {
            call = self.report(memory, served).or(call);
        }
        call
    }

    fn report(&mut self, memory: &Memory, Served { head, bytes }: Served) -> Option<Arc<OwnedFd>> {
        // Fails for a head that the guest made up.
        self.queue.add_used(&**memory, head, bytes).ok()?;
        let wanted = self.queue.needs_notification(&**memory).unwrap_or(true);
        wanted.then(|| self.call.clone()).flatten()
    }
}
