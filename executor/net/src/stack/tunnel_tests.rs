//! Connections through a proxy.

use super::tests::{Guest, Received, TIMEOUT, network};
use super::*;
use crate::intercept::{Intercepted, InterceptedProtocol};
use crate::sni::tests::{hello, records, sni};
use schemas::spec::{NetworkDefault, UpstreamProxy};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A server that only the proxy reaches: the address leads nowhere.
const SERVER: &str = "192.0.2.1:4443";
/// What an HTTP proxy answers.
const OPEN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn server() -> SocketAddr {
    SERVER.parse().unwrap()
}

fn with_proxy(rules: &[&str], url: &str) -> Network {
    let proxy = Some(UpstreamProxy { url: url.parse().unwrap(), password: None });
    Network { proxy, ..network(NetworkDefault::Deny, rules) }
}

fn proxy() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Accepts a connection at the proxy, and reads the request.
fn accept(proxy: &TcpListener) -> (TcpStream, String) {
    let mut stream = proxy.accept().unwrap().0;
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    (stream, String::from_utf8(request).unwrap())
}

fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Waits for a reset of the connection from this port.
fn wait_for_reset(guest: &mut Guest, port: u16) {
    while !matches!(guest.receive(), Received::Tcp { to, reset: true, .. } if to == port) {}
}

#[test]
fn allowed_connections_go_through_the_proxy_and_others_never_reach_it() {
    let (proxy, url) = proxy();
    let mut guest = Guest::new(with_proxy(&["allow@192.0.2.0/24", "allow@host"], &url), &[]);
    // The host is reached without it.
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let on_host = guest.gateway(own.local_addr().unwrap().port());
    guest.connect(2001, on_host);
    let _kept = own.accept().unwrap();
    guest.syn(2000, server());
    let (mut stream, request) = accept(&proxy);
    assert!(request.starts_with("CONNECT 192.0.2.1:4443 HTTP/1.1\r\n"), "{request}");
    // The server may speak first, even together with the answer.
    stream.write_all(&[OPEN, b"220 ready"].concat()).unwrap();
    guest.answered(2000, server());
    while guest.received != b"220 ready" {
        assert!(guest.next(TIMEOUT).is_some(), "{:?}", guest.received);
    }
    guest.data(2000, server(), 0, b"hello");
    assert_eq!(read(&mut stream, 5), b"hello");
    // Refused by the rules.
    let other: SocketAddr = "198.51.100.1:80".parse().unwrap();
    guest.syn(2002, other);
    wait_for_reset(&mut guest, 2002);
    guest.udp(server(), b"any packet");
    assert_eq!(guest.receive(), Received::Unreachable { from: server().ip() });
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.accept().is_err(), "the proxy was asked for something else");
    assert_eq!(
        guest.reasons(),
        [
            "tcp to 198.51.100.1:80: no rule fits, and the default is deny".to_owned(),
            format!("udp to {SERVER}: UDP does not go through the proxy {url}: use TCP, or remove `proxy`"),
        ]
    );
}

#[test]
fn a_name_is_sent_only_where_a_rule_on_names_decides_and_it_is_the_only_one() {
    let name = |name: &str| Command::Pin(server().ip(), DomainName::new(name).unwrap());
    for (rules, names, expected) in [
        (&["allow@a.test"][..], &["a.test"][..], "a.test:4443"),
        (&["allow@*.b.test"], &["a.b.test"], "a.b.test:4443"),
        (&["allow@a.test"], &["a.test", "b.test"], SERVER),
        (&["allow@192.0.2.0/24"], &["a.test"], SERVER),
        (&["allow@192.0.2.0/24"], &[], SERVER),
    ] {
        let (proxy, url) = proxy();
        let mut guest = Guest::new(with_proxy(rules, &url), &[]);
        names.iter().for_each(|one| guest.stack.tell(name(one)));
        guest.syn(2000, server());
        let (_, request) = accept(&proxy);
        assert!(request.starts_with(&format!("CONNECT {expected} ")), "{rules:?} {names:?}: {request}");
    }
}

#[test]
fn a_rule_on_names_holds_inside_the_tunnel() {
    let (proxy, url) = proxy();
    let mut guest = Guest::new(with_proxy(&["allow@a.test"], &url), &[]);
    guest.stack.tell(Command::Pin(server().ip(), DomainName::new("a.test").unwrap()));
    guest.syn(2000, server());
    let (mut stream, _) = accept(&proxy);
    stream.write_all(OPEN).unwrap();
    guest.answered(2000, server());
    guest.data(2000, server(), 0, &records(&hello(&[sni("b.test")]), 1000));
    wait_for_reset(&mut guest, 2000);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    assert!(guest.reasons()[0].ends_with("it is for b.test: allow@a.test"), "{:?}", guest.reasons());
}

#[test]
fn a_proxy_that_refuses_resets_the_connection_and_is_reported_once() {
    let (proxy, url) = proxy();
    let mut guest = Guest::new(with_proxy(&["allow@192.0.2.0/24"], &url), &[]);
    for (port, answer) in
        [(2000, &b"HTTP/1.1 403 Forbidden\r\n\r\n"[..]), (2001, b"garbage"), (2002, b"garbage")]
    {
        guest.syn(port, server());
        let (mut stream, _) = accept(&proxy);
        stream.write_all(answer).unwrap();
        wait_for_reset(&mut guest, port);
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
    }
    drop(proxy);
    guest.syn(2003, server());
    wait_for_reset(&mut guest, 2003);
    let reasons = guest.reasons();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for (reason, expected) in reasons.iter().zip([
        "refuses the connection with status 403: it forbids this server",
        "does not answer as its URL says",
        "cannot be reached: Connection refused",
    ]) {
        assert!(reason.starts_with(&format!("tcp to {SERVER}: the proxy {url} {expected}")), "{reason}");
    }
}

#[test]
fn a_guest_that_gives_up_leaves_nothing_at_the_proxy() {
    let (proxy, url) = proxy();
    let mut guest = Guest::new(with_proxy(&["allow@192.0.2.0/24"], &url), &[]);
    guest.syn(2000, server());
    let (mut stream, _) = accept(&proxy);
    guest.reset(2000, server());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    // The port is free again.
    guest.syn(2000, server());
    let (mut stream, _) = accept(&proxy);
    stream.write_all(OPEN).unwrap();
    guest.answered(2000, server());
}

#[test]
fn intercepted_connections_are_handed_over_with_the_tunnel() {
    let (proxy, url) = proxy();
    let (taken, connections) = mpsc::channel();
    let interception = Interception {
        tls_ports: [server().port()].into(),
        http_ports: [].into(),
        take_over: Box::new(move |connection: Intercepted| drop(taken.send(connection))),
    };
    let rules = with_proxy(&["allow@192.0.2.0/24"], &url);
    let mut guest = Guest::with(rules, &[], None, Some(interception));
    guest.syn(2000, server());
    let (mut stream, _) = accept(&proxy);
    stream.write_all(OPEN).unwrap();
    guest.answered(2000, server());
    let connection = connections.recv_timeout(TIMEOUT).unwrap();
    assert_eq!((connection.remote, connection.protocol), (server(), InterceptedProtocol::Tls));
    (&connection.upstream).write_all(b"to the server").unwrap();
    assert_eq!(read(&mut stream, 13), b"to the server");
    let greeting = records(&hello(&[sni("any.test")]), 1000);
    guest.data(2000, server(), 0, &greeting);
    connection.guest.set_nonblocking(false).unwrap();
    connection.guest.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut received = vec![0; greeting.len()];
    (&connection.guest).read_exact(&mut received).unwrap();
    assert_eq!(received, greeting);
}

#[test]
fn another_proxy_cuts_open_and_pending_connections() {
    let (first, url) = proxy();
    let rules = &["allow@192.0.2.0/24", "allow@host"];
    let mut guest = Guest::new(with_proxy(rules, &url), &[]);
    guest.syn(2000, server());
    let (mut open, _) = accept(&first);
    open.write_all(OPEN).unwrap();
    guest.answered(2000, server());
    guest.syn(2001, server());
    let (mut pending, _) = accept(&first);
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let on_host = guest.gateway(own.local_addr().unwrap().port());
    guest.connect(2002, on_host);
    let mut kept = own.accept().unwrap().0;
    // The same one changes nothing.
    guest.stack.set_rules(with_proxy(rules, &url), None).unwrap();
    let (second, other) = proxy();
    guest.stack.set_rules(with_proxy(rules, &other), None).unwrap();
    for stream in [&mut open, &mut pending] {
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
    }
    let (mut resets, wanted) = (BTreeSet::new(), BTreeSet::from([2000, 2001]));
    while resets != wanted {
        if let Received::Tcp { to, reset: true, .. } = guest.receive() {
            resets.insert(to);
        }
    }
    guest.syn(2003, server());
    let (_through_second, request) = accept(&second);
    assert!(request.starts_with("CONNECT"), "{request}");
    guest.data(2002, on_host, 0, b"kept");
    kept.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(read(&mut kept, 4), b"kept");
    let cut = format!("tcp to {SERVER}: cut: the proxy has changed");
    assert_eq!(guest.reasons(), [cut]);
}

#[test]
fn a_change_of_the_rules_ends_a_pending_connection() {
    let (proxy, url) = proxy();
    let mut guest = Guest::new(with_proxy(&["allow@192.0.2.0/24"], &url), &[]);
    guest.syn(2000, server());
    let (mut stream, _) = accept(&proxy);
    guest.stack.set_rules(with_proxy(&[], &url), None).unwrap();
    wait_for_reset(&mut guest, 2000);
    assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
    assert_eq!(guest.reasons(), [format!("tcp to {SERVER}: cut: the rules have changed")]);
}
