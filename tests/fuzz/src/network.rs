//! What a guest puts on its network link, and what name servers answer.

use crate::bytes::{Bytes, chunks};
use executor_net::fuzzing;
use std::net::IpAddr;

pub use crate::stack::stack;

/// A name is found in a greeting however it is cut, and never before it is whole; more bytes do not change it.
pub fn sni(bytes: &[u8]) {
    let whole = fuzzing::server_name(bytes);
    if let Some(Ok(name)) = &whole {
        let shown = name.as_str().to_ascii_lowercase();
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        // A name is in the bytes as it is, or in parts if it spans records.
        assert!(text.contains(&shown) || bytes.len() > shown.len() + 5, "{shown}");
    }
    for length in (0..bytes.len()).rev().take(64) {
        let part = fuzzing::server_name(&bytes[..length]);
        if part.is_some() {
            assert_eq!(part, whole, "at {length}");
        }
    }
}

/// A request head is judged alike however it is cut, and what comes after it changes nothing.
pub fn http_head(bytes: &[u8]) {
    let whole = fuzzing::request_head(bytes);
    if let Some(Ok((host, length, _))) = &whole {
        let text = String::from_utf8_lossy(&bytes[..*length]).to_ascii_lowercase();
        assert!(text.contains(host.as_str()), "{host} is not in the head");
        assert_eq!(bytes.get(length - 1), Some(&b'\n'), "a head ends with an empty line");
        // Bytes after the head are not part of it.
        assert_eq!(fuzzing::request_head(&bytes[..*length]), whole);
    }
    for length in (0..bytes.len()).rev().take(256) {
        let part = fuzzing::request_head(&bytes[..length]);
        if part.is_some() {
            assert_eq!(part, whole, "at {length}");
        }
    }
    if let Some(Ok((line, _))) = fuzzing::chunk(bytes) {
        assert!(line <= bytes.len());
        assert_eq!(fuzzing::chunk(&bytes[..line]), fuzzing::chunk(bytes));
        assert!((0..line).all(|length| fuzzing::chunk(&bytes[..length]).is_none()));
    }
}

/// A proxy's answers are judged alike however they are cut, what comes after them changes nothing, and they are bounded.
pub fn upstream_proxy(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let (kind, step) = (input.byte(), usize::from(input.byte()));
    let whole = fuzzing::proxy_handshake(kind, input.0, usize::MAX);
    assert_eq!(fuzzing::proxy_handshake(kind, input.0, step), whole);
    assert!(whole.sent.len() <= 3, "{} messages", whole.sent.len());
    match whole.opened {
        Some(Ok(length)) => {
            assert!(length <= 16 * 1024);
            assert_eq!(fuzzing::proxy_handshake(kind, &input.0[..length], step), whole);
        }
        Some(Err(text)) => assert!(!text.contains("hunter2") && text.len() < 256, "{text}"),
        None => assert!(input.0.len() <= 16 * 1024, "it never ends"),
    }
}

/// A question is answered, refused or dropped; without rules that allow it no server is asked.
pub fn dns_question(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let tcp = input.byte() & 1 == 1;
    if let Some(answer) = fuzzing::query(input.0, tcp) {
        let most = if tcp { 65_535 } else { 4096 };
        assert!(answer.len() <= most, "{} bytes of answer", answer.len());
        assert_eq!(answer.get(..2), input.0.get(..2), "the answer has another id");
        assert!(answer[2] & 0x80 != 0, "an answer is not a question");
    }
}

/// What a server answers is judged: no address that is refused is passed on or remembered.
pub fn dns_answer(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let (kind, tcp) = (input.byte(), input.byte() & 1 == 1);
    let handled = fuzzing::answer_query(kind, tcp, input.0);
    let most = if tcp { 65_535 } else { 4096 };
    assert!(handled.answer.len() <= most);
    let is_refused = |address: &IpAddr| matches!(address, IpAddr::V4(four) if four.octets()[0] == 10);
    assert!(!handled.addresses.iter().any(is_refused), "{:?}", handled.addresses);
    assert!(!handled.pinned.iter().any(is_refused), "{:?}", handled.pinned);
    // The guest may connect by this name to the addresses of its answers only.
    assert!(handled.addresses.is_subset(&handled.pinned), "{handled:?}");
    assert!(handled.truncated || handled.pinned == handled.addresses, "{handled:?}");
}

/// Questions over a connection are the same however it is cut.
pub fn dns_session(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let seed = input.byte();
    let whole = fuzzing::questions(&[input.0]);
    let parts = fuzzing::questions(&chunks(input.0, seed));
    assert_eq!(parts, whole);
    let taken: usize = whole.0.iter().map(|question| question.len() + 2).sum();
    assert!(taken <= input.0.len());
}

/// A packet lies inside its frame, and an answer to it reads back.
pub fn wire(bytes: &[u8]) {
    fuzzing::check_frame(bytes);
}
