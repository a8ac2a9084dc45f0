//! Connections that a proxy takes over, and answers to refused requests.

use super::tests::{Guest, Received, TIMEOUT, network};
use super::*;
use crate::intercept::{Intercepted, InterceptedProtocol};
use crate::sni::tests::{hello, records, sni};
use schemas::spec::NetworkDefault;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A guest whose TLS and HTTP are intercepted at two ports, and what is taken over.
fn guest(rules: &[&str], tls: u16, http: u16) -> (Guest, mpsc::Receiver<Intercepted>) {
    let (taken, connections) = mpsc::channel();
    let interception = Interception {
        tls_ports: [tls].into(),
        http_ports: [http].into(),
        take_over: Box::new(move |connection| drop(taken.send(connection))),
    };
    let guest = Guest::with(network(NetworkDefault::Deny, rules), &[], None, Some(interception));
    guest.stack.tell(Command::Pin(SERVER, DomainName::new("a.test").unwrap()));
    (guest, connections)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((SERVER, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads exactly this many bytes.
fn read(stream: &std::net::TcpStream, count: usize) -> Vec<u8> {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut bytes = vec![0; count];
    (&*stream).read_exact(&mut bytes).unwrap();
    bytes
}

/// Waits until the guest has received this text.
fn wait_for(guest: &mut Guest, text: &str) {
    while !String::from_utf8_lossy(&guest.received).contains(text) {
        let received = String::from_utf8_lossy(&guest.received).into_owned();
        assert!(guest.next(TIMEOUT).is_some(), "{text:?} does not come, but {received:?}");
    }
}

#[test]
fn connections_at_intercepted_ports_are_taken_over() {
    let (servers, [tls, http, other]) = {
        let listeners = [listener(), listener(), listener()];
        let addresses = [listeners[0].1, listeners[1].1, listeners[2].1];
        (listeners, addresses)
    };
    let (mut guest, connections) = guest(&["allow@loopback"], tls.port(), http.port());
    for (port, remote, protocol, bytes) in [
        (2000, tls, InterceptedProtocol::Tls, records(&hello(&[sni("any.test")]), 1000)),
        (2001, http, InterceptedProtocol::Http, b"GET / HTTP/1.1\r\nHost: any.test\r\n\r\n".to_vec()),
    ] {
        guest.connect(port, remote);
        let connection = connections.recv_timeout(TIMEOUT).unwrap();
        assert_eq!((connection.remote, connection.protocol), (remote, protocol));
        assert_eq!(connection.names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.test"]);
        guest.data(port, remote, 0, &bytes);
        assert_eq!(read(&connection.guest, bytes.len()), bytes);
        (&connection.guest).write_all(b"from the proxy").unwrap();
        wait_for(&mut guest, "from the proxy");
        guest.received.clear();
        // The other end is the server.
        let at = usize::from(remote != tls);
        (&connection.upstream).write_all(b"to the server").unwrap();
        assert_eq!(read(&servers[at].0.accept().unwrap().0, 13), b"to the server");
        // What the proxy resets is reset for the guest.
        drop(connection.upstream);
        crate::host::reset(&connection.guest);
        drop(connection.guest);
        while !matches!(guest.receive(), Received::Tcp { from, reset: true, .. } if from == remote) {}
    }
    guest.connect(2002, other);
    guest.data(2002, other, 0, b"plain");
    assert_eq!(read(&servers[2].0.accept().unwrap().0, 5), b"plain");
    assert!(connections.try_recv().is_err());
    assert_eq!(guest.reasons(), [""; 0]);
}

#[test]
fn tls_without_a_name_and_udp_are_refused_at_intercepted_ports() {
    let (_server, remote) = listener();
    let (mut guest, connections) = guest(&["allow@loopback"], remote.port(), 1);
    guest.connect(2000, remote);
    let connection = connections.recv_timeout(TIMEOUT).unwrap();
    guest.data(2000, remote, 0, &records(&hello(&[]), 1000));
    while !matches!(guest.receive(), Received::Tcp { reset: true, .. }) {}
    connection.guest.set_nonblocking(false).unwrap();
    assert!((&connection.guest).read(&mut [0; 8]).is_err(), "the proxy has received the greeting");
    let socket = UdpSocket::bind(remote).unwrap();
    guest.udp(remote, b"any packet");
    assert_eq!(guest.receive(), Received::Unreachable { from: SERVER });
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 8]).is_err());
    let port = remote.port();
    assert_eq!(
        guest.reasons(),
        [
            format!(
                "tcp to {remote} (a.test): its TLS greeting shows no name, and TLS is intercepted on port {port}"
            ),
            format!(
                "udp to {remote} (a.test): TLS is intercepted on port {port}, and QUIC cannot be: use TCP"
            ),
        ]
    );
}

#[test]
fn rules_on_names_hold_for_intercepted_connections() {
    let (_server, remote) = listener();
    let (mut guest, connections) = guest(&["allow@a.test"], remote.port(), 1);
    guest.connect(2000, remote);
    let connection = connections.recv_timeout(TIMEOUT).unwrap();
    guest.data(2000, remote, 0, &records(&hello(&[sni("b.test")]), 1000));
    while !matches!(guest.receive(), Received::Tcp { reset: true, .. }) {}
    connection.guest.set_nonblocking(false).unwrap();
    assert!((&connection.guest).read(&mut [0; 8]).is_err());
    assert!(guest.reasons()[0].ends_with("it is for b.test: allow@a.test"), "{:?}", guest.reasons());
    guest.connect(2001, remote);
    let connection = connections.recv_timeout(TIMEOUT).unwrap();
    let greeting = records(&hello(&[sni("a.test")]), 1000);
    guest.data(2001, remote, 0, &greeting);
    assert_eq!(read(&connection.guest, greeting.len()), greeting);
    // A change of the rules ends it.
    guest.stack.set_rules(network(NetworkDefault::Deny, &[]), None).unwrap();
    while !matches!(guest.receive(), Received::Tcp { to: 2001, reset: true, .. }) {}
}

#[test]
fn a_refused_http_request_is_answered() {
    for (accept, kind, text) in [
        (
            "*/*",
            "text/plain",
            "msb: it is for b.test: allow@a.test\nhint: allow b.test in the `network` rules",
        ),
        (
            "application/json",
            "application/json",
            r#""message":"it is for b.test: allow@a.test","source":"msb"}"#,
        ),
    ] {
        let (server, remote) = listener();
        let (mut guest, _connections) = guest(&["allow@a.test"], 1, 2);
        guest.connect(2000, remote);
        let request = format!("GET / HTTP/1.1\r\nAccept: {accept}\r\nHost: b.test\r\n\r\n");
        guest.data(2000, remote, 0, request.as_bytes());
        wait_for(&mut guest, text);
        let received = String::from_utf8_lossy(&guest.received).into_owned();
        assert!(received.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{received}");
        assert!(received.contains(&format!("Content-Type: {kind}")), "{received}");
        let mut stream = server.accept().unwrap().0;
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert!(!matches!(stream.read(&mut [0; 8]), Ok(1..)), "the server has received something");
        assert_eq!(guest.reasons().len(), 1);
    }
}

#[test]
fn a_later_request_that_is_refused_ends_the_connection() {
    let (server, remote) = listener();
    let (mut guest, _connections) = guest(&["allow@a.test"], 1, 2);
    guest.connect(2000, remote);
    let first = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    guest.data(2000, remote, 0, first);
    assert_eq!(read(&server.accept().unwrap().0, first.len()), first);
    guest.data(2000, remote, first.len(), b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    // Its answer could be taken for that to the first one.
    while !matches!(guest.receive(), Received::Tcp { reset: true, .. }) {}
    assert_eq!(guest.received, b"");
}
