//! A guest with its VMM: queues in shared memory, and the front end of the vhost-user protocol.
#![allow(unsafe_code, reason = "event descriptors cannot be borrowed otherwise")]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

/// The size of the guest's memory in bytes.
pub const MEMORY_BYTES: u64 = 16 * 1024 * 1024;
/// The address of the memory in the VMM, which never uses it.
const VMM_ADDRESS: u64 = 0x7000_0000_0000;
const QUEUE_SIZE: u16 = 256;
/// The parts of a queue; those of the next queue follow 64 KiB later.
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x3000;
const USED: u64 = 0x5000;
/// Tables of descriptors, one per head.
const TABLES: u64 = 0x10_0000;
const TABLE_BYTES: u64 = 0x4000;
/// The buffers of requests and replies.
const BUFFERS: u64 = 0x60_0000;
const PAGE: u64 = 4096;
/// The queue of requests with replies.
const REQUESTS: usize = 1;
const EVENT_INDEX: u64 = 1 << 29;
/// Longer than any reply takes.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A descriptor of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    pub address: u64,
    pub bytes: u32,
    pub flags: u16,
    pub next: u16,
}

/// Whether the descriptors of a request are in the queue or in a table of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    Queue,
    Table,
}

pub struct Guest {
    pub memory: GuestMemoryMmap,
    pub frontend: Frontend,
    kick: EventFd,
    call: EventFd,
    /// The number of requests added so far.
    added: u16,
    /// The number of replies taken so far.
    taken: u16,
    /// The end of the used part of the buffers.
    next_buffer: u64,
}

/// Makes a file for the guest's memory.
pub fn memory_file(seals: SealFlags) -> File {
    let file = File::from(memfd_create("guest", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap());
    ftruncate(&file, MEMORY_BYTES).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

pub fn region(file: &File) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: 0,
        memory_size: MEMORY_BYTES,
        userspace_addr: VMM_ADDRESS,
        mmap_offset: 0,
        mmap_handle: file.as_raw_fd(),
    }
}

impl Guest {
    /// Boots: negotiates features and starts the queues.
    pub fn boot(socket: UnixStream) -> Self {
        let file = memory_file(SealFlags::SHRINK | SealFlags::GROW);
        let offset = FileOffset::new(file.try_clone().unwrap(), 0);
        let size = usize::try_from(MEMORY_BYTES).unwrap();
        let ranges = [(GuestAddress(0), size, Some(offset))];
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).unwrap();
        let frontend = connect(socket);
        frontend.set_mem_table(&[region(&file)]).unwrap();
        let mut guest = Self {
            memory,
            frontend,
            kick: EventFd::new(0).unwrap(),
            call: EventFd::new(0).unwrap(),
            added: 0,
            taken: 0,
            next_buffer: BUFFERS,
        };
        guest.start(0);
        guest
    }

    /// Starts both queues, the one for requests at a position.
    pub fn start(&mut self, position: u16) {
        for (queue, base) in [(0, 0), (REQUESTS, position)] {
            let at = VMM_ADDRESS + queue as u64 * 0x1_0000;
            self.frontend.set_vring_num(queue, QUEUE_SIZE).unwrap();
            self.frontend.set_vring_base(queue, base).unwrap();
            let config = VringConfigData {
                queue_max_size: QUEUE_SIZE,
                queue_size: QUEUE_SIZE,
                flags: 0,
                desc_table_addr: at + DESCRIPTORS,
                used_ring_addr: at + USED,
                avail_ring_addr: at + AVAILABLE,
                log_addr: None,
            };
            self.frontend.set_vring_addr(queue, &config).unwrap();
            self.frontend.set_vring_call(queue, &self.call).unwrap();
            self.frontend.set_vring_kick(queue, &self.kick).unwrap();
            self.frontend.set_vring_enable(queue, true).unwrap();
        }
    }

    /// Pauses; returns the position of the queue for requests.
    pub fn stop(&mut self) -> u16 {
        self.frontend.get_vring_base(0).unwrap();
        u16::try_from(self.frontend.get_vring_base(REQUESTS).unwrap()).unwrap()
    }

    /// Adds a request of these parts with room for a reply; returns its head.
    pub fn request(&mut self, parts: &[&[u8]], reply_bytes: usize, placement: Placement) -> u16 {
        let mut pieces = Vec::new();
        for part in parts {
            let address = self.buffer(part.len());
            self.memory.write_slice(part, GuestAddress(address)).unwrap();
            pieces.push((address, part.len(), 0));
        }
        // Replies are written to single pages, as a guest's page cache has them.
        let mut rest = reply_bytes;
        while rest > 0 {
            let piece = rest.min(usize::try_from(PAGE).unwrap());
            pieces.push((self.buffer(piece), piece, WRITE));
            rest -= piece;
        }
        let head = self.added % QUEUE_SIZE;
        let table = match placement {
            // One request at a time.
            Placement::Queue => REQUESTS as u64 * 0x1_0000 + DESCRIPTORS,
            Placement::Table => TABLES + u64::from(head) * TABLE_BYTES,
        };
        let count = pieces.len();
        for (index, (address, bytes, flags)) in pieces.into_iter().enumerate() {
            let next = if index + 1 < count { NEXT } else { 0 };
            let bytes = u32::try_from(bytes).unwrap();
            let index = u16::try_from(index).unwrap();
            let descriptor = Descriptor { address, bytes, flags: flags | next, next: index + 1 };
            self.write_descriptor(table, index, descriptor);
        }
        if placement == Placement::Queue {
            self.add(0);
            return 0;
        }
        let bytes = u32::try_from(count * 16).unwrap();
        let indirect = Descriptor { address: table, bytes, flags: INDIRECT, next: 0 };
        self.set_descriptor(head, indirect);
        self.add(head);
        head
    }

    /// Reserves a buffer.
    fn buffer(&mut self, bytes: usize) -> u64 {
        let address = self.next_buffer;
        // Never adjacent, so that no two descriptors can be merged.
        self.next_buffer += (bytes as u64).next_multiple_of(16) + 16;
        assert!(self.next_buffer < MEMORY_BYTES);
        address
    }

    /// Forgets all buffers.
    pub fn reuse_buffers(&mut self) {
        self.next_buffer = BUFFERS;
    }

    /// Sets a descriptor of the queue for requests.
    pub fn set_descriptor(&self, index: u16, descriptor: Descriptor) {
        self.write_descriptor(REQUESTS as u64 * 0x1_0000 + DESCRIPTORS, index, descriptor);
    }

    pub fn write_descriptor(&self, table: u64, index: u16, descriptor: Descriptor) {
        let Descriptor { address, bytes, flags, next } = descriptor;
        let at = GuestAddress(table + u64::from(index) * 16);
        self.memory.write_obj(address, at).unwrap();
        self.memory.write_obj(bytes, GuestAddress(at.0 + 8)).unwrap();
        self.memory.write_obj(flags, GuestAddress(at.0 + 12)).unwrap();
        self.memory.write_obj(next, GuestAddress(at.0 + 14)).unwrap();
    }

    /// Makes a request available and kicks.
    pub fn add(&mut self, head: u16) {
        let ring = REQUESTS as u64 * 0x1_0000 + AVAILABLE;
        let slot = u64::from(self.added % QUEUE_SIZE);
        self.memory.write_obj(head, GuestAddress(ring + 4 + slot * 2)).unwrap();
        self.set_available(self.added.wrapping_add(1));
    }

    /// Sets the end of the available requests and kicks.
    pub fn set_available(&mut self, end: u16) {
        let ring = REQUESTS as u64 * 0x1_0000 + AVAILABLE;
        self.added = end;
        // A notification for the next reply.
        let used_event = GuestAddress(ring + 4 + u64::from(QUEUE_SIZE) * 2);
        self.memory.store(self.taken, used_event, Ordering::Relaxed).unwrap();
        self.memory.store(end, GuestAddress(ring + 2), Ordering::SeqCst).unwrap();
        self.kick.write(1).unwrap();
    }

    /// Waits for the next reply; returns the head of its request, and its length in bytes.
    pub fn wait(&mut self) -> (u16, u32) {
        let used = REQUESTS as u64 * 0x1_0000 + USED;
        let ring = REQUESTS as u64 * 0x1_0000 + AVAILABLE;
        let used_event = GuestAddress(ring + 4 + u64::from(QUEUE_SIZE) * 2);
        self.memory.store(self.taken, used_event, Ordering::SeqCst).unwrap();
        loop {
            let end: u16 = self.memory.load(GuestAddress(used + 2), Ordering::SeqCst).unwrap();
            if end != self.taken {
                break;
            }
            // SAFETY: it is open as long as `self` is borrowed.
            let call = unsafe { BorrowedFd::borrow_raw(self.call.as_raw_fd()) };
            let ready = poll(&mut [PollFd::new(&call, PollFlags::IN)], Some(&PATIENCE)).unwrap();
            assert_ne!(ready, 0, "no notification");
            self.call.read().unwrap();
        }
        let slot = GuestAddress(used + 4 + u64::from(self.taken % QUEUE_SIZE) * 8);
        self.taken = self.taken.wrapping_add(1);
        let head: u32 = self.memory.read_obj(slot).unwrap();
        let bytes: u32 = self.memory.read_obj(GuestAddress(slot.0 + 4)).unwrap();
        (u16::try_from(head).unwrap(), bytes)
    }

    /// Whether a reply has been reported.
    pub fn has_reply(&self) -> bool {
        let used = REQUESTS as u64 * 0x1_0000 + USED;
        let end: u16 = self.memory.load(GuestAddress(used + 2), Ordering::SeqCst).unwrap();
        end != self.taken
    }

    /// Reads the reply to the request with this head.
    pub fn reply(&self, head: u16, bytes: u32, placement: Placement) -> Vec<u8> {
        let table = match placement {
            Placement::Queue => REQUESTS as u64 * 0x1_0000 + DESCRIPTORS,
            Placement::Table => TABLES + u64::from(head) * TABLE_BYTES,
        };
        let mut reply = Vec::new();
        for index in 0.. {
            let at = table + index * 16;
            let address: u64 = self.memory.read_obj(GuestAddress(at)).unwrap();
            let length: u32 = self.memory.read_obj(GuestAddress(at + 8)).unwrap();
            let flags: u16 = self.memory.read_obj(GuestAddress(at + 12)).unwrap();
            if flags & WRITE != 0 {
                let mut piece = vec![0; length as usize];
                self.memory.read_slice(&mut piece, GuestAddress(address)).unwrap();
                reply.append(&mut piece);
            }
            if flags & NEXT == 0 {
                break;
            }
        }
        reply.truncate(bytes as usize);
        reply
    }

    /// Makes a request and waits for its reply.
    pub fn call(&mut self, parts: &[&[u8]], reply_bytes: usize, placement: Placement) -> Vec<u8> {
        self.reuse_buffers();
        let head = self.request(parts, reply_bytes, placement);
        let (served, bytes) = self.wait();
        assert_eq!(served, head);
        self.reply(head, bytes, placement)
    }
}

/// Connects a front end that wants an answer to every request.
pub fn connect(socket: UnixStream) -> Frontend {
    let mut frontend = Frontend::from_stream(socket, 2);
    frontend.set_owner().unwrap();
    let features = frontend.get_features().unwrap();
    assert_ne!(features & EVENT_INDEX, 0);
    assert_ne!(features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits(), 0);
    let protocol = frontend.get_protocol_features().unwrap();
    assert!(protocol.contains(VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK));
    frontend.set_protocol_features(protocol).unwrap();
    frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    assert_eq!(frontend.get_queue_num().unwrap(), 2);
    frontend.set_features(features).unwrap();
    frontend
}
