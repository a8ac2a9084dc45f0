//! Allowed traffic is recorded with the narrowest peer that a rule can name.

use super::tests::{Guest, TIMEOUT, network};
use super::*;
use crate::allowed::{Allowed, Traffic};
use crate::policy::FlowDirection;
use crate::sni::tests::{hello, records, sni};
use schemas::spec::NetworkDefault;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn name(text: &str) -> DomainName {
    DomainName::new(text).unwrap()
}

fn outbound(protocol: &'static str, name: Option<DomainName>, address: Option<IpAddr>, port: u16) -> Allowed {
    let direction = FlowDirection::Outbound;
    Allowed { traffic: Traffic::Flow { direction, protocol, name, address, port }, count: 1 }
}

/// Ends the network; returns what it has recorded.
fn recorded(guest: Guest) -> Vec<Allowed> {
    let allowed = guest.allowed.clone();
    drop(guest);
    std::mem::take(&mut *allowed.lock().unwrap())
}

#[test]
fn a_connection_is_recorded_by_the_name_that_it_shows() {
    for (shown, is_allowed) in [("b.test", true), ("c.test", false)] {
        let mut guest = Guest::new(network(NetworkDefault::Deny, &["allow@a.test", "allow@b.test"]), &[]);
        for known in ["b.test", "a.test"] {
            guest.stack.tell(Command::Pin(SERVER, name(known)));
        }
        let listener = TcpListener::bind((SERVER, 0)).unwrap();
        let remote = listener.local_addr().unwrap();
        guest.connect(2000, remote);
        let mut server = listener.accept().unwrap().0;
        server.set_read_timeout(Some(TIMEOUT)).unwrap();
        // Before the name is known, nothing is.
        assert_eq!(*guest.allowed.lock().unwrap(), []);
        let greeting = records(&hello(&[sni(shown)]), 1000);
        guest.data(2000, remote, 0, &greeting);
        let mut received = vec![0; greeting.len()];
        assert_eq!(server.read_exact(&mut received).is_ok(), is_allowed);
        // A public address would not be needed.
        let expected = outbound("tcp", Some(name(shown)), Some(SERVER), remote.port());
        assert_eq!(recorded(guest), Vec::from_iter(is_allowed.then_some(expected)));
    }
}

#[test]
fn without_a_shown_name_the_last_answer_counts() {
    let mut guest = Guest::new(network(NetworkDefault::Allow, &[]), &[]);
    let socket = UdpSocket::bind((SERVER, 0)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let remote = socket.local_addr().unwrap();
    for known in ["a.test", "b.test"] {
        guest.stack.tell(Command::Pin(SERVER, name(known)));
    }
    for _ in 0..2 {
        guest.udp(remote, b"x");
        socket.recv(&mut [0; 8]).unwrap();
    }
    // Both packets are of one flow.
    assert_eq!(recorded(guest), [outbound("udp", Some(name("b.test")), Some(SERVER), remote.port())]);
}

#[test]
fn the_host_is_recorded_by_its_name_alone() {
    let mut guest = Guest::new(network(NetworkDefault::Deny, &["allow@host"]), &[]);
    let listener = TcpListener::bind((SERVER, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let gateway = guest.gateway(port);
    guest.connect(2000, gateway);
    listener.accept().unwrap();
    // A refused connection is not recorded.
    guest.syn(2001, SocketAddr::from(([8, 8, 8, 8], 80)));
    guest.receive();
    assert_eq!(recorded(guest), [outbound("tcp", Some(name(HOST_NAME)), None, port)]);
}

#[test]
fn clients_of_published_ports_are_recorded() {
    let free = TcpListener::bind((SERVER, 0)).unwrap().local_addr().unwrap();
    let mut guest = Guest::new(network(NetworkDefault::Public, &[]), &[&format!("{}:80", free.port())]);
    let _client = TcpStream::connect(free).unwrap();
    // The SYN to the guest.
    guest.receive();
    let traffic = Traffic::Flow {
        direction: FlowDirection::Inbound,
        protocol: "tcp",
        name: None,
        address: Some(SERVER),
        port: 80,
    };
    assert_eq!(recorded(guest), [Allowed { traffic, count: 1 }]);
}
