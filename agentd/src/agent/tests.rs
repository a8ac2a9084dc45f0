//! An agent over a socket instead of a port: answers, refusals, and malformed input.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use protocol::frame::FrameDecoder;
use protocol::latest::{ExecStdin, Ping};
use rustix::fs::{OFlags, fcntl_setfl};

use super::*;

/// An agent that is never booted: it has no processes to signal at the end.
fn agent() -> (UnixStream, JoinHandle<()>) {
    let (host, guest) = UnixStream::pair().unwrap();
    host.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let thread = std::thread::spawn(move || {
        let port = OwnedFd::from(guest);
        fcntl_setfl(&port, OFlags::NONBLOCK).unwrap();
        Agent::new(port, Signals::open().unwrap(), 0).unwrap().run();
    });
    (host, thread)
}

fn read_messages(host: &mut UnixStream, decoder: &mut FrameDecoder, count: usize) -> Vec<(u32, Message)> {
    let mut messages = Vec::new();
    let mut buffer = [0; 4096];
    while messages.len() < count {
        let read = host.read(&mut buffer).unwrap();
        assert!(read > 0, "the agent left after {} messages", messages.len());
        decoder.feed(&buffer[..read]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            messages.push((frame.id(), Message::decode(&frame).unwrap()));
        }
    }
    messages
}

fn ping(id: u32) -> Vec<u8> {
    Message::from(Ping {}).encode(id).unwrap().into_bytes()
}

#[test]
fn answers_are_flushed_before_waiting() {
    let (mut host, agent) = agent();
    let mut decoder = FrameDecoder::new();
    // More than are handled at once, with the beginning of a frame that is completed late.
    let count = 10 * u32::try_from(MAX_FRAMES_AT_ONCE).unwrap();
    let mut bytes: Vec<u8> = (1..=count).flat_map(ping).collect();
    let long = Message::from(ExecStdin { data: vec![0; 100_000] }).encode(5).unwrap().into_bytes();
    bytes.extend_from_slice(&long[..50]);
    host.write_all(&bytes).unwrap();
    let answers = read_messages(&mut host, &mut decoder, count as usize);
    assert!(answers.iter().map(|(id, _)| *id).eq(1..=count));
    host.write_all(&long[50..]).unwrap();
    host.write_all(&ping(9)).unwrap();
    assert_eq!(read_messages(&mut host, &mut decoder, 1), [(9, Pong {}.into())]);
    drop(host);
    // The port is polled for a new host until the machine is switched off.
    assert!(!agent.is_finished());
}

#[test]
fn a_request_whose_refusal_exceeds_a_frame_is_answered() {
    let (mut host, agent) = agent();
    let mut decoder = FrameDecoder::new();
    let message_type = "x".repeat(3 * 1024 * 1024);
    let unknown = Message::Unknown { message_type, payload: Vec::new() };
    host.write_all(unknown.encode(4).unwrap().as_bytes()).unwrap();
    let answers = read_messages(&mut host, &mut decoder, 1);
    assert!(matches!(&answers[0], (4, Message::Error(report)) if report.kind == ErrorKind::Other));
    host.write_all(Message::from(Shutdown { timeout_ms: None }).encode(0).unwrap().as_bytes()).unwrap();
    assert_eq!(read_messages(&mut host, &mut decoder, 1)[0].0, LINK_ID);
    agent.join().unwrap();
}

#[test]
fn malformed_input_ends_the_sandbox() {
    let (mut host, agent) = agent();
    host.write_all(&[0xff; 4096]).unwrap();
    let goodbye = read_messages(&mut host, &mut FrameDecoder::new(), 1);
    assert!(matches!(goodbye[..], [(LINK_ID, Message::Shutdown(_))]));
    agent.join().unwrap();
}
