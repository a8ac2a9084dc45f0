//! The whole network stack of a sandbox, as its guest meets it: frames in, frames out, sockets of the host behind it.
//!
//! With `FUZZ_ISOLATED` set, this process is alone in a network namespace: then the rules allow a server that listens
//! in here. Otherwise nothing is allowed, and no packet leaves the stack.

use crate::bytes::Bytes;
use executor_net::fuzzing::{self, ToGuest};
use executor_net::{Settings, Stack};
use rules::rule::Rule;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use schemas::spec::{Network, NetworkDefault};
use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The largest packet on the link, in bytes.
const MTU: u16 = 1500;
/// How long the stack may take for one ping. A stack that has stopped is a finding.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often a ping that was dropped on a full link is sent again.
const AGAIN: Duration = Duration::from_millis(200);
/// The most steps of one input.
const STEPS_MAX: usize = 64;
/// Where the server listens.
const SERVER_PORT: u16 = 80;

/// The guest's end of a link.
struct Guest {
    link: UnixStream,
    stack: Stack,
    incoming: Vec<u8>,
    /// The next sequence numbers of both ends, by the guest's port.
    numbers: HashMap<u16, (u32, u32)>,
    pings: u16,
}

/// A server that sends back what it is sent, over TCP and UDP.
fn serve() -> bool {
    static SERVES: OnceLock<bool> = OnceLock::new();
    *SERVES.get_or_init(|| {
        if std::env::var_os("FUZZ_ISOLATED").is_none() {
            return false;
        }
        let (Ok(tcp), Ok(udp)) =
            (TcpListener::bind(("127.0.0.1", SERVER_PORT)), UdpSocket::bind(("127.0.0.1", SERVER_PORT)))
        else {
            return false;
        };
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(&buffer[..length], from);
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
                let mut buffer = [0; 2048];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            }
        });
        true
    })
}

fn network(selected: u8) -> Network {
    let rules: &[&str] = match selected % 4 {
        _ if !serve() => &[],
        0 => &["allow@host"],
        1 => &["allow@host:tcp:80"],
        2 => &["allow@host:udp:80", "allow@host.msb.internal:tcp:80"],
        _ => &["deny@host:udp", "allow@host"],
    };
    let rules = rules.iter().filter_map(|text| text.parse::<Rule>().ok());
    Network { default: NetworkDefault::Deny, rules: rules.collect(), ..Network::default() }
}

impl Guest {
    fn new(selected: u8) -> Self {
        let pair =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.expect("a pair of sockets");
        let settings = Settings {
            addresses: fuzzing::addresses(),
            mtu: MTU,
            network: network(selected),
            proxy_password: None,
            ports: executor_net::bind(&std::collections::BTreeSet::new()).expect("no ports"),
            peers: None,
            interception: None,
            counters: Arc::default(),
            on_refusal: Box::new(drop),
            on_allowed: Box::new(drop),
            // A frame that is too long ends the network as specified; a panic ends the fuzzer.
            on_failure: Box::new(drop),
        };
        let link = UnixStream::from(theirs);
        link.set_read_timeout(Some(AGAIN)).expect("a time limit");
        link.set_write_timeout(Some(TIMEOUT)).expect("a time limit");
        let stack = Stack::start(ours, settings).expect("the stack starts");
        Self { link, stack, incoming: Vec::new(), numbers: HashMap::new(), pings: 0 }
    }

    /// Sends a frame. Returns `false` if the stack has closed the link.
    fn send(&mut self, frame: &[u8]) -> bool {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
        match self.link.write_all(&[&length[..], frame].concat()) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("the stack does not read: {error}"),
        }
    }

    /// Waits until the stack has handled all frames, and checks its output. Returns `false` if the link is closed.
    fn settle(&mut self) -> bool {
        self.pings = self.pings.wrapping_add(1);
        let began = Instant::now();
        let ping = fuzzing::ping(self.pings);
        if !self.send(&ping) {
            return false;
        }
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if self.take_frames() {
                return true;
            }
            match self.link.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => self.incoming.extend_from_slice(&buffer[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    assert!(began.elapsed() < TIMEOUT, "the stack has stopped");
                    if !self.send(&ping) {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Checks received frames. Returns whether the last ping's answer was among them.
    fn take_frames(&mut self) -> bool {
        let mut at = 0;
        let mut answered = false;
        while let Some(length) = self.incoming[at..].first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            assert!(length <= 65_535 + 14, "a frame of {length} bytes");
            let Some(frame) = self.incoming.get(at + 4..at + 4 + length) else { break };
            if let Some(ToGuest { port, next }) = fuzzing::check_sent(frame, MTU.into()) {
                self.numbers.entry(port).or_default().1 = next;
            }
            answered |= fuzzing::is_echo(frame, self.pings);
            at += 4 + length;
        }
        self.incoming.drain(..at);
        answered
    }

    /// Returns a TCP segment that continues its connection, with small differences.
    fn tcp(&mut self, input: &mut Bytes<'_>) -> bool {
        let (ports, flags, seq, ack) = (input.byte(), input.byte(), input.byte(), input.byte());
        let port = 4000 + u16::from(ports >> 5);
        let remote = target(ports);
        let length = usize::from(input.byte());
        let data = input.take(length);
        let (next, theirs) = self.numbers.entry(port).or_insert((1000, 0));
        let number = |base: u32, change: u8| base.wrapping_add_signed(i32::from(change.cast_signed()));
        let (seq, ack) = (number(*next, seq), number(*theirs, ack));
        *next = seq.wrapping_add(data.len() as u32 + u32::from(flags & 1) + u32::from(flags >> 1 & 1));
        let mut segment = Vec::new();
        segment.extend_from_slice(&port.to_be_bytes());
        segment.extend_from_slice(&remote.port().to_be_bytes());
        segment.extend_from_slice(&seq.to_be_bytes());
        segment.extend_from_slice(&ack.to_be_bytes());
        segment.extend_from_slice(&[0x50, flags & 0x3f, 0xfa, 0, 0, 0, 0, 0]);
        segment.extend_from_slice(data);
        self.send(&fuzzing::tcp_of_guest(remote.ip(), &segment))
    }
}

/// Where a packet goes: mostly to hosts that answer.
fn target(selected: u8) -> SocketAddr {
    let own = fuzzing::addresses();
    let (ip, port): (IpAddr, u16) = match selected & 7 {
        0 => (own.gateway_ipv4.into(), SERVER_PORT),
        1 => (own.gateway_ipv4.into(), 53),
        2 => (own.gateway_ipv6.into(), 53),
        3 => (own.gateway_ipv4.into(), 443),
        4 => ([1, 2, 3, 4].into(), 443),
        5 => ([127, 0, 0, 1].into(), SERVER_PORT),
        6 => ([0, 0, 0, 0].into(), SERVER_PORT),
        _ => (own.gateway_ipv4.into(), 0),
    };
    SocketAddr::new(ip, port)
}

/// Steps of a guest; afterwards the stack still answers, and it ends when asked to.
pub fn stack(bytes: &[u8]) {
    let mut input = Bytes(bytes);
    let mut guest = Guest::new(input.byte());
    let mut rules = BTreeMap::new();
    for step in 0..STEPS_MAX {
        if input.0.is_empty() {
            break;
        }
        let kind = input.byte();
        let open = match kind & 7 {
            0 | 1 => guest.tcp(&mut input),
            2 => {
                let (ports, length) = (input.byte(), usize::from(input.byte()));
                let data = input.take(length);
                guest.send(&fuzzing::udp_of_guest(4000 + u16::from(ports >> 5), target(ports), data))
            }
            3 => input.part().is_none_or(|frame| guest.send(frame)),
            4 => {
                // Any IP packet in a frame of its type.
                let packet = input.part().unwrap_or_default();
                let ethertype: &[u8] =
                    if packet.first().is_some_and(|first| first >> 4 == 6) { &[0x86, 0xdd] } else { &[8, 0] };
                guest.send(&[&[0; 12][..], ethertype, packet].concat())
            }
            5 => {
                // Without a length the end of the input is its end.
                let _ = guest.link.write_all(input.0);
                return;
            }
            6 => {
                _ = guest.stack.set_rules(network(kind >> 3), None);
                rules.insert(step, kind);
                true
            }
            _ => guest.settle(),
        };
        if !open || (kind & 0x80 != 0 && !guest.settle()) {
            return;
        }
    }
    guest.settle();
}
