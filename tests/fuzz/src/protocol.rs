//! The agent protocol, both ways: what a guest sends to the host and the host to a guest.

use crate::bytes::{Bytes, chunks};
use protocol::frame::{Flags, Frame, FrameDecoder, FrameError, MAX_FRAME_LEN};
use protocol::latest::{BootAssembler, BootChunk, Envelope, Message};

/// The types of messages; the first byte of an input selects one.
const TYPES: &[&str] = &[
    "core.boot",
    "core.boot.failed",
    "core.ready",
    "core.shutdown",
    "core.ping",
    "core.pong",
    "core.error",
    "core.relay.client.disconnected",
    "core.exec.request",
    "core.exec.started",
    "core.exec.stdin",
    "core.exec.stdin.ack",
    "core.exec.output.ack",
    "core.exec.stdin.error",
    "core.exec.stdout",
    "core.exec.stderr",
    "core.exec.exited",
    "core.exec.failed",
    "core.exec.resize",
    "core.exec.signal",
    "core.fs.request",
    "core.fs.response",
    "core.fs.data",
    "core.fs.data.ack",
    "core.of.tomorrow",
];

/// A stream gives the same frames however it is cut; each of them travels on unchanged.
pub fn frames(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let seed = input.byte();
    let whole = decode(&[input.0]);
    assert_eq!(decode(&chunks(input.0, seed)), whole);
    let (frames, _) = whole;
    let mut at = 0;
    for frame in frames {
        let length = frame.as_bytes().len();
        assert_eq!(input.0.get(at..at + length), Some(frame.as_bytes()));
        at += length;
        if let Ok(message) = Message::decode(&frame) {
            let again = message.encode_with(frame.id(), frame.flags()).expect("it has been a frame before");
            assert_eq!(Message::decode(&again).ok(), Some(message));
        }
    }
}

fn decode(chunks: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.feed(chunk);
        assert!(decoder.pending_bytes() <= MAX_FRAME_LEN as usize + 4 + chunk.len());
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame(), Err(error), "an error does not go away");
                    return (frames, Some(error));
                }
            }
        }
    }
    (frames, None)
}

/// A payload of any type is a message that encodes to itself, or an error.
pub fn message(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let index = usize::from(input.byte());
    let t = TYPES[index % TYPES.len()].to_owned();
    let envelope = Envelope { v: 1, t: t.clone(), p: input.0.to_vec() };
    // The envelope is encoded and decoded too.
    let frame = envelope.encode(7, Flags::NONE).expect("a fuzzer's input fits into a frame");
    assert_eq!(Envelope::decode(&frame).ok().as_ref(), Some(&envelope));
    let Ok(message) = Message::from_envelope(envelope) else { return };
    assert_eq!(message.message_type(), t);
    let again = message.encode(7).expect("what was decoded can be encoded");
    assert_eq!(Message::decode(&again).ok(), Some(message));
}

/// Chunks of a boot document, in any order and number, give a document that travels, or an error.
pub fn boot(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let mut assembler = BootAssembler::new();
    let mut seq = 0;
    while !input.0.is_empty() {
        let head = input.byte();
        // Mostly the next chunk, so that documents are completed.
        seq = if head & 0x80 == 0 { seq } else { u32::from(head & 0x3f) };
        let last = head & 0x40 != 0;
        let Some(data) = input.part() else { return };
        match assembler.push(&BootChunk { seq, last, data: data.to_vec() }) {
            Ok(None) => seq = seq.wrapping_add(1),
            Ok(Some(document)) => {
                let frames = document.to_frames().expect("it has travelled before");
                let mut again = BootAssembler::new();
                let mut found = None;
                for frame in &frames {
                    let Ok(Message::Boot(chunk)) = Message::decode(frame) else { panic!("a frame of ours") };
                    found = again.push(&chunk).expect("a chunk of ours");
                }
                assert_eq!(found, Some(document));
                return;
            }
            Err(_) => return,
        }
    }
}
