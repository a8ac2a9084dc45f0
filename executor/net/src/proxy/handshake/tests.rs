use super::*;
use crate::proxy::Password;
use proptest::prelude::*;
use std::net::SocketAddr;

fn proxy(url: &str, password: Option<&str>) -> UpstreamProxy {
    let password = password.map(|password| Password::new(password.as_bytes().to_vec()));
    UpstreamProxy { url: url.parse().unwrap(), password }
}

fn address(text: &str) -> Destination {
    Destination::Address(text.parse::<SocketAddr>().unwrap())
}

fn name(name: &str, port: u16) -> Destination {
    Destination::Name(rules::rule::DomainName::new(name).unwrap(), port)
}

/// The end of a conversation.
#[derive(Debug, PartialEq, Eq)]
struct Played {
    /// All that was sent, in pieces.
    sent: Vec<Vec<u8>>,
    /// What was received after the handshake; `Err` with the text of the failure.
    rest: Result<Vec<u8>, String>,
}

/// Plays a handshake with a proxy that sends these bytes, at most `step` at a time.
fn play(proxy: &UpstreamProxy, destination: &Destination, received: &[u8], step: usize) -> Played {
    let (mut handshake, first) = match Handshake::start(proxy, destination) {
        Ok(started) => started,
        Err(failure) => return Played { sent: Vec::new(), rest: Err(failure.to_string()) },
    };
    let mut sent = vec![first.to_vec()];
    let mut at = 0;
    while at < received.len() {
        let end = received.len().min(at.saturating_add(step));
        match handshake.receive(&received[at..end]) {
            Ok((count, next)) => {
                assert!(count > 0 && count <= end - at);
                at += count;
                match next {
                    Next::More => assert_eq!(at, end),
                    Next::Send(bytes) => sent.push(bytes.to_vec()),
                    Next::Open => return Played { sent, rest: Ok(received[at..].to_vec()) },
                }
            }
            Err(failure) => return Played { sent, rest: Err(failure.to_string()) },
        }
    }
    Played { sent, rest: Err("incomplete".to_owned()) }
}

/// Plays it in one piece, and expects the same in pieces of each other size.
fn played(proxy: &UpstreamProxy, destination: &Destination, received: &[u8]) -> Played {
    let whole = play(proxy, destination, received, usize::MAX);
    for step in 1..received.len() {
        assert_eq!(play(proxy, destination, received, step), whole, "in pieces of {step}");
    }
    whole
}

#[test]
fn http_proxies_are_asked_to_connect() {
    let plain = proxy("http://proxy:3128", None);
    let answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nSSH-2.0";
    let Played { sent, rest } = played(&plain, &address("192.0.2.1:22"), answer);
    assert_eq!(sent, [b"CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost: 192.0.2.1:22\r\n\r\n"]);
    // The server may speak first.
    assert_eq!(rest, Ok(b"SSH-2.0".to_vec()));
    let Played { sent, .. } = played(&plain, &address("[2001:db8::1]:443"), b"");
    assert_eq!(sent, [b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"]);
    let with_user = proxy("http://me@proxy:3128", Some("open sesame"));
    let Played { sent, .. } = played(&with_user, &name("a.test", 443), b"");
    // `me:open sesame`
    let expected = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: Basic bWU6b3BlbiBzZXNhbWU=\r\n\r\n";
    assert_eq!(sent, [expected.as_bytes()]);
}

#[test]
fn answers_of_http_proxies_are_understood() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    let interim = format!("{}HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX + 1));
    let cases: [(&str, Result<&str, &str>); 15] = [
        ("HTTP/1.0 200 OK\n\nrest", Ok("rest")),
        ("HTTP/1.1 200\r\n\r\n", Ok("")),
        ("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nrest", Ok("rest")),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest", Ok("rest")),
        ("HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\n\r\n", Err("asks for a user")),
        ("HTTP/1.1 403 Forbidden\r\n\r\n<html>", Err("status 403: it forbids this server")),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", Err("status 502: it does not reach the server")),
        ("HTTP/1.1 101 Switching\r\n\r\n", Err("status 101")),
        ("HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", Err("status 302")),
        ("HTTP/2 200\r\n\r\n", Err("does not answer as its URL says")),
        ("HTTP/1.1 2x0 OK\r\n\r\n", Err("does not answer as its URL says")),
        ("SSH-2.0-OpenSSH\r\n", Err("does not answer as its URL says")),
        (&long, Err("does not answer as its URL says")),
        (&interim, Err("does not answer as its URL says")),
        (&many, Err("does not answer as its URL says")),
    ];
    for (answer, expected) in cases {
        let shown = &answer[..answer.len().min(60)];
        let (proxy, target) = (proxy("http://proxy:3128", None), address("192.0.2.1:443"));
        // In pieces of every size only where that is quick.
        let Played { rest, .. } = if answer.len() < 1000 {
            played(&proxy, &target, answer.as_bytes())
        } else {
            play(&proxy, &target, answer.as_bytes(), 7)
        };
        match (rest, expected) {
            (Ok(rest), Ok(expected)) => assert_eq!(rest, expected.as_bytes(), "{shown}"),
            (Err(failure), Err(expected)) => assert!(failure.contains(expected), "{shown}: {failure}"),
            (rest, _) => panic!("{shown}: {rest:?}"),
        }
    }
    let with_user = proxy("http://me@proxy:3128", Some("x"));
    for status in ["401", "407"] {
        let answer = format!("HTTP/1.1 {status} X\r\n\r\n");
        let refused = played(&with_user, &address("192.0.2.1:443"), answer.as_bytes());
        assert!(refused.rest.unwrap_err().starts_with("refuses the user or the password"));
    }
}

#[test]
fn socks_proxies_are_asked_to_connect() {
    let plain = proxy("socks5://proxy:1080", None);
    let Played { sent, rest } =
        played(&plain, &address("192.0.2.1:443"), b"\x05\0\x05\0\0\x01\0\0\0\0\0\0rest");
    assert_eq!(sent, [&b"\x05\x01\0"[..], b"\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb"]);
    assert_eq!(rest, Ok(b"rest".to_vec()));
    let answer = b"\x05\0\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xbb";
    let Played { sent, rest } = played(&plain, &name("a.test", 80), answer);
    assert_eq!(sent[1], b"\x05\x01\0\x03\x06a.test\0\x50");
    assert_eq!(rest, Ok(Vec::new()));
    let with_user = proxy("socks5://me@proxy:1080", Some("pw"));
    let Played { sent, rest } =
        played(&with_user, &address("[::1]:80"), b"\x05\x02\x01\0\x05\0\0\x03\x03abc\0\0rest");
    assert_eq!(sent[..2], [b"\x05\x02\0\x02".to_vec(), b"\x01\x02me\x02pw".to_vec()]);
    assert_eq!(sent[2], b"\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50");
    assert_eq!(rest, Ok(b"rest".to_vec()));
    // It may do without the password.
    let Played { sent, .. } = played(&with_user, &address("192.0.2.1:443"), b"\x05\0");
    assert_eq!(sent.len(), 2);
}

#[test]
fn refusals_of_socks_proxies_are_understood() {
    let (plain, with_user) =
        (proxy("socks5://proxy:1080", None), proxy("socks5://me@proxy:1080", Some("pw")));
    for (proxy, answer, expected) in [
        (&plain, &b"\x05\xff"[..], "asks for a user"),
        (&plain, b"\x05\x02", "does not answer as its URL says"),
        (&plain, b"\x04\0", "does not answer as its URL says"),
        (&plain, b"HTTP/1.1 400 Bad Request\r\n", "does not answer as its URL says"),
        (&plain, b"\x05\0\x05\x02\0\x01", "its rules forbid this server"),
        (&plain, b"\x05\0\x05\x05\0\x01", "the server refuses it"),
        (&plain, b"\x05\0\x05\0\0\x07", "does not answer as its URL says"),
        (&plain, b"\x05\0\x05\0\0\x01\0\0", "incomplete"),
        (&with_user, b"\x05\xff", "refuses the user or the password"),
        (&with_user, b"\x05\x02\x01\x01", "refuses the user or the password"),
        (&with_user, b"\x05\x02\x05\0", "does not answer as its URL says"),
    ] {
        let rest = played(proxy, &address("192.0.2.1:443"), answer).rest;
        assert!(rest.as_ref().is_err_and(|failure| failure.contains(expected)), "{answer:?}: {rest:?}");
    }
    let long = proxy("socks5://me@proxy:1080", Some(&"x".repeat(256)));
    let rest = played(&long, &address("192.0.2.1:443"), b"").rest;
    assert!(rest.unwrap_err().contains("longer than the 255 bytes"));
}

#[test]
fn no_text_shows_the_password() {
    let proxy = proxy("http://me@proxy:3128", Some("hunter2"));
    assert!(!format!("{proxy:?}").contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_bounded(bytes in prop::collection::vec(any::<u8>(), 0..200), scheme in 0..4_usize, step in 1..9_usize) {
        let (url, password) = [
            ("http://proxy:1", None),
            ("http://me@proxy:1", Some("pw")),
            ("socks5://proxy:1", None),
            ("socks5://me@proxy:1", Some("pw")),
        ][scheme];
        let (proxy, destination) = (proxy(url, password), name("a.test", 80));
        prop_assert_eq!(play(&proxy, &destination, &bytes, step), play(&proxy, &destination, &bytes, usize::MAX));
    }
}
