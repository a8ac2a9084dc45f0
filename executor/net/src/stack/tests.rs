//! The stack from the guest's view, frame by frame.

mod addresses;
mod clock;
mod idle;
mod limits;

use super::rules::PolicyEvaluator;
use super::*;
use crate::address::Pools;
use crate::allowed::Allowed;
use crate::dns::NameRules;
use crate::event::{Refusal, Subject};
use crate::peer::{self, ConnectRequest, Transport};
use crate::wire::{self, Frame};
use rustix::event::{EventfdFlags, eventfd};
use schemas::name::{ProjectName, SandboxName};
use schemas::spec::NetworkDefault;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

/// The timeout for events that must happen.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);
/// How long nothing may arrive to count as silence.
const SILENCE: Duration = Duration::from_millis(300);

pub(super) fn network(default: NetworkDefault, rules: &[&str]) -> Network {
    let rules = rules.iter().map(|text| text.parse().unwrap()).collect();
    Network { default, rules, ..Network::default() }
}

pub(super) struct Guest {
    link: UnixStream,
    pub(super) stack: Stack,
    counters: Arc<Counters>,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    pub(super) allowed: Arc<Mutex<Vec<Allowed>>>,
    addresses: Addresses,
    /// The next sequence number of the last remote.
    acknowledged: u32,
    /// The TCP data received so far, of all connections.
    pub(super) received: Vec<u8>,
    failure: mpsc::Receiver<String>,
}

/// A frame that the guest receives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Tcp { from: SocketAddr, to: u16, syn: bool, reset: bool },
    Udp { from: SocketAddr, to: u16, data: Vec<u8> },
    Unreachable { from: IpAddr },
    Other,
}

impl Guest {
    pub(super) fn new(network: Network, ports: &[&str]) -> Self {
        Self::among(network, ports, None)
    }

    fn among(network: Network, ports: &[&str], peers: Option<PeerDirectory>) -> Self {
        Self::with(network, ports, peers, None)
    }

    pub(super) fn with(
        network: Network,
        ports: &[&str],
        peers: Option<PeerDirectory>,
        interception: Option<Interception>,
    ) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let reports = refusals.clone();
        let allowed = Arc::new(Mutex::new(Vec::new()));
        let recorded = allowed.clone();
        let (failed, failure) = mpsc::channel();
        let addresses = Pools::default().addresses(7).unwrap();
        let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
        let counters = Arc::<Counters>::default();
        let settings = Settings {
            addresses,
            mtu: 1500,
            network,
            proxy_password: None,
            ports: crate::published::bind(&ports).unwrap(),
            peers,
            interception,
            counters: counters.clone(),
            on_refusal: Box::new(move |refusal| reports.lock().unwrap().push(refusal)),
            on_allowed: Box::new(move |one| recorded.lock().unwrap().push(one)),
            on_failure: Box::new(move |why| drop(failed.send(why))),
        };
        let stack = Stack::start(ours.into(), settings).unwrap();
        Self {
            link: theirs,
            stack,
            counters,
            refusals,
            allowed,
            addresses,
            acknowledged: 0,
            received: Vec::new(),
            failure,
        }
    }

    fn own(&self, remote: SocketAddr, port: u16) -> SocketAddr {
        let ip = match remote {
            SocketAddr::V4(_) => self.addresses.guest_ipv4.into(),
            SocketAddr::V6(_) => self.addresses.guest_ipv6.into(),
        };
        SocketAddr::new(ip, port)
    }

    pub(super) fn gateway(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.addresses.gateway_ipv4.into(), port)
    }

    fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.link.write_all(&[&length[..], frame].concat()).unwrap();
    }

    pub(super) fn udp(&mut self, remote: SocketAddr, data: &[u8]) {
        self.udp_from(4000, remote, data);
    }

    fn udp_from(&mut self, port: u16, remote: SocketAddr, data: &[u8]) {
        self.send(&wire::udp_frame(self.own(remote, port), remote, data));
    }

    fn tcp(&mut self, port: u16, remote: SocketAddr, control: TcpControl, numbers: (u32, Option<u32>)) {
        self.send(&tcp_frame(self.own(remote, port), remote, control, numbers));
    }

    /// Sends data after `sent` bytes of earlier data.
    pub(super) fn data(&mut self, port: u16, remote: SocketAddr, sent: usize, payload: &[u8]) {
        let numbers = (1001 + u32::try_from(sent).unwrap(), Some(self.acknowledged));
        self.send(&data_frame(self.own(remote, port), remote, TcpControl::Psh, numbers, payload));
    }

    pub(super) fn syn(&mut self, port: u16, remote: SocketAddr) {
        self.tcp(port, remote, TcpControl::Syn, (1000, None));
    }

    /// The next frame and its TCP sequence number; `None` on a timeout.
    pub(super) fn next(&mut self, timeout: Duration) -> Option<(Received, u32)> {
        self.link.set_read_timeout(Some(timeout)).unwrap();
        let mut length = [0; 4];
        self.link.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.link.read_exact(&mut frame).unwrap();
        let Frame::Ip(packet) = wire::read_frame(&frame) else { return Some((Received::Other, 0)) };
        if let Some(segment) = packet.tcp() {
            let from = SocketAddr::new(packet.source, segment.src_port());
            let (to, syn, reset) = (segment.dst_port(), segment.syn(), segment.rst());
            self.received.extend_from_slice(segment.payload());
            let number = segment.seq_number().0.cast_unsigned();
            return Some((Received::Tcp { from, to, syn, reset }, number));
        }
        let received = if let Some(datagram) = packet.udp() {
            let from = SocketAddr::new(packet.source, datagram.src_port());
            Received::Udp { from, to: datagram.dst_port(), data: datagram.payload().to_vec() }
        } else if matches!(packet.protocol, IpProtocol::Icmp | IpProtocol::Icmpv6)
            && matches!(packet.payload[0], 1 | 3)
        {
            Received::Unreachable { from: packet.source }
        } else {
            Received::Other
        };
        Some((received, 0))
    }

    pub(super) fn receive(&mut self) -> Received {
        self.next(TIMEOUT).expect("something comes").0
    }

    pub(super) fn reset(&mut self, port: u16, remote: SocketAddr) {
        self.tcp(port, remote, TcpControl::Rst, (1001, None));
    }

    pub(super) fn connect(&mut self, port: u16, remote: SocketAddr) {
        self.syn(port, remote);
        self.answered(port, remote);
    }

    /// Waits until a SYN is answered.
    pub(super) fn answered(&mut self, port: u16, remote: SocketAddr) {
        let (received, number) = self.next(TIMEOUT).expect("something comes");
        assert_eq!(received, Received::Tcp { from: remote, to: port, syn: true, reset: false });
        self.acknowledged = number.wrapping_add(1);
        self.tcp(port, remote, TcpControl::None, (1001, Some(self.acknowledged)));
    }

    pub(super) fn reasons(&self) -> Vec<String> {
        let reports = |Refusal { subject, reason, count }: &Refusal| {
            assert_eq!(*count, 1);
            match subject {
                Subject::Out { protocol, target, name } => {
                    let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
                    format!("{protocol} to {target}{name}: {}", reason.text)
                }
                Subject::In { protocol, peer, port, name: _ } => {
                    format!("{protocol} from {peer} to port {port}: {}", reason.text)
                }
                other => panic!("{other:?}"),
            }
        };
        self.refusals.lock().unwrap().iter().map(reports).collect()
    }
}

/// A TCP segment without data from the guest.
fn tcp_frame(
    own: SocketAddr,
    remote: SocketAddr,
    control: TcpControl,
    numbers: (u32, Option<u32>),
) -> Vec<u8> {
    data_frame(own, remote, control, numbers, &[])
}

fn data_frame(
    own: SocketAddr,
    remote: SocketAddr,
    control: TcpControl,
    numbers: (u32, Option<u32>),
    payload: &[u8],
) -> Vec<u8> {
    let number = |number: u32| TcpSeqNumber(number.cast_signed());
    let repr = TcpRepr {
        src_port: own.port(),
        dst_port: remote.port(),
        control,
        seq_number: number(numbers.0),
        ack_number: numbers.1.map(number),
        window_len: 64_000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let mut segment = vec![0; repr.buffer_len()];
    let (source, target) = (own.ip().into(), remote.ip().into());
    let mut packet = TcpPacket::new_unchecked(&mut segment);
    repr.emit(&mut packet, &source, &target, &ChecksumCapabilities::default());
    let header = wire::ip_header(own.ip(), remote.ip(), IpProtocol::Tcp, segment.len());
    wire::ip_frame(&header, |buffer| buffer.copy_from_slice(&segment))
}

const NOT_PUBLIC: [&str; 10] = [
    "10.1.2.3:5000",
    "169.254.169.254:5000",
    "100.64.0.1:5000",
    "127.0.0.1:5000",
    "[::1]:5000",
    "[fd12::7]:5000",
    "[::ffff:10.1.2.3]:5000",
    "[64:ff9b::a9fe:a9fe]:5000",
    "[2002:a01:203::1]:5000",
    "[2001:0:808:808:0:0:3f57:fffe]:5000",
];

#[test]
fn refused_tcp_connections_are_reset_at_once_and_reported() {
    let mut guest = Guest::new(Network::default(), &[]);
    for (port, remote) in (2000..).zip(NOT_PUBLIC) {
        let remote = remote.parse().unwrap();
        guest.syn(port, remote);
        assert_eq!(
            guest.receive(),
            Received::Tcp { from: remote, to: port, syn: false, reset: true },
            "{remote}"
        );
        assert_eq!(guest.reasons().last().unwrap(), &format!("tcp to {remote}: no rule allows it"));
    }
}

#[test]
fn refused_udp_packets_are_unreachable_at_once_and_reported() {
    let mut guest = Guest::new(Network::default(), &[]);
    for remote in NOT_PUBLIC {
        let remote: SocketAddr = remote.parse().unwrap();
        guest.udp(remote, b"ping");
        assert_eq!(guest.receive(), Received::Unreachable { from: remote.ip() }, "{remote}");
        assert_eq!(guest.reasons().last().unwrap(), &format!("udp to {remote}: no rule allows it"));
    }
}

#[test]
fn more_udp_flows_than_the_limit_are_refused() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let most = Budget::of_process(false).udp_flows;
    let mut guest = Guest::new(network(NetworkDefault::Deny, &["allow@host"]), &[]);
    let remote = guest.gateway(silent.local_addr().unwrap().port());
    for port in (10_000..).take(most) {
        guest.udp_from(port, remote, b"ping");
        silent.recv_from(&mut [0; 16]).unwrap();
    }
    guest.udp_from(9999, remote, b"ping");
    assert_eq!(guest.receive(), Received::Unreachable { from: remote.ip() });
    let reason = format!("udp to {remote} (host.msb.internal): there are {most} UDP flows already");
    assert_eq!(guest.reasons(), [reason]);
}

#[test]
fn open_connections_follow_the_rules() {
    let [kept, cut] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let mut guest = Guest::new(network(NetworkDefault::Deny, &["allow@host"]), &[]);
    let (kept_at, cut_at) = (guest.gateway(port(&kept)), guest.gateway(port(&cut)));
    guest.connect(2000, kept_at);
    guest.connect(2001, cut_at);
    let (mut kept, mut cut) = (kept.accept().unwrap().0, cut.accept().unwrap().0);
    // The guest's acknowledgement has arrived.
    cut.write_all(b"on").unwrap();
    assert_eq!(guest.receive(), Received::Tcp { from: cut_at, to: 2001, syn: false, reset: false });
    let deny = format!("deny@host:tcp:{}", cut_at.port());
    guest.stack.set_rules(network(NetworkDefault::Deny, &[&deny, "allow@host"]), None).unwrap();
    assert_eq!(guest.receive(), Received::Tcp { from: cut_at, to: 2001, syn: false, reset: true });
    cut.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert!(
        cut.read(&mut [0])
            .map_or_else(|error| error.kind() == io::ErrorKind::ConnectionReset, |count| count == 0)
    );
    assert_eq!(
        guest.reasons(),
        [format!("tcp to {cut_at} (host.msb.internal): cut: the rules have changed")]
    );
    kept.write_all(b"on").unwrap();
    assert_eq!(guest.receive(), Received::Tcp { from: kept_at, to: 2000, syn: false, reset: false });
}

#[test]
fn udp_flows_follow_the_rules() {
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut guest = Guest::new(network(NetworkDefault::Deny, &["allow@host"]), &[]);
    let remote = guest.gateway(echo.local_addr().unwrap().port());
    guest.udp(remote, b"ping");
    let (count, peer) = echo.recv_from(&mut [0; 16]).unwrap();
    echo.send_to(b"pong", peer).unwrap();
    assert_eq!(
        (count, guest.receive()),
        (4, Received::Udp { from: remote, to: 4000, data: b"pong".to_vec() })
    );
    // Ethernet, IPv4 and UDP headers, and 4 bytes each.
    assert_eq!((guest.counters.sent_bytes(), guest.counters.received_bytes()), (46, 46));
    assert_eq!(guest.counters.refusals(), 0);
    guest.stack.set_rules(network(NetworkDefault::Deny, &[]), None).unwrap();
    guest.udp(remote, b"ping");
    assert_eq!(guest.receive(), Received::Unreachable { from: remote.ip() });
    guest.udp(remote, b"ping");
    assert_eq!(guest.receive(), Received::Unreachable { from: remote.ip() });
    assert_eq!(guest.counters.refusals(), 2, "repeats count");
    // Late data of the remote arrives nowhere.
    echo.send_to(b"late", peer).unwrap();
    assert_eq!(guest.next(SILENCE), None);
}

#[test]
fn clients_of_published_ports_follow_the_rules() {
    let mut guest = Guest::new(Network::default(), &[]);
    let ports =
        crate::published::bind(&["0:53/udp".parse().unwrap(), "0:54/udp".parse().unwrap()].into()).unwrap();
    let at: Vec<SocketAddr> = ports.iter().map(|bound| bound.address().into()).collect();
    guest.stack.publish(ports).unwrap();
    let [kept, cut] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut seen = Vec::new();
    for (peer, at) in [&kept, &cut].into_iter().zip(&at) {
        peer.send_to(b"hello", at).unwrap();
        let Received::Udp { from, to, data } = guest.receive() else { panic!("no packet") };
        assert_eq!(data, b"hello");
        // And the reply.
        guest.send(&wire::udp_frame(guest.own(from, to), from, b"hi"));
        peer.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 2);
        seen.push((from, to));
    }
    assert_eq!(seen.iter().map(|(_, to)| *to).collect::<Vec<_>>(), [53, 54]);
    guest.stack.set_rules(network(NetworkDefault::Public, &["deny:ingress@any:udp:54"]), None).unwrap();
    cut.send_to(b"again", at[1]).unwrap();
    kept.send_to(b"again", at[0]).unwrap();
    // The other client is still recognized.
    let (from, to) = seen[0];
    assert_eq!(guest.receive(), Received::Udp { from, to, data: b"again".to_vec() });
    assert_eq!(guest.next(SILENCE), None);
    assert_eq!(guest.reasons(), ["udp from 127.0.0.1 to port 54: deny:ingress@any:udp:54"]);
}

#[test]
fn ingress_rules_apply_to_published_ports() {
    let rules = ["deny:ingress@host:tcp:80", "deny:ingress@loopback:tcp:81"];
    let mut guest = Guest::new(network(NetworkDefault::Public, &rules), &[]);
    for (guest_port, is_let_in) in [(80, false), (81, false), (82, true)] {
        let ports = crate::published::bind(&[format!("0:{guest_port}").parse().unwrap()].into()).unwrap();
        let at: SocketAddr = ports[0].address().into();
        guest.stack.publish(ports).unwrap();
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        if is_let_in {
            assert!(matches!(guest.receive(), Received::Tcp { to: 82, syn: true, .. }));
        } else {
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{guest_port}");
        }
    }
    assert_eq!(guest.reasons().len(), 2);
}

#[test]
fn requests_from_another_project_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("calls");
    let project = |name: &str| ProjectName::new(name).unwrap();
    let name = |name: &str| SandboxName::new(name).unwrap();
    let peers = PeerDirectory {
        project: project("shop"),
        name: name("app"),
        listener: peer::listen_at(&path).unwrap(),
        lookup: Box::new(|_| None),
    };
    let rules = ["deny:ingress@domain=shy"];
    let mut guest = Guest::among(network(NetworkDefault::Public, &rules), &[], Some(peers));
    let to = SocketAddr::new(guest.addresses.guest_ipv4.into(), 80);
    for (project, name, number, is_taken) in [
        (project("far"), name("web"), 40_000, false),
        (project("shop"), name("shy"), 40_001, false),
        (project("shop"), name("web"), 40_002, true),
    ] {
        let from: SocketAddr = format!("172.16.0.2:{number}").parse().unwrap();
        let (_near, far) = peer::tcp_pair().unwrap();
        let request = ConnectRequest { project, name, from, to, transport: Transport::Tcp };
        let control = peer::send_request(&path, &request, &far).unwrap();
        if is_taken {
            assert_eq!(guest.receive(), Received::Tcp { from, to: 80, syn: true, reset: false });
        } else {
            let began = Instant::now();
            while peer::is_confirmed(&control).is_none() {
                assert!(began.elapsed() < TIMEOUT);
            }
            assert_eq!((peer::is_confirmed(&control), guest.next(SILENCE)), (Some(false), None));
        }
    }
}
