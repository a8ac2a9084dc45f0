//! A guest that reads through its queues, and hostile ones.

use crate::guest::{
    Descriptor, Guest, INDIRECT, MEMORY_BYTES, NEXT, Placement, WRITE, connect, memory_file, region,
};
use crate::server::share;
use executor_share::vhost_user::{self, VhostUserError};
use executor_share::{Limits, ShareFs};
use fuse_backend_rs::abi::fuse_abi::{
    EntryOut, InHeader, InitIn, InitOut, Opcode, OpenIn, OpenOut, OutHeader, ReadIn,
};
use fuse_backend_rs::api::filesystem::{Context, Entry, FileSystem};
use rustix::fs::SealFlags;
use std::ffi::CStr;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::JoinHandle;
use vhost::VhostBackend;
use vm_memory::ByteValued;

const ROOT: u64 = 1;
const HEADER_BYTES: usize = size_of::<OutHeader>();

type Server = JoinHandle<Result<(), VhostUserError>>;

/// Starts a server; returns the VMM's end of its socket.
fn serve<F: FileSystem + Send + Sync + 'static>(fs: F) -> (UnixStream, Server) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (theirs, std::thread::spawn(move || vhost_user::serve(Arc::new(fs), ours)))
}

fn files(folder: &Path) -> ShareFs {
    ShareFs::new(vec![share("src", folder)], Limits::default()).unwrap()
}

/// Encodes the header of a request with a body of some bytes.
fn header(opcode: Opcode, nodeid: u64, body_bytes: usize) -> InHeader {
    let len = u32::try_from(size_of::<InHeader>() + body_bytes).unwrap();
    InHeader { len, opcode: opcode as u32, unique: 7, nodeid, ..InHeader::default() }
}

/// Makes a request with a body in a descriptor of its own; returns the body of the reply.
fn call(
    guest: &mut Guest,
    (opcode, node): (Opcode, u64),
    body: &[u8],
    reply_bytes: usize,
    placement: Placement,
) -> Vec<u8> {
    let header = header(opcode, node, body.len());
    let mut reply = guest.call(&[header.as_slice(), body], HEADER_BYTES + reply_bytes, placement);
    let body = reply.split_off(HEADER_BYTES);
    let out = *OutHeader::from_slice(&reply).unwrap();
    assert_eq!((out.error, out.unique), (0, 7));
    assert_eq!(out.len as usize, HEADER_BYTES + body.len());
    body
}

fn read_all(guest: &mut Guest, placement: Placement, size: u32) -> Vec<u8> {
    let init = InitIn { major: 7, minor: 38, max_readahead: 0, flags: 0 };
    let init = call(guest, (Opcode::Init, 0), init.as_slice(), size_of::<InitOut>(), placement);
    assert_eq!(InitOut::from_slice(&init).unwrap().major, 7);
    let mut node = ROOT;
    for name in [&b"0\0"[..], b"file\0"] {
        let entry = call(guest, (Opcode::Lookup, node), name, size_of::<EntryOut>(), placement);
        node = EntryOut::from_slice(&entry).unwrap().nodeid;
    }
    let open = OpenIn { flags: 0, fuse_flags: 0 };
    let open = call(guest, (Opcode::Open, node), open.as_slice(), size_of::<OpenOut>(), placement);
    let fh = OpenOut::from_slice(&open).unwrap().fh;
    let read = ReadIn { fh, size, ..ReadIn::default() };
    call(guest, (Opcode::Read, node), read.as_slice(), size as usize, placement)
}

#[test]
fn a_guest_reads_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let contents: Vec<u8> = (0..1_100_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(folder.path().join("file"), &contents).unwrap();
    // The largest reads: 1 MiB with tables of descriptors, 32 pages without.
    for (placement, size) in [(Placement::Table, 1024 * 1024), (Placement::Queue, 32 * 4096)] {
        let (socket, server) = serve(files(folder.path()));
        let mut guest = Guest::boot(socket);
        assert!(read_all(&mut guest, placement, size) == contents[..size as usize]);
        drop(guest);
        server.join().unwrap().unwrap();
    }
}

/// A file system that finds no file, after it has done something else.
struct Missing<L>(L);

impl<L: Fn(&CStr)> FileSystem for Missing<L> {
    type Inode = u64;
    type Handle = u64;

    fn lookup(&self, _: &Context, _: u64, name: &CStr) -> io::Result<Entry> {
        (self.0)(name);
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Adds a lookup without waiting for its reply.
fn look_up(guest: &mut Guest, name: &[u8]) -> u16 {
    let header = header(Opcode::Lookup, ROOT, name.len());
    guest.request(&[header.as_slice(), name], HEADER_BYTES + size_of::<EntryOut>(), Placement::Table)
}

/// Waits for the reply of a lookup in [`Missing`]; returns its head.
fn wait_for_missing(guest: &mut Guest) -> u16 {
    let (head, bytes) = guest.wait();
    let reply = guest.reply(head, bytes, Placement::Table);
    assert_eq!(OutHeader::from_slice(&reply).unwrap().error, -2);
    head
}

#[test]
fn requests_are_served_at_the_same_time() {
    let all = Arc::new(Barrier::new(3));
    let (socket, server) = serve(Missing(move |_: &CStr| {
        all.wait();
    }));
    let mut guest = Guest::boot(socket);
    for _ in 0..50 {
        guest.reuse_buffers();
        let mut heads: Vec<u16> = (0..3).map(|_| look_up(&mut guest, b"a\0")).collect();
        let mut served: Vec<u16> = (0..3).map(|_| wait_for_missing(&mut guest)).collect();
        heads.sort_unstable();
        served.sort_unstable();
        assert_eq!(served, heads);
    }
    drop(guest);
    server.join().unwrap().unwrap();
}

#[test]
fn a_request_survives_a_pause() {
    let (entered, has_entered) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel();
    let (entered, may_leave) = (Mutex::new(entered), Mutex::new(may_leave));
    let (socket, server) = serve(Missing(move |name: &CStr| {
        if name == c"slow" {
            entered.lock().unwrap().send(()).unwrap();
            may_leave.lock().unwrap().recv().unwrap();
        }
    }));
    let mut guest = Guest::boot(socket);
    let slow = look_up(&mut guest, b"slow\0");
    has_entered.recv().unwrap();
    let position = guest.stop();
    assert_eq!(position, 1);
    // One more is added while the queue is stopped: it must wait.
    let added = look_up(&mut guest, b"other\0");
    leave.send(()).unwrap();
    assert!(!guest.has_reply());
    guest.start(position);
    let mut served = [wait_for_missing(&mut guest), wait_for_missing(&mut guest)];
    served.sort_unstable();
    assert_eq!(served, [slow, added]);
    drop(guest);
    server.join().unwrap().unwrap();
}

#[test]
fn broken_requests_get_errors_and_break_nothing() {
    let (socket, server) = serve(Missing(|_: &CStr| {}));
    let mut guest = Guest::boot(socket);
    let whole = u32::try_from(MEMORY_BYTES).unwrap();
    let descriptor = |address, bytes, flags, next| Descriptor { address, bytes, flags, next };
    // Heads 0 and 1, each with the length of its reply.
    let broken: [(&str, [Descriptor; 2]); 8] = [
        ("a loop", [descriptor(0, 64, NEXT, 1), descriptor(0, 64, NEXT, 0)]),
        ("a loop of large replies", [descriptor(0, 64, NEXT, 1), descriptor(0, whole, NEXT | WRITE, 1)]),
        ("outside of the memory", [descriptor(u64::MAX - 8, 64, NEXT, 1), descriptor(0, 64, WRITE, 0)]),
        ("over the memory's end", [descriptor(0, whole, NEXT, 1), descriptor(64, whole, WRITE, 0)]),
        ("an empty request", [descriptor(0, 0, NEXT, 1), descriptor(0, 0, WRITE, 0)]),
        ("a table of no descriptors", [descriptor(0, 0, INDIRECT, 0), descriptor(0, 0, 0, 0)]),
        ("a table outside of the memory", [descriptor(1 << 60, 4096, INDIRECT, 0), descriptor(0, 0, 0, 0)]),
        ("a descriptor after the last", [descriptor(0, 64, NEXT, 9999), descriptor(0, 0, 0, 0)]),
    ];
    for (what, descriptors) in broken {
        for (index, descriptor) in (0..).zip(descriptors) {
            guest.set_descriptor(index, descriptor);
        }
        guest.add(0);
        let (head, bytes) = guest.wait();
        assert_eq!(head, 0, "{what}");
        assert!(bytes as usize <= HEADER_BYTES, "{what}: {bytes}");
        guest.reuse_buffers();
        let head = look_up(&mut guest, b"good\0");
        assert_eq!(wait_for_missing(&mut guest), head, "after {what}");
    }
    // A table within a table.
    guest.write_descriptor(0x10_0000, 0, descriptor(0x10_0000, 16, INDIRECT, 0));
    guest.set_descriptor(0, descriptor(0x10_0000, 16, INDIRECT, 0));
    guest.add(0);
    assert_eq!(guest.wait(), (0, 0));

    // An unknown request is answered, and one with a length that lies.
    for (opcode, lie, error) in
        [(9999, 0, -38), (Opcode::Lookup as u32, 1 << 30, -12), (Opcode::Lookup as u32, 100, -5)]
    {
        guest.reuse_buffers();
        let mut header = header(Opcode::Lookup, ROOT, 2);
        header.opcode = opcode;
        header.len += lie;
        let reply = guest.call(&[header.as_slice(), b"a\0"], HEADER_BYTES + 200, Placement::Table);
        assert_eq!(OutHeader::from_slice(&reply).unwrap().error, error);
    }

    // A head that does not exist is dropped, and the next request is served.
    guest.add(0xfff0);
    guest.reuse_buffers();
    let head = look_up(&mut guest, b"good\0");
    assert_eq!(wait_for_missing(&mut guest), head);
    // A ring that claims more requests than it has room for is not served any more; the VMM is.
    guest.set_available(0x8000);
    guest.stop();
    drop(guest);
    server.join().unwrap().unwrap();
}

#[test]
fn memory_that_could_shrink_is_refused() {
    for (seals, accepted) in [(SealFlags::GROW, false), (SealFlags::SHRINK, true)] {
        let (socket, server) = serve(Missing(|_: &CStr| {}));
        let frontend = connect(socket);
        let file = memory_file(seals);
        assert_eq!(frontend.set_mem_table(&[region(&file)]).is_ok(), accepted);
        // Nor more than the file has, nor a file that is not in memory.
        let refused = if accepted {
            let mut larger = region(&file);
            larger.memory_size *= 2;
            frontend.set_mem_table(&[larger]).is_err()
        } else {
            true
        };
        assert!(refused);
        drop(frontend);
        assert!(matches!(server.join().unwrap(), Err(VhostUserError::Protocol { .. })));
    }
    let (socket, server) = serve(Missing(|_: &CStr| {}));
    let file = std::fs::File::open("/dev/zero").unwrap();
    assert!(connect(socket).set_mem_table(&[region(&file)]).is_err());
    assert!(server.join().unwrap().is_err());
}

#[test]
fn queues_outside_of_the_memory_are_refused() {
    let (socket, server) = serve(Missing(|_: &CStr| {}));
    let frontend = connect(socket);
    let file = memory_file(SealFlags::SHRINK);
    frontend.set_mem_table(&[region(&file)]).unwrap();
    let config = vhost::VringConfigData { queue_size: 8, queue_max_size: 8, ..Default::default() };
    assert!(frontend.set_vring_addr(1, &config).is_err());
    assert!(server.join().unwrap().is_err());
}

#[test]
fn it_ends_with_its_vmm() {
    let (socket, server) = serve(Missing(|_: &CStr| {}));
    drop(socket);
    server.join().unwrap().unwrap();
    // In the middle of a message.
    let (mut socket, server) = serve(Missing(|_: &CStr| {}));
    socket.write_all(&[1, 0, 0]).unwrap();
    drop(socket);
    server.join().unwrap().unwrap();
    let (mut socket, server) = serve(Missing(|_: &CStr| {}));
    socket.write_all(&[0xff; 4096]).unwrap();
    assert!(matches!(server.join().unwrap(), Err(VhostUserError::Protocol { .. })));
}
