//! The device as its VMM sees it: the requests of the vhost-user protocol.

use crate::vhost_user::memory::{self, Mappings};
use crate::vhost_user::ring::{Addresses, Memory, Ring};
use crate::vhost_user::{QUEUE_SIZE_MAX, QUEUES, lock, notify};
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandler};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

/// `VIRTIO_RING_F_INDIRECT_DESC`: a descriptor may refer to a table of descriptors.
const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
/// `VIRTIO_RING_F_EVENT_IDX`: both sides say when they want to be notified.
const EVENT_INDEX: u64 = 1 << 29;
/// `VIRTIO_F_VERSION_1`: no legacy layouts.
const VERSION_1: u64 = 1 << 32;
const FEATURES: u64 =
    INDIRECT_DESCRIPTORS | EVENT_INDEX | VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// A vhost-user-fs device.
pub(super) struct Device {
    rings: [Mutex<Ring>; QUEUES],
    memory: GuestMemoryAtomic<GuestMemoryMmap>,
    mappings: Mutex<Mappings>,
    /// Where the workers wait.
    epoll: OwnedFd,
    /// Wakes one worker.
    wake: OwnedFd,
    /// Wakes all workers.
    end: OwnedFd,
    ended: AtomicBool,
    /// The number of workers that wait.
    idle: AtomicUsize,
}

impl Device {
    pub(super) fn new() -> io::Result<Self> {
        let ring = || Ring::new(QUEUE_SIZE_MAX).map(Mutex::new).map_err(io::Error::other);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, NO_DATA, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        epoll::add(&epoll, &end, NO_DATA, epoll::EventFlags::IN)?;
        Ok(Self {
            rings: [ring()?, ring()?],
            memory: GuestMemoryAtomic::new(GuestMemoryMmap::new()),
            mappings: Mutex::default(),
            epoll,
            wake,
            end,
            ended: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
        })
    }

    pub(super) fn rings(&self) -> &[Mutex<Ring>] {
        &self.rings
    }

    /// Returns the guest's memory of this moment.
    pub(super) fn memory(&self) -> Memory {
        self.memory.memory()
    }

    /// Ends all workers.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        notify(&self.end);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits until there may be requests; returns false at the end.
    pub(super) fn wait(&self) -> bool {
        self.idle.fetch_add(1, Ordering::SeqCst);
        let mut events = Vec::with_capacity(1);
        let waited = rustix::io::retry_on_intr(|| {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None).map(drop)
        });
        self.idle.fetch_sub(1, Ordering::SeqCst);
        waited.is_ok() && !self.has_ended()
    }

    /// Wakes a worker if one waits.
    pub(super) fn wake_idle(&self) {
        if self.idle.load(Ordering::SeqCst) > 0 {
            notify(&self.wake);
        }
    }

    fn ring(&self, index: u32) -> Result<&Mutex<Ring>> {
        usize::try_from(index).ok().and_then(|index| self.rings.get(index)).ok_or(Error::InvalidParam)
    }

    fn stop_ring(&self, ring: &mut Ring) {
        if let Some(kick) = ring.stop() {
            // Not left to its close: the VMM has it open too.
            let _ = epoll::delete(&self.epoll, &kick);
        }
    }

    fn stop_all(&self) {
        for ring in &self.rings {
            self.stop_ring(&mut lock(ring));
        }
    }
}

/// Workers look at all queues after any event.
const NO_DATA: epoll::EventData = epoll::EventData::new_u64(0);

fn refused(error: Errno) -> Error {
    Error::ReqHandlerError(error.into())
}

/// Answers requests for features that are not offered. The protocol's implementation refuses most of them already.
fn not_offered<T>() -> Result<T> {
    Err(Error::InvalidOperation("not offered"))
}

impl VhostUserBackendReqHandler for Device {
    fn set_owner(&self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&self) -> Result<()> {
        self.stop_all();
        Ok(())
    }

    fn reset_device(&self) -> Result<()> {
        not_offered()
    }

    fn get_features(&self) -> Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&self, features: u64) -> Result<()> {
        if features & !FEATURES != 0 {
            return Err(Error::InvalidParam);
        }
        // Without these, a VMM cannot enable rings.
        let enabled = features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        for ring in &self.rings {
            let mut ring = lock(ring);
            ring.set_event_index(features & EVENT_INDEX != 0)?;
            if enabled {
                ring.set_enabled(true);
            }
        }
        notify(&self.wake);
        Ok(())
    }

    fn set_mem_table(&self, regions: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<()> {
        let (memory, mappings) = memory::map(regions, files)?;
        let guard = self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.replace(memory);
        *lock(&self.mappings) = mappings;
        Ok(())
    }

    fn set_vring_num(&self, index: u32, num: u32) -> Result<()> {
        lock(self.ring(index)?).set_size(num)
    }

    fn set_vring_addr(
        &self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let ring = self.ring(index)?;
        let mappings = lock(&self.mappings);
        let addresses = Addresses {
            descriptors: mappings.guest_address(descriptor)?,
            available: mappings.guest_address(available)?,
            used: mappings.guest_address(used)?,
        };
        lock(ring).set_addresses(addresses, &self.memory())
    }

    fn set_vring_base(&self, index: u32, base: u32) -> Result<()> {
        lock(self.ring(index)?).set_next_available(base)
    }

    fn get_vring_base(&self, index: u32) -> Result<VhostUserVringState> {
        let mut ring = lock(self.ring(index)?);
        self.stop_ring(&mut ring);
        ring.set_call(None);
        Ok(VhostUserVringState::new(index, ring.next_available().into()))
    }

    fn set_vring_kick(&self, index: u8, kick: Option<File>) -> Result<()> {
        let ring = self.ring(index.into())?;
        let kick = OwnedFd::from(kick.ok_or(Error::InvalidOperation("queues are not polled"))?);
        let mut ring = lock(ring);
        self.stop_ring(&mut ring);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &kick, NO_DATA, flags).map_err(refused)?;
        ring.start(kick);
        let call = ring.complete_late(&self.memory());
        drop(ring);
        if let Some(call) = call {
            notify(&call);
        }
        // For the requests that were added before.
        notify(&self.wake);
        Ok(())
    }

    fn set_vring_call(&self, index: u8, call: Option<File>) -> Result<()> {
        let call = call.map(OwnedFd::from);
        if let Some(call) = &call {
            // No worker must block on it.
            let flags = fcntl_getfl(call).map_err(refused)?;
            fcntl_setfl(call, flags | OFlags::NONBLOCK).map_err(refused)?;
            // For the requests that were served while there was none.
            notify(call);
        }
        lock(self.ring(index.into())?).set_call(call);
        Ok(())
    }

    fn set_vring_err(&self, index: u8, _file: Option<File>) -> Result<()> {
        self.ring(index.into()).map(drop)
    }

    fn get_protocol_features(&self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK)
    }

    fn set_protocol_features(&self, _features: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&self) -> Result<u64> {
        Ok(self.rings.len() as u64)
    }

    fn set_vring_enable(&self, index: u32, enable: bool) -> Result<()> {
        lock(self.ring(index)?).set_enabled(enable);
        notify(&self.wake);
        Ok(())
    }

    fn get_config(&self, _offset: u32, _size: u32, _flags: VhostUserConfigFlags) -> Result<Vec<u8>> {
        not_offered()
    }

    fn set_config(&self, _offset: u32, _bytes: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        not_offered()
    }

    fn set_gpu_socket(&self, _gpu_backend: GpuBackend) -> Result<()> {
        not_offered()
    }

    fn get_shared_object(&self, _uuid: VhostUserSharedMsg) -> Result<File> {
        not_offered()
    }

    fn get_inflight_fd(&self, _inflight: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        not_offered()
    }

    fn set_inflight_fd(&self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        not_offered()
    }

    fn get_max_mem_slots(&self) -> Result<u64> {
        not_offered()
    }

    fn add_mem_region(&self, _region: &VhostUserSingleMemoryRegion, _file: File) -> Result<()> {
        not_offered()
    }

    fn remove_mem_region(&self, _region: &VhostUserSingleMemoryRegion) -> Result<()> {
        not_offered()
    }

    fn set_device_state_fd(
        &self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _file: File,
    ) -> Result<Option<File>> {
        not_offered()
    }

    fn check_device_state(&self) -> Result<()> {
        not_offered()
    }

    fn set_log_base(&self, _log: &VhostUserLog, _file: File) -> Result<()> {
        not_offered()
    }
}
