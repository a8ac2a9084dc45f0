//! Connections to servers of the test itself.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use protocol::frame::FrameDecoder;
use protocol::latest::{Message, TCP_WINDOW_BYTES, TcpAck, TcpData};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, create};
use rustix::fs::{OFlags, fcntl_setfl};

use super::*;

const ID: u32 = 7;
/// No event takes this long, on a busy machine.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// A table of connections, and the host at the other end of its link.
struct Fixture {
    epoll: Rc<OwnedFd>,
    connections: Connections,
    link: Link,
    host: UnixStream,
    decoder: FrameDecoder,
}

impl Fixture {
    fn new() -> Self {
        let epoll = Rc::new(create(CreateFlags::CLOEXEC).unwrap());
        let (host, guest) = UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        let guest = OwnedFd::from(guest);
        fcntl_setfl(&guest, OFlags::NONBLOCK).unwrap();
        let mut link = Link::new(&epoll, guest, 0).unwrap();
        link.flush();
        let connections = Connections::new(Rc::clone(&epoll));
        Self { epoll, connections, link, host, decoder: FrameDecoder::new() }
    }

    fn open(&mut self, host: &str, port: u16, acks: bool) {
        self.connections.open(ID, &TcpConnect { host: host.to_owned(), port, acks }, &mut self.link);
    }

    /// Opens a connection to a new server; returns the server's end.
    fn connected(&mut self, acks: bool) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.open("127.0.0.1", listener.local_addr().unwrap().port(), acks);
        assert!(matches!(self.next(), Message::TcpConnected(_)));
        listener.accept().unwrap().0
    }

    /// Handles events until there is a message for the host.
    fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.received() {
                return message;
            }
            assert!(self.turn(PATIENCE), "nothing happens");
        }
    }

    /// Handles the events of one wait; returns whether there were some.
    fn turn(&mut self, patience: Timespec) -> bool {
        let mut events: Vec<Event> = Vec::with_capacity(8);
        epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience)).unwrap();
        let mut scratch = vec![0; 64 * 1024];
        for event in &events {
            if event.data.u64() >= FIRST_TOKEN {
                self.connections.on_ready(event.data.u64(), &mut scratch, &mut self.link);
            }
        }
        self.link.flush();
        self.connections.update_watches(&self.link);
        !events.is_empty()
    }

    fn received(&mut self) -> Option<Message> {
        self.link.flush();
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = self.host.read(&mut buffer) {
            self.decoder.feed(&buffer[..count]);
        }
        let frame = self.decoder.next_frame().unwrap()?;
        assert_eq!(frame.id(), ID);
        Some(Message::decode(&frame).unwrap())
    }

    fn failure(&mut self) -> TcpFailed {
        match self.next() {
            Message::TcpFailed(failed) => failed,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn data_and_ends_go_both_ways() {
    let mut fixture = Fixture::new();
    let mut server = fixture.connected(true);
    fixture.connections.take_data(ID, b"to the server".to_vec(), &mut fixture.link);
    assert_eq!(fixture.next(), TcpAck { bytes: 13 }.into());
    fixture.connections.take_eof(ID, &mut fixture.link);
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    assert_eq!(text, "to the server");
    server.write_all(b"to the client").unwrap();
    assert_eq!(fixture.next(), TcpData { data: b"to the client".to_vec() }.into());
    server.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(fixture.next(), Message::TcpEof(_)));
    assert!(matches!(fixture.next(), Message::TcpClosed(_)));
    assert!(!fixture.connections.contains(ID));
}

#[test]
fn a_host_that_cannot_be_reached_is_an_answer() {
    let mut fixture = Fixture::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Nothing listens at either of its addresses.
    fixture.open("localhost", port, false);
    let failed = fixture.failure();
    // The last address is that of IPv6, which this machine may not have.
    let names = ["ECONNREFUSED", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ENETUNREACH"];
    assert!(names.contains(&failed.errno_name.as_deref().unwrap_or_default()), "{failed:?}");
    fixture.open("no.such.name", port, false);
    assert!(fixture.failure().error.contains("/etc/hosts"));
    assert!(!fixture.connections.contains(ID));
}

#[test]
fn a_client_that_acknowledges_gets_no_more_than_its_window() {
    let mut fixture = Fixture::new();
    let mut server = fixture.connected(true);
    let total = 3 * TCP_WINDOW_BYTES as usize;
    let writer = std::thread::spawn(move || server.write_all(&vec![7; total]).unwrap());
    let quiet = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let (mut received, mut acknowledged, mut ended) = (0, 0, false);
    while !ended {
        while fixture.turn(quiet) {}
        while let Some(message) = fixture.received() {
            match message {
                Message::TcpData(data) => received += data.data.len() as u64,
                Message::TcpEof(_) => ended = true,
                other => panic!("{other:?}"),
            }
        }
        // The last read may exceed it by less than its size.
        assert!(received < acknowledged + TCP_WINDOW_BYTES + 64 * 1024, "{received} {acknowledged}");
        acknowledged = received;
        fixture.connections.take_ack(ID, acknowledged, &mut fixture.link);
    }
    assert_eq!(received, total as u64);
    writer.join().unwrap();
}

#[test]
fn a_client_that_floods_a_server_that_does_not_read_is_told_so() {
    let mut fixture = Fixture::new();
    let _server = fixture.connected(false);
    for _ in 0..64 {
        if !fixture.connections.contains(ID) {
            break;
        }
        fixture.connections.take_data(ID, vec![0; TCP_WINDOW_BYTES as usize / 2], &mut fixture.link);
    }
    let failed = fixture.failure();
    assert_eq!(failed.errno_name.as_deref(), Some("ENOBUFS"));
    // Later data of the same client is no error.
    fixture.connections.take_data(ID, vec![0], &mut fixture.link);
    assert_eq!(fixture.received(), None);
}

#[test]
fn a_closed_connection_is_closed_for_the_server_too() {
    let mut fixture = Fixture::new();
    let mut server = fixture.connected(false);
    fixture.connections.close(ID, &mut fixture.link);
    assert!(matches!(fixture.next(), Message::TcpClosed(_)));
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    let mut server = fixture.connected(false);
    fixture.connections.disconnect(..);
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(fixture.received(), None);
}

#[test]
fn names_come_from_the_hosts_file() {
    let hosts = "127.0.0.1 localhost\n# 10.0.0.1 web\n10.0.0.2\tdb Web # web\nnonsense web\nfd00::2 web\n";
    assert_eq!(named(hosts, "web"), ["10.0.0.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]);
    assert_eq!(named(hosts, "other"), Vec::<IpAddr>::new());
    assert_eq!(addresses("[::1]", 80), ["[::1]:80".parse().unwrap()]);
}
