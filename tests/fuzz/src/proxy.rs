//! What a guest and a server send through the proxy that intercepts TLS.

use crate::bytes::{Bytes, chunks};
use executor_intercept::fuzzing::{
    self, Exchanged, Greeting, HOST, OTHER_HOST, PLACEHOLDER, Replaced, Side, VALUE,
};

/// What an HTTP/2 client sends first, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// What an HTTP/2 server sends first: empty settings.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// A body with a placeholder.
const BODY: &[u8] = b"before $MSB_TOKEN after";

/// The beginning of a connection is judged alike however it is cut, and replayed as it is.
pub fn hello(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let seed = input.byte();
    let whole = fuzzing::greeting(&[input.0]);
    let parts = fuzzing::greeting(&chunks(input.0, seed));
    assert_eq!(parts, whole);
    if let Greeting::Tls(Some(name)) = &whole {
        assert!(!name.is_empty());
    }
}

/// Bytes of HTTP/1 from a guest, a server or both.
pub fn http1(bytes: &[u8]) {
    exchange(false, bytes);
}

/// The same of HTTP/2.
pub fn http2(bytes: &[u8]) {
    exchange(true, bytes);
}

/// No value goes to another host or back to the guest, and no placeholder to a host that may not have it.
fn exchange(is_http2: bool, bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let (mode, seed) = (input.byte(), input.byte());
    let host = if mode & 1 == 0 { HOST } else { OTHER_HOST };
    let (of_guest, of_server) = match mode >> 1 & 3 {
        0 => (Some(input.0), None),
        1 => (None, Some(input.0)),
        _ => (input.part(), Some(input.0)),
    };
    let prefixed =
        |prefix: &[u8], bytes: &[u8]| if is_http2 { [prefix, bytes].concat() } else { bytes.to_vec() };
    let guest = of_guest.map(|bytes| prefixed(PREFACE, bytes)).unwrap_or_default();
    let server = of_server.map(|bytes| prefixed(SETTINGS, bytes)).unwrap_or_default();
    let (guest_parts, server_parts) = (chunks(&guest, seed), chunks(&server, seed));
    let guest_side = if of_guest.is_some() { Side::Raw(&guest_parts) } else { Side::Valid(BODY) };
    let server_side = if of_server.is_some() { Side::Raw(&server_parts) } else { Side::Valid(b"") };
    let Exchanged { to_guest, to_server, requests, responses } =
        fuzzing::exchange(is_http2, host, &guest_side, &server_side);
    // HTTP/2 may encode texts, so that only those of HTTP/1 are found.
    let is_elsewhere = host != HOST && !contains(&guest, VALUE);
    assert!(!(is_elsewhere && contains(&to_server, VALUE)), "the value goes to another host");
    for request in &requests {
        let has = |text: &str| request.head.contains(text) || contains(&request.body, text);
        assert!(!(is_elsewhere && has(VALUE)), "the value goes to another host: {request:?}");
        let has_placeholder =
            request.head.contains(PLACEHOLDER) || !request.is_encoded && contains(&request.body, PLACEHOLDER);
        assert!(host == HOST || !has_placeholder, "the placeholder goes to another host: {request:?}");
    }
    for response in &responses {
        let has_value = !response.is_encoded && contains(&response.body, VALUE);
        assert!(host != HOST || !has_value, "the value comes back: {response:?}");
    }
    assert!(contains(&server, VALUE) || !contains(&to_guest, VALUE) || contains(&guest, VALUE));
}

/// Bodies are replaced alike however they are cut; in plain text exactly as whole.
pub fn substitution(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let (mode, seed) = (input.byte(), input.byte());
    let kind = match mode >> 1 & 3 {
        0 => "text/plain",
        1 => "application/json",
        2 => "application/x-www-form-urlencoded",
        _ => "application/grpc",
    };
    let (whole, parts) = ([input.0], chunks(input.0, seed));
    for host in [HOST, OTHER_HOST] {
        let replaced = fuzzing::request_body(host, kind, &whole);
        assert_eq!(fuzzing::request_body(host, kind, &parts), replaced, "{host}");
        let Replaced::Sent(sent) = replaced else { continue };
        match (host, kind) {
            (HOST, "text/plain") => assert_eq!(sent, replace(input.0, PLACEHOLDER, VALUE)),
            (HOST, _) => {}
            (_, _) => assert_eq!(sent, input.0, "nothing is replaced for another host"),
        }
        assert!(host == HOST || !contains(&sent, PLACEHOLDER));
    }
    let masked = fuzzing::response_body(kind, &whole);
    assert_eq!(fuzzing::response_body(kind, &parts), masked);
    if let Replaced::Sent(sent) = masked {
        assert!(!contains(&sent, VALUE), "the value comes back");
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let [first, tail @ ..] = rest {
        if let Some(after) = rest.strip_prefix(from.as_bytes()) {
            out.extend_from_slice(to.as_bytes());
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}
