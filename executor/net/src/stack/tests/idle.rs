//! Idle connections: kept while both sides exist, closed when one is gone.

use super::clock::Clocked;
use super::*;
use rustix::net::sockopt;
use std::net::TcpStream;

/// RFC 5382 requires 2 hours 4 minutes.
const LONG: Duration = Duration::from_secs(3 * 60 * 60);

/// A connection of the guest to a server on the host.
struct Idle {
    clocked: Clocked,
    server: TcpStream,
    started: Instant,
    /// The next sequence number that the guest expects.
    expected: u32,
}

impl Idle {
    fn connected() -> Self {
        Self::under(&["allow@loopback"])
    }

    fn under(rules: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut clocked = Clocked::new(network(NetworkDefault::Deny, rules));
        let (localhost, now) = (listener.local_addr().unwrap().ip(), clocked.now);
        clocked.worker.names.pin(localhost, DomainName::new("a.test").unwrap(), now);
        clocked.remote = listener.local_addr().unwrap();
        clocked.syn();
        let segment = TcpPacket::new_checked(clocked.first()).unwrap();
        assert!(segment.syn() && segment.ack());
        let expected = segment.seq_number().0.cast_unsigned().wrapping_add(1);
        let server = listener.accept().unwrap().0;
        let started = clocked.now;
        let mut idle = Self { clocked, server, started, expected };
        idle.send(TcpControl::None, 1001);
        idle.clocked.turn();
        idle
    }

    fn send(&mut self, control: TcpControl, number: u32) {
        let Clocked { guest, remote, .. } = self.clocked;
        self.clocked.send_frame(&tcp_frame(guest, remote, control, (number, Some(self.expected))));
    }

    fn is_open(&self) -> bool {
        !self.clocked.worker.flows.is_empty()
    }

    fn age(&self) -> Duration {
        self.clocked.now - self.started
    }

    /// Advances the clock to the connection's next timer; returns the segments that the guest has received.
    fn wait(&mut self) -> Vec<TcpPacket<Vec<u8>>> {
        let (due, _) = self.clocked.worker.deadlines.first().expect("an idle connection has a timer");
        self.clocked.now = (*due).max(self.clocked.now + Duration::from_millis(1));
        self.clocked.turn();
        self.clocked.segments().into_iter().map(|segment| TcpPacket::new_checked(segment).unwrap()).collect()
    }
}

#[test]
fn an_idle_connection_lives_while_the_guest_answers() {
    let mut idle = Idle::connected();
    let mut probes = 0;
    while idle.age() < LONG {
        for segment in idle.wait() {
            assert!(!segment.rst(), "it was reset after {:?}", idle.age());
            probes += 1;
            idle.send(TcpControl::None, 1001);
        }
        assert!(idle.is_open(), "it was closed after {:?}", idle.age());
    }
    assert!(probes > 10, "the guest was probed {probes} times");
    idle.server.write_all(b"still here").unwrap();
    let segment = idle.clocked.first();
    assert_eq!(TcpPacket::new_checked(&segment[..]).unwrap().payload(), b"still here");
}

#[test]
fn a_connection_of_a_dead_guest_is_closed() {
    let mut idle = Idle::connected();
    while idle.is_open() {
        idle.wait();
        assert!(idle.age() < LONG, "it is still open");
    }
    // A guest that is paused for minutes loses no connection.
    assert!(idle.age() > Duration::from_secs(5 * 60), "it was closed after {:?}", idle.age());
    let error = idle.server.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_is_closed_when_the_guest_has_forgotten_it() {
    let mut idle = Idle::connected();
    // The guest has closed its side and forgotten it; the server continues.
    idle.send(TcpControl::Fin, 1001);
    idle.clocked.turn();
    while idle.is_open() {
        let received = idle.wait();
        assert!(idle.age() < Duration::from_secs(5 * 60), "it is still open");
        if idle.age() > Duration::from_secs(30) && !received.is_empty() {
            idle.send(TcpControl::Rst, 1002);
            idle.clocked.turn();
        }
    }
}

#[test]
fn the_kernel_sends_keep_alive_probes_to_the_host_side() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = crate::host::begin_tcp(listener.local_addr().unwrap()).unwrap();
    assert!(sockopt::socket_keepalive(&stream).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(60));
}

#[test]
fn a_client_that_disconnects_closes_a_half_open_connection() {
    let mut guest = Guest::new(Network::default(), &[]);
    let ports = crate::published::bind(&["0:80".parse().unwrap()].into()).unwrap();
    let client = TcpStream::connect(ports[0].address()).unwrap();
    guest.stack.publish(ports).unwrap();
    let (received, number) = guest.next(TIMEOUT).expect("something comes");
    let Received::Tcp { from, to: 80, syn: true, reset: false } = received else { panic!("{received:?}") };
    guest.tcp(80, from, TcpControl::Syn, (5000, Some(number.wrapping_add(1))));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    // The client's FIN has arrived when nothing more does, and the guest does not close.
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

/// A guest that never closes does not keep the connection of a refused request.
#[test]
fn an_answered_connection_is_aborted_after_a_while() {
    let mut idle = Idle::under(&["allow@a.test"]);
    let request = b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n";
    let Clocked { guest, remote, .. } = idle.clocked;
    idle.clocked.send_frame(&data_frame(
        guest,
        remote,
        TcpControl::Psh,
        (1001, Some(idle.expected)),
        request,
    ));
    idle.clocked.turn();
    assert!(idle.is_open());
    let mut waits = 0;
    while idle.is_open() {
        idle.wait();
        waits += 1;
        assert!(waits < 100, "{:?}", idle.age());
    }
    assert!((9..=12).contains(&idle.age().as_secs()), "{:?}", idle.age());
}
