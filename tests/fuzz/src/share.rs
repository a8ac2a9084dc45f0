//! What a VM's process sends to the file server of its mounts, and what a guest has in its memory.

use crate::bytes::Bytes;
use executor_share::fuzzing;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The version of the protocol, and the wish for an answer.
const FLAGS: u32 = 1 | 1 << 3;
const MEMORY_BYTES: u64 = 1024 * 1024;

/// A server survives any messages with any descriptors, and ends with its VMM.
pub fn vhost_user(bytes: &[u8]) {
    let (Ok((ours, theirs)), Some(files)) = (UnixStream::pair(), files()) else { return };
    // Neither side waits for the other one to read.
    if theirs.set_nonblocking(true).is_err() {
        return;
    }
    let server = std::thread::spawn(move || fuzzing::serve(ours));
    let mut input = Bytes(bytes);
    while !input.0.is_empty() {
        let (kind, request) = (input.byte(), input.byte());
        let Some(body) = input.part() else { break };
        // A body without a header is nonsense from its first byte.
        let header = [u32::from(request), FLAGS, u32::try_from(body.len()).unwrap_or(0)];
        let header = header.map(u32::to_ne_bytes).concat();
        let header = if kind & 0x80 == 0 { &header[..] } else { &[] };
        let files: Vec<_> =
            files.iter().skip(usize::from(kind & 3)).take(usize::from(kind >> 2 & 3)).collect();
        if !send(&theirs, &[header, body], &files) {
            break;
        }
        let _ = (&theirs).read(&mut [0; 4096]);
    }
    drop(theirs);
    assert!(server.join().is_ok(), "the server panicked");
}

/// The files that a VMM can pass: an event descriptor, memory of the guest, memory that could shrink, and another one.
fn files() -> Option<[OwnedFd; 4]> {
    let memory = |seals| {
        let file = memfd_create("guest", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).ok()?;
        ftruncate(&file, MEMORY_BYTES).ok()?;
        fcntl_add_seals(&file, seals).ok()?;
        Some(file)
    };
    let event = eventfd(0, EventfdFlags::CLOEXEC).ok()?;
    let null = File::open("/dev/null").ok()?;
    Some([event, memory(SealFlags::SHRINK)?, memory(SealFlags::GROW)?, null.into()])
}

/// Sends a message; returns false if the server has ended or does not read.
fn send(socket: &UnixStream, parts: &[&[u8]], files: &[&OwnedFd]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL).is_ok()
}

/// A ring in a hostile guest's memory is served or not, within bounds.
pub fn vring(bytes: &[u8]) {
    fuzzing::ring(bytes);
}
