//! Connections on which nothing happens: kept while both ends exist, ended when one is gone.

use super::*;
use crate::link::{LinkDevice, TxQueue};
use crate::stack::tcp::{Flow, Next, Phase, Wire};
use rustix::net::sockopt;
use std::net::TcpStream;

/// What RFC 5382 asks for is 2 hours 4 minutes.
const LONG: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(3 * 60 * 60);

/// One connection of a guest, without a stack: the test says what time it is.
struct Rig {
    flow: Flow,
    interface: Interface,
    tx: TxQueue,
    link: (UnixStream, UnixStream),
    now: smoltcp::time::Instant,
    key: FlowKey,
    /// The host's end.
    server: TcpStream,
    /// The next number that the guest expects.
    expected: u32,
}

impl Rig {
    fn connected() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let stream = TcpStream::connect(remote).unwrap();
        stream.set_nonblocking(true).unwrap();
        let server = listener.accept().unwrap().0;
        let addresses = Pools::default().addresses(7).unwrap();
        let key = FlowKey { guest: SocketAddr::new(addresses.guest_ipv4.into(), 2000), remote };
        let mut tx = TxQueue::default();
        let mut port = LinkDevice { rx: None, tx: &mut tx, mtu: 1500 };
        let now = smoltcp::time::Instant::ZERO;
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut port, now);
        interface::accept_all_addresses(&mut interface, &addresses);
        let grant = Budget::new(4096).reserve(budget::FlowKind::Outbound).unwrap();
        let mut flow = Flow::outbound(key, stream, Vec::new(), grant);
        flow.phase = Phase::Open;
        (flow.readable, flow.writable) = (true, true);
        let link = UnixStream::pair().unwrap();
        link.1.set_nonblocking(true).unwrap();
        let mut rig = Self { flow, interface, tx, link, now, key, server, expected: 0 };
        let syn = tcp_frame(key.guest, remote, TcpControl::Syn, (1000, None));
        rig.flow
            .accept(&syn[wire::ETHERNET_BYTES..], &mut Wire::new(&mut rig.interface, &mut rig.tx, now, 1500));
        rig.advance();
        let (_, number, _) = rig.received().pop().expect("the connection is accepted");
        rig.expected = number.wrapping_add(1);
        rig.acknowledge();
        rig
    }

    fn advance(&mut self) -> Next {
        let mut wire = Wire::new(&mut self.interface, &mut self.tx, self.now, 1500);
        self.flow.advance(&mut wire)
    }

    /// What has come to the guest: whether it is a reset, its number, and its data.
    fn received(&mut self) -> Vec<(bool, u32, Vec<u8>)> {
        self.tx.flush(&self.link.0).unwrap();
        let mut bytes = Vec::new();
        let _ = self.link.1.read_to_end(&mut bytes);
        let mut rest = &bytes[..];
        let mut segments = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (frame, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            rest = tail;
            let Frame::Ip(packet) = wire::read_frame(frame) else { panic!("only IP comes") };
            let segment = TcpPacket::new_checked(packet.payload).unwrap();
            let number = segment.seq_number().0.cast_unsigned();
            segments.push((segment.rst(), number, segment.payload().to_vec()));
        }
        segments
    }

    fn acknowledge(&mut self) {
        let FlowKey { guest, remote } = self.key;
        let frame = tcp_frame(guest, remote, TcpControl::None, (1001, Some(self.expected)));
        let mut wire = Wire::new(&mut self.interface, &mut self.tx, self.now, 1500);
        self.flow.take(&frame[wire::ETHERNET_BYTES..], &mut wire);
    }

    /// Lets the time go on to when the connection wants to be looked at.
    fn wait(&mut self) -> Next {
        let next = self.advance();
        if let Next::Continue(due) = next {
            let due = due.expect("an idle connection is looked at now and then");
            self.now = due.max(self.now + smoltcp::time::Duration::from_millis(1));
        }
        next
    }
}

#[test]
fn an_idle_connection_lives_while_the_guest_answers() {
    let mut rig = Rig::connected();
    let mut probes = 0;
    while rig.now < smoltcp::time::Instant::ZERO + LONG {
        assert!(matches!(rig.wait(), Next::Continue(_)), "it ended at {}", rig.now);
        for (reset, ..) in rig.received() {
            assert!(!reset, "it was reset at {}", rig.now);
            probes += 1;
            rig.acknowledge();
        }
    }
    assert!(probes > 10, "the guest was asked {probes} times");
    rig.server.write_all(b"still here").unwrap();
    rig.flow.readable = true;
    rig.advance();
    assert_eq!(rig.received().pop().unwrap().2, b"still here");
}

#[test]
fn a_connection_of_a_guest_that_no_longer_answers_ends() {
    let mut rig = Rig::connected();
    while rig.wait() != Next::Closed {
        assert!(rig.now < smoltcp::time::Instant::ZERO + LONG, "it lives on");
    }
    // Minutes of a paused guest end nothing.
    assert!(rig.now > smoltcp::time::Instant::from_secs(5 * 60), "it ended at {}", rig.now);
    drop(rig.flow);
    let error = rig.server.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_whose_end_in_the_guest_is_gone_ends() {
    let mut rig = Rig::connected();
    // The guest has closed its end and forgotten it; the server goes on.
    let FlowKey { guest, remote } = rig.key;
    let close = tcp_frame(guest, remote, TcpControl::Fin, (1001, Some(rig.expected)));
    let mut wire = Wire::new(&mut rig.interface, &mut rig.tx, rig.now, 1500);
    rig.flow.take(&close[wire::ETHERNET_BYTES..], &mut wire);
    loop {
        match rig.wait() {
            Next::Closed => break,
            next => assert!(matches!(next, Next::Continue(_))),
        }
        assert!(rig.now < smoltcp::time::Instant::from_secs(5 * 60), "it lives on");
        if rig.now > smoltcp::time::Instant::from_secs(30) && !rig.received().is_empty() {
            let reset = tcp_frame(guest, remote, TcpControl::Rst, (1002, Some(rig.expected)));
            let mut wire = Wire::new(&mut rig.interface, &mut rig.tx, rig.now, 1500);
            rig.flow.take(&reset[wire::ETHERNET_BYTES..], &mut wire);
        }
    }
}

#[test]
fn the_kernel_probes_the_other_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = crate::host::begin_tcp(listener.local_addr().unwrap()).unwrap();
    assert!(sockopt::socket_keepalive(&stream).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(60));
}

#[test]
fn a_client_that_has_gone_ends_a_connection_that_the_guest_keeps() {
    let mut guest = Guest::new(Network::default(), &[]);
    let ports = crate::published::bind(&["0:80".parse().unwrap()].into()).unwrap();
    let client = TcpStream::connect(ports[0].address()).unwrap();
    guest.stack.publish(ports).unwrap();
    let (received, number) = guest.next(TIMEOUT).expect("something comes");
    let Received::Tcp { from, to: 80, syn: true, reset: false } = received else { panic!("{received:?}") };
    guest.tcp(80, from, TcpControl::Syn, (5000, Some(number.wrapping_add(1))));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    // The client's end of stream has come when nothing more comes, and the guest does not close.
    while let Some((received, _)) = guest.next(SILENCE) {
        assert!(matches!(received, Received::Tcp { reset: false, .. }), "{received:?}");
    }
    guest.tcp(80, from, TcpControl::None, (5001, Some(number.wrapping_add(2))));
    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    loop {
        let (received, _) = guest.next(TIMEOUT).expect("a reset comes");
        if matches!(received, Received::Tcp { reset: true, .. }) {
            break;
        }
    }
}
