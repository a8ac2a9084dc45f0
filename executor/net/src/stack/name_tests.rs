//! Connections that a rule allows by name, from the guest's and the server's view.

use super::tests::{Guest, Received, TIMEOUT, network};
use super::*;
use crate::sni::tests::{hello, records, sni};
use schemas::spec::NetworkDefault;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn guest(rules: &[&str], names: &[&str]) -> Guest {
    let guest = Guest::new(network(NetworkDefault::Deny, rules), &[]);
    for name in names {
        guest.stack.tell(Command::Pin(SERVER, DomainName::new(name).unwrap()));
    }
    guest
}

/// A connection on which the guest sends one byte at a time.
struct Exchange {
    guest: Guest,
    remote: SocketAddr,
    server: TcpStream,
}

impl Exchange {
    fn begin(mut guest: Guest) -> Self {
        let listener = TcpListener::bind((SERVER, 0)).unwrap();
        let remote = listener.local_addr().unwrap();
        guest.connect(2000, remote);
        let mut server = listener.accept().unwrap().0;
        server.set_read_timeout(Some(TIMEOUT)).unwrap();
        // A server that speaks first is heard at once.
        server.write_all(b"220 hello\r\n").unwrap();
        assert_eq!(guest.receive(), Received::Tcp { from: remote, to: 2000, syn: false, reset: false });
        Self { guest, remote, server }
    }

    fn send(&mut self, bytes: &[u8]) {
        for (sent, byte) in bytes.iter().enumerate() {
            self.guest.data(2000, self.remote, sent, &[*byte]);
        }
    }

    /// Whether all bytes arrive.
    fn arrives(&mut self, bytes: &[u8]) -> bool {
        let mut received = vec![0; bytes.len()];
        match self.server.read_exact(&mut received) {
            Ok(()) => received == bytes,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
                    "{error}"
                );
                false
            }
        }
    }
}

#[test]
fn server_names_are_checked_on_every_port_before_data_passes() {
    let tls = |name: &str| records(&hello(&[sni(name)]), 1000);
    let postgres = [0, 0, 0, 8, 4, 210, 22, 47];
    for (bytes, refusal) in [
        (tls("a.test"), None),
        (tls("b.test"), Some("it is for b.test")),
        (records(&hello(&[]), 1000), Some("its TLS greeting shows no name")),
        (records(&hello(&[sni("a.test"), (0xfe0d, vec![0; 8])]), 9), Some("its TLS greeting encrypts")),
        ([&postgres[..], &tls("a.test")].concat(), None),
        ([&postgres[..], &tls("b.test")].concat(), Some("it is for b.test")),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), None),
        (b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n".to_vec(), Some("it is for b.test")),
        (
            b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost: b.test\r\n\r\n".to_vec(),
            Some("it is for b.test"),
        ),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), Some("its HTTP request shows no name")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Some("it speaks HTTP/2 without TLS")),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), None),
        (b"EHLO me.test\r\n".to_vec(), None),
    ] {
        let mut exchange = Exchange::begin(guest(&["allow@a.test"], &["a.test", "b.test"]));
        exchange.send(&bytes);
        let server_name = String::from_utf8_lossy(&bytes);
        assert_eq!(exchange.arrives(&bytes), refusal.is_none(), "{server_name:?}");
        let reasons = exchange.guest.reasons();
        assert_eq!(reasons.len(), usize::from(refusal.is_some()), "{server_name:?}: {reasons:?}");
        if let Some(refusal) = refusal {
            // The name that it shows, if the sandbox resolved the address by that too.
            let name = if refusal.contains("b.test") { "b.test" } else { "a.test" };
            let begins = format!("tcp to {} ({name}): {refusal}", exchange.remote);
            assert!(reasons[0].starts_with(&begins) && reasons[0].ends_with(": allow@a.test"), "{reasons:?}");
        }
    }
}

#[test]
fn open_connections_are_reevaluated_by_their_server_name() {
    let request = |name: &str| format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").into_bytes();
    let cut = "cut: the rules have changed";
    for (before, bytes, after, is_cut) in [
        (&["allow@a.test", "allow@b.test"][..], request("b.test"), &["allow@a.test"][..], true),
        (&["allow@a.test", "allow@b.test"], request("b.test"), &["allow@b.test"], false),
        (&["allow@a.test", "allow@b.test"], b"SSH-2.0-x\r\n".to_vec(), &["allow@a.test"], false),
        // Data that passed without inspection.
        (&["allow@loopback"], request("b.test"), &["allow@a.test"], true),
        (&["allow@b.test"], request("b.test"), &["allow@loopback"], false),
    ] {
        let mut exchange = Exchange::begin(guest(before, &["a.test", "b.test"]));
        exchange.send(&bytes);
        assert!(exchange.arrives(&bytes), "{before:?}");
        exchange.guest.stack.set_rules(network(NetworkDefault::Deny, after), None).unwrap();
        let reasons = exchange.guest.reasons();
        assert_eq!(reasons.iter().any(|reason| reason.ends_with(cut)), is_cut, "{after:?}: {reasons:?}");
        exchange.guest.data(2000, exchange.remote, bytes.len(), &request("b.test"));
        assert_eq!(exchange.arrives(&request("b.test")), !is_cut, "{after:?}");
    }
}

#[test]
fn quic_is_refused_on_every_port_where_a_name_decides() {
    let server = UdpSocket::bind((SERVER, 0)).unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let remote = server.local_addr().unwrap();
    let greeting = [&[0xc3, 0, 0, 0, 1, 8][..], &[7; 1200]].concat();
    let mut named = guest(&["allow@a.test"], &["a.test"]);
    named.udp(remote, &greeting);
    assert_eq!(named.receive(), Received::Unreachable { from: SERVER });
    named.udp(remote, b"ping");
    assert_eq!(server.recv(&mut [0; 2000]).unwrap(), 4);
    // It does not pass after another packet either.
    named.udp(remote, &greeting);
    assert_eq!(named.receive(), Received::Unreachable { from: SERVER });
    assert!(named.reasons()[0].ends_with("QUIC shows no name: allow@a.test"), "{:?}", named.reasons());
    let mut open = guest(&["allow@loopback"], &["a.test"]);
    open.udp(remote, &greeting);
    assert_eq!(server.recv(&mut [0; 2000]).unwrap(), greeting.len());
}
