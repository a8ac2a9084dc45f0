//! Entry points into this crate's private parsers for the fuzz targets in `tests/fuzz`.

use crate::address::{Addresses, Pools};
use crate::dns::{Answered, Client, ClientQuery, NameRules, NameServer, TcpSession};
use crate::http::{self, Head, Request};
use crate::proxy::{Destination, Handshake, Next, Password, UpstreamProxy};
use crate::sni::{self, ServerName};
use crate::wire::{self, Frame, Packet, Unreachable};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use rules::rule::{DomainName, Protocol};
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

pub use crate::http::Body;

/// The server name in a TLS ClientHello, or the reason why there is none; `None` while more bytes are needed.
pub fn server_name(bytes: &[u8]) -> Option<Result<DomainName, &'static str>> {
    match sni::server_name(bytes) {
        ServerName::Incomplete => None,
        ServerName::NotTls => Some(Err("not TLS")),
        ServerName::Name(name) => Some(Ok(name)),
        ServerName::Refused(why) => Some(Err(why)),
    }
}

/// Parses a request head: its host, its length and the kind of its body, or the reason why there is none; `None` while
/// more bytes are needed.
pub fn request_head(bytes: &[u8]) -> Option<Result<(DomainName, usize, Body), &'static str>> {
    match http::head(bytes) {
        Head::Incomplete { .. } => None,
        Head::NotHttp => Some(Err("another protocol")),
        Head::Refused(why) => Some(Err(why)),
        Head::Request(Request { host, length, body }) => Some(Ok((host, length, body))),
    }
}

/// The end of a handshake with a proxy.
#[derive(Debug, PartialEq, Eq)]
pub struct Shaken {
    /// The messages that were sent.
    pub sent: Vec<Vec<u8>>,
    /// The number of bytes that were the proxy's, if it opened the connection; `None` while more bytes are needed.
    pub opened: Option<Result<usize, String>>,
}

/// The proxies of [`proxy_handshake`].
const PROXIES: [&str; 4] = ["http://proxy:1", "http://me@proxy:1", "socks5://proxy:1", "socks5://me@proxy:1"];

/// Plays a handshake with a proxy of one of four kinds that sends these bytes, at most `step` at a time.
pub fn proxy_handshake(kind: u8, bytes: &[u8], step: usize) -> Shaken {
    let url = PROXIES[usize::from(kind) % PROXIES.len()].parse().expect("a URL");
    let proxy = UpstreamProxy { url, password: Some(Password::new(b"hunter2".to_vec())) };
    let name = DomainName::new("a.test").expect("a name");
    let (mut handshake, first) =
        Handshake::start(&proxy, &Destination::Name(name, 443)).expect("a short password");
    let mut shaken = Shaken { sent: vec![first.to_vec()], opened: None };
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at.saturating_add(step.max(1)));
        match handshake.receive(&bytes[at..end]) {
            Ok((taken, next)) => {
                assert!(taken > 0 && taken <= end - at, "{taken} of {} bytes", end - at);
                at += taken;
                match next {
                    Next::More => assert_eq!(at, end, "the rest is not the server's"),
                    Next::Send(message) => shaken.sent.push(message.to_vec()),
                    Next::Open => {
                        shaken.opened = Some(Ok(at));
                        break;
                    }
                }
            }
            Err(failure) => {
                shaken.opened = Some(Err(failure.to_string()));
                break;
            }
        }
    }
    shaken
}

/// Parses the first line of a chunk: its length and the length of the data; `None` while more bytes are needed.
pub fn chunk(bytes: &[u8]) -> Option<Result<(usize, u64), &'static str>> {
    http::chunk(bytes).map(|chunk| chunk.map(|http::Chunk { line, size }| (line, size)))
}

/// Allows all names but those that contain `evil`, and all addresses but those in 10.0.0.0/8.
struct Rules {
    /// Whether queries are allowed.
    allows_query: bool,
}

impl NameRules for Rules {
    fn allows_query(&mut self, _name: &DomainName, _transport: Protocol) -> bool {
        self.allows_query
    }

    fn allows_alias(&mut self, _name: &DomainName, alias: &DomainName, _transport: Protocol) -> bool {
        !alias.as_str().contains("evil")
    }

    fn allows_peer(&mut self, _name: &DomainName, _address: IpAddr, _transport: Protocol) -> bool {
        true
    }

    fn allows_address(&mut self, _name: &DomainName, address: IpAddr) -> bool {
        !matches!(address, IpAddr::V4(four) if four.octets()[0] == 10)
    }
}

fn client(tcp: bool) -> Client {
    let address = |text: [u8; 4], port: u16| (IpAddr::from(text), port).into();
    if tcp {
        Client::Tcp(1)
    } else {
        Client::Udp { guest: address([172, 16, 0, 2], 4000), server: address([172, 16, 0, 1], 53) }
    }
}

/// Sends a query to a name server that must not forward it.
pub fn query(question: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let local =
        DomainName::new(rules::rule::HOST_NAME).ok().map(|name| (name, vec![IpAddr::from([172, 16, 0, 1])]));
    let mut names = NameServer::new(BTreeMap::from_iter(local));
    match names.handle_query(question, client(tcp), &mut Rules { allows_query: false }, Instant::now()) {
        Some(Answered::Message(_, bytes)) => Some(bytes),
        Some(_) => panic!("a query was forwarded against the rules"),
        None => None,
    }
}

/// The effect of a server's answer.
#[derive(Debug)]
pub struct Handled {
    /// The response to the guest.
    pub answer: Vec<u8>,
    /// Whether the response is truncated.
    pub truncated: bool,
    /// The addresses in the response.
    pub addresses: BTreeSet<IpAddr>,
    /// The addresses of the server's answer that were pinned.
    pub pinned: BTreeSet<IpAddr>,
}

/// The record types that [`answer_query`] sends.
const RECORD_TYPES: [RecordType; 6] =
    [RecordType::A, RecordType::AAAA, RecordType::ANY, RecordType::HTTPS, RecordType::TXT, RecordType::SRV];

/// Handles a server's answer to a query for `a.test`.
pub fn answer_query(record_type: u8, tcp: bool, answer: &[u8]) -> Handled {
    let record_type = RECORD_TYPES[usize::from(record_type) % RECORD_TYPES.len()];
    let owner = Name::from_ascii("a.test.").unwrap_or_default();
    let mut question = Message::new();
    question.set_id(7).add_query(Query::query(owner, record_type));
    let mut names = NameServer::new(BTreeMap::new());
    let now = Instant::now();
    let mut rules = Rules { allows_query: false };
    let Answered::Message(_, bytes) = names.on_tcp_answer(
        Some(answer),
        ClientQuery { question: &question, client: client(tcp) },
        &mut rules,
        now,
    ) else {
        panic!("an answer that has arrived is handled at once");
    };
    let addresses = addresses_in(&bytes);
    let is_pinned = |address: &IpAddr| !names.names_of(*address, now).is_empty();
    let pinned = addresses_in(answer).into_iter().filter(is_pinned).collect();
    let truncated = Message::from_vec(&bytes).is_ok_and(|message| message.truncated());
    Handled { answer: bytes, truncated, addresses, pinned }
}

/// All addresses in any section of a message.
fn addresses_in(bytes: &[u8]) -> BTreeSet<IpAddr> {
    let Ok(message) = Message::from_vec(bytes) else { return BTreeSet::new() };
    let records = message.answers().iter().chain(message.name_servers()).chain(message.additionals());
    let address = |data: &RData| match data {
        RData::A(four) => Some(IpAddr::from(four.0)),
        RData::AAAA(six) => Some(IpAddr::from(six.0)),
        _ => None,
    };
    records.filter_map(|record| address(record.data())).collect()
}

/// The queries in a TCP stream that arrives in these chunks, and whether the client stays connected.
pub fn questions(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
    let mut session = TcpSession::default();
    let mut questions = Vec::new();
    let served = chunks.iter().all(|chunk| session.take(chunk, &mut questions));
    (questions, served)
}

/// The addresses of the link under test.
pub fn addresses() -> Addresses {
    Pools::default().addresses(7).unwrap_or_else(|| unreachable!("the pools are not empty"))
}

/// A frame with a UDP packet from the guest.
pub fn udp_of_guest(port: u16, remote: SocketAddr, data: &[u8]) -> Vec<u8> {
    wire::udp_frame(SocketAddr::new(guest_like(remote), port), remote, data)
}

/// A frame with a TCP segment, header included, from the guest.
pub fn tcp_of_guest(remote: IpAddr, segment: &[u8]) -> Vec<u8> {
    let guest = guest_like(SocketAddr::new(remote, 0));
    ip_of_guest(guest, remote, IpProtocol::Tcp, segment)
}

fn ip_of_guest(source: IpAddr, target: IpAddr, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = wire::ip_header(source, target, protocol, payload.len());
    wire::ip_frame(&header, |buffer| buffer.copy_from_slice(payload))
}

fn guest_like(remote: SocketAddr) -> IpAddr {
    match remote {
        SocketAddr::V4(_) => addresses().guest_ipv4.into(),
        SocketAddr::V6(_) => addresses().guest_ipv6.into(),
    }
}

/// A TCP segment to the guest.
#[derive(Clone, Copy, Debug)]
pub struct ToGuest {
    /// The guest's port.
    pub port: u16,
    /// The sequence number after the segment.
    pub next: u32,
}

/// Checks a frame that the stack has sent: a well-formed packet to the guest, never from it, of at most the MTU.
/// Returns the TCP segment in it; `None` if there is none.
pub fn check_sent(frame: &[u8], mtu: usize) -> Option<ToGuest> {
    let Frame::Ip(packet) = wire::read_frame(frame) else { return None };
    let own = addresses();
    assert!(
        own.is_guest(packet.target) && !own.is_guest(packet.source),
        "{} to {}",
        packet.source,
        packet.target
    );
    let bytes = wire::packet_of(frame);
    assert_eq!(packet.bytes.len(), bytes.len(), "a packet has the length that it states");
    match packet.protocol {
        IpProtocol::Tcp => {
            assert!(bytes.len() <= mtu, "{} bytes of TCP", bytes.len());
            let segment = TcpPacket::new_checked(packet.payload).unwrap_or_else(|error| panic!("{error}"));
            let (source, target) = (packet.source.into(), packet.target.into());
            assert!(segment.verify_checksum(&source, &target), "{bytes:?}");
            let next = segment.seq_number() + segment.segment_len();
            Some(ToGuest { port: segment.dst_port(), next: next.0.cast_unsigned() })
        }
        IpProtocol::Icmp | IpProtocol::Icmpv6 => {
            check_answer(frame);
            None
        }
        _ => None,
    }
}

/// Whether a frame is the gateway's reply to the numbered echo request.
pub fn is_echo(frame: &[u8], number: u16) -> bool {
    let Frame::Ip(packet) = wire::read_frame(frame) else { return false };
    packet.protocol == IpProtocol::Icmp
        && packet.payload.first() == Some(&0)
        && packet.payload.get(4..6) == Some(&number.to_be_bytes())
}

/// A frame with a numbered echo request to the gateway.
pub fn ping(number: u16) -> Vec<u8> {
    let message = [&[8, 0, 0, 0][..], &number.to_be_bytes(), &[0, 0]].concat();
    let Addresses { guest_ipv4, gateway_ipv4, .. } = addresses();
    ip_of_guest(guest_ipv4.into(), gateway_ipv4.into(), IpProtocol::Icmp, &message)
}

/// Reads a frame and builds every possible answer to it, each of which must be well-formed.
pub fn check_frame(frame: &[u8]) {
    let addresses = addresses();
    match wire::read_frame(frame) {
        Frame::Ip(packet) => check_packet(&packet, frame, &addresses),
        Frame::Arp(request) => {
            if let Some(reply) = wire::arp_reply(&request, &addresses) {
                assert_eq!(reply.len(), 42, "a reply is as long as its request");
            }
        }
        Frame::Other => {}
    }
}

fn check_packet(packet: &Packet<'_>, frame: &[u8], addresses: &Addresses) {
    assert!(packet.payload.len() <= packet.bytes.len() && packet.bytes.len() <= frame.len());
    if let Some(segment) = packet.tcp() {
        let _ = (segment.src_port(), segment.dst_port(), segment.syn(), segment.ack(), segment.rst());
    }
    if let Some(datagram) = packet.udp() {
        assert!(datagram.payload().len() + 8 <= packet.payload.len());
    }
    if let Some(answer) = wire::neighbor_advertisement(packet, addresses) {
        check_answer(&answer);
    }
    if let Some(reply) = wire::echo_reply(packet) {
        let Frame::Ip(echo) = wire::read_frame(&reply) else { panic!("a reply is a packet") };
        assert_eq!((echo.source, echo.target), (packet.target, packet.source));
        check_answer(&reply);
    }
    for why in [Unreachable::Port, Unreachable::Host, Unreachable::Prohibited] {
        check_answer(&wire::unreachable(packet.bytes, packet.target, packet.source, why));
    }
}

/// Checks the checksums of an ICMP packet to the guest.
fn check_answer(frame: &[u8]) {
    let bytes = wire::packet_of(frame);
    if bytes.first().is_some_and(|first| first >> 4 == 4) {
        let packet = Ipv4Packet::new_checked(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        assert!(packet.verify_checksum(), "{bytes:?}");
        let message = Icmpv4Packet::new_checked(packet.payload());
        assert!(message.is_ok_and(|message| message.verify_checksum()), "{bytes:?}");
    } else {
        let packet = Ipv6Packet::new_checked(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        let message = Icmpv6Packet::new_checked(packet.payload());
        let (source, target) = (packet.src_addr(), packet.dst_addr());
        assert!(message.is_ok_and(|message| message.verify_checksum(&source, &target)), "{bytes:?}");
    }
}
