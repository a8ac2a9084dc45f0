//! Ethernet frames and IP packets of the guest: read with distrust, written by hand.

use crate::address::Addresses;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The gateway's hardware address.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x6d, 0x73, 0x62, 0x00, 0x01];
/// The guest's: every link has two ends only.
pub const GUEST_MAC: [u8; 6] = [0x02, 0x6d, 0x73, 0x62, 0x00, 0x02];
/// An ethernet header, in bytes.
pub const ETHERNET_BYTES: usize = 14;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

const HOP_LIMIT: u8 = 64;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
const ECHO_BYTES: usize = 8;
/// How much of a packet an ICMP error quotes, in bytes.
const QUOTE_BYTES_MAX: usize = 512;

/// What a frame holds.
pub enum Frame<'a> {
    /// An IP packet.
    Ip(Packet<'a>),
    /// A question who has an address of IPv4.
    Arp(&'a [u8]),
    /// What is of no interest here.
    Other,
}

/// An IP packet, whole.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    pub source: IpAddr,
    pub target: IpAddr,
    pub protocol: u8,
    /// All of it, header included.
    pub bytes: &'a [u8],
    /// What the header is in front of.
    pub payload: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads an ethernet frame.
pub fn read_frame(frame: &[u8]) -> Frame<'_> {
    let Some(body) = frame.get(ETHERNET_BYTES..) else { return Frame::Other };
    let packet = match word(frame, 12) {
        Some(ETHERTYPE_IPV4) => read_ipv4(body),
        Some(ETHERTYPE_IPV6) => read_ipv6(body),
        Some(ETHERTYPE_ARP) => return Frame::Arp(body),
        _ => None,
    };
    packet.map_or(Frame::Other, Frame::Ip)
}

/// Pieces of packets are not taken: the guest's link carries whole ones of any size.
fn read_ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let first = *bytes.first()?;
    let header = usize::from(first & 15) * 4;
    let total = usize::from(word(bytes, 2)?);
    let is_piece = word(bytes, 6)? & 0x3fff != 0;
    if first >> 4 != 4 || header < IPV4_BYTES || total < header || is_piece {
        return None;
    }
    let bytes = bytes.get(..total)?;
    let address = |at: usize| <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok().map(Ipv4Addr::from);
    Some(Packet {
        source: address(12)?.into(),
        target: address(16)?.into(),
        protocol: *bytes.get(9)?,
        bytes,
        payload: bytes.get(header..)?,
    })
}

fn read_ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    if *bytes.first()? >> 4 != 6 {
        return None;
    }
    let total = IPV6_BYTES + usize::from(word(bytes, 4)?);
    let bytes = bytes.get(..total)?;
    let address = |at: usize| <[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok().map(Ipv6Addr::from);
    Some(Packet {
        source: address(8)?.into(),
        target: address(24)?.into(),
        protocol: *bytes.get(6)?,
        bytes,
        payload: bytes.get(IPV6_BYTES..)?,
    })
}

/// The ports in front of TCP and UDP.
pub fn ports(payload: &[u8]) -> Option<(u16, u16)> {
    Some((word(payload, 0)?, word(payload, 2)?))
}

/// The flags of a TCP header that matter here: SYN, ACK, RST.
pub fn tcp_flags(payload: &[u8]) -> Option<(bool, bool, bool)> {
    let flags = *payload.get(13)?;
    Some((flags & 2 != 0, flags & 16 != 0, flags & 4 != 0))
}

/// What a UDP packet carries.
pub fn udp_data(payload: &[u8]) -> Option<&[u8]> {
    payload.get(UDP_BYTES..usize::from(word(payload, 4)?))
}

/// The answer to a question who has the gateway's address of IPv4.
pub fn arp_answer(question: &[u8], addresses: &Addresses) -> Option<Vec<u8>> {
    // Ethernet, IPv4, request.
    if question.get(..8)? != [0, 1, 8, 0, 6, 4, 0, 1]
        || question.get(24..28)? != addresses.gateway_ipv4.octets()
    {
        return None;
    }
    let mut frame = ethernet(ETHERTYPE_ARP);
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend_from_slice(&GATEWAY_MAC);
    frame.extend_from_slice(&addresses.gateway_ipv4.octets());
    frame.extend_from_slice(question.get(8..18)?);
    Some(frame)
}

/// The answer to a question who has the gateway's address of IPv6.
pub fn neighbor_answer(packet: &Packet<'_>, addresses: &Addresses) -> Option<Vec<u8>> {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    // Router, solicited, override.
    const FLAGS: u8 = 0xe0;
    let IpAddr::V6(source) = packet.source else { return None };
    let asked = packet.payload.get(8..24)?;
    if *packet.payload.first()? != SOLICITATION
        || source.is_unspecified()
        || asked != addresses.gateway_ipv6.octets()
    {
        return None;
    }
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, FLAGS, 0, 0, 0];
    message.extend_from_slice(asked);
    // The target's hardware address, in units of eight bytes.
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&GATEWAY_MAC);
    Some(icmpv6(addresses.gateway_ipv6, source, message, 255))
}

/// The answer to a ping of the gateway.
pub fn echo_answer(packet: &Packet<'_>) -> Option<Vec<u8>> {
    const REQUESTS: [(u8, u8, u8); 2] = [(ICMP, 8, 0), (ICMPV6, 128, 129)];
    let kind = *packet.payload.first()?;
    let (_, _, answer) = REQUESTS
        .into_iter()
        .find(|(protocol, request, _)| (*protocol, *request) == (packet.protocol, kind))?;
    let mut message = packet.payload.to_vec();
    // Identifier and number are part of it: what is shorter is no ping.
    message.get_mut(..ECHO_BYTES)?[..4].copy_from_slice(&[answer, 0, 0, 0]);
    Some(icmp(packet.target, packet.source, message))
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody listens, or a rule says so.
    Port,
    /// No way leads there.
    Host,
    /// A rule says so, where there is no port.
    Prohibited,
}

/// Tells the guest that a packet goes nowhere.
pub fn unreachable(bytes: &[u8], source: IpAddr, target: IpAddr, why: Unreachable) -> Vec<u8> {
    let (kind, code) = match (target, why) {
        (IpAddr::V4(_), Unreachable::Port) => (3, 3),
        (IpAddr::V4(_), Unreachable::Host) => (3, 1),
        (IpAddr::V4(_), Unreachable::Prohibited) => (3, 13),
        (IpAddr::V6(_), Unreachable::Port) => (1, 4),
        (IpAddr::V6(_), Unreachable::Host) => (1, 0),
        (IpAddr::V6(_), Unreachable::Prohibited) => (1, 1),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&bytes[..bytes.len().min(QUOTE_BYTES_MAX)]);
    icmp(source, target, message)
}

fn icmp(source: IpAddr, target: IpAddr, mut message: Vec<u8>) -> Vec<u8> {
    match (source, target) {
        (IpAddr::V6(source), IpAddr::V6(target)) => icmpv6(source, target, message, HOP_LIMIT),
        _ => {
            let sum = finish(sum(0, &message));
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let mut frame = ip_frame(source, target, ICMP, message.len(), HOP_LIMIT);
            frame.extend_from_slice(&message);
            frame
        }
    }
}

fn icmpv6(source: Ipv6Addr, target: Ipv6Addr, mut message: Vec<u8>, hop_limit: u8) -> Vec<u8> {
    let pseudo = pseudo_sum(source.into(), target.into(), ICMPV6, message.len());
    let sum = finish(sum(pseudo, &message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ip_frame(source.into(), target.into(), ICMPV6, message.len(), hop_limit);
    frame.extend_from_slice(&message);
    frame
}

/// A UDP packet to the guest.
pub fn udp_frame(source: SocketAddr, target: SocketAddr, data: &[u8]) -> Vec<u8> {
    let length = UDP_BYTES + data.len();
    let mut frame = ip_frame(source.ip(), target.ip(), UDP, length, HOP_LIMIT);
    let start = frame.len();
    frame.extend_from_slice(&source.port().to_be_bytes());
    frame.extend_from_slice(&target.port().to_be_bytes());
    frame.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(data);
    let pseudo = pseudo_sum(source.ip(), target.ip(), UDP, length);
    let sum = match finish(sum(pseudo, &frame[start..])) {
        // Zero says that there is none.
        0 => 0xffff,
        sum => sum,
    };
    frame[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The IP packet of a frame that [`udp_frame`] has made.
pub fn packet_of(frame: &[u8]) -> &[u8] {
    frame.get(ETHERNET_BYTES..).unwrap_or_default()
}

fn ethernet(ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_BYTES + 128);
    frame.extend_from_slice(&GUEST_MAC);
    frame.extend_from_slice(&GATEWAY_MAC);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame
}

/// The ethernet header in front of an IP packet to the guest.
pub fn ethernet_header(packet_is_ipv6: bool) -> [u8; ETHERNET_BYTES] {
    let mut header = [0; ETHERNET_BYTES];
    let ethertype = if packet_is_ipv6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    header.copy_from_slice(&ethernet(ethertype)[..ETHERNET_BYTES]);
    header
}

/// The headers of a packet, in front of whatever it carries.
pub fn ip_frame(source: IpAddr, target: IpAddr, protocol: u8, length: usize, hop_limit: u8) -> Vec<u8> {
    match (source, target) {
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let mut frame = ethernet(ETHERTYPE_IPV6);
            frame.extend_from_slice(&[0x60, 0, 0, 0]);
            frame.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            frame.extend_from_slice(&[protocol, hop_limit]);
            frame.extend_from_slice(&source.octets());
            frame.extend_from_slice(&target.octets());
            frame
        }
        _ => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(four) => four.octets(),
                IpAddr::V6(_) => [0; 4],
            };
            let mut frame = ethernet(ETHERTYPE_IPV4);
            let start = frame.len();
            let total = u16::try_from(IPV4_BYTES + length).unwrap_or(u16::MAX);
            frame.extend_from_slice(&[0x45, 0]);
            frame.extend_from_slice(&total.to_be_bytes());
            // Not to be cut into pieces.
            frame.extend_from_slice(&[0, 0, 0x40, 0, hop_limit, protocol, 0, 0]);
            frame.extend_from_slice(&octets(source));
            frame.extend_from_slice(&octets(target));
            let sum = finish(sum(0, &frame[start..]));
            frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
            frame
        }
    }
}

fn pseudo_sum(source: IpAddr, target: IpAddr, protocol: u8, length: usize) -> u64 {
    let addresses = match (source, target) {
        (IpAddr::V6(source), IpAddr::V6(target)) => sum(sum(0, &source.octets()), &target.octets()),
        (IpAddr::V4(source), IpAddr::V4(target)) => sum(sum(0, &source.octets()), &target.octets()),
        _ => 0,
    };
    addresses + u64::from(protocol) + length as u64
}

fn sum(start: u64, bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(*high) << 8,
        _ => 0,
    });
    start + pairs.sum::<u64>()
}

fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet};

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_can_be_read() {
        for (source, target) in [("1.2.3.4:53", "172.16.0.2:4000"), ("[2606::1]:53", "[fd42::2]:4000")] {
            let frame = udp_frame(socket(source), socket(target), b"hello");
            let Frame::Ip(packet) = read_frame(&frame) else { panic!("no packet") };
            assert_eq!((packet.source, packet.target), (socket(source).ip(), socket(target).ip()));
            assert_eq!((packet.protocol, udp_data(packet.payload)), (UDP, Some(b"hello".as_slice())));
            assert_eq!(ports(packet.payload), Some((53, 4000)));
            // A right checksum makes the sum over everything come out even.
            let pseudo = pseudo_sum(packet.source, packet.target, UDP, packet.payload.len());
            assert_eq!(finish(sum(pseudo, packet.payload)), 0);
        }
    }

    #[test]
    fn the_guest_is_told_what_goes_nowhere_by_whom_it_was_sent_to() {
        for (guest, remote) in [("172.16.0.2:4000", "1.2.3.4:53"), ("[fd42::2]:4000", "[2606::1]:53")] {
            let sent = udp_frame(socket(guest), socket(remote), b"hello");
            let Frame::Ip(packet) = read_frame(&sent) else { panic!("no packet") };
            let told = unreachable(packet.bytes, packet.target, packet.source, Unreachable::Port);
            let Frame::Ip(told) = read_frame(&told) else { panic!("no packet") };
            assert_eq!((told.source, told.target), (socket(remote).ip(), socket(guest).ip()));
            assert_eq!(&told.payload[8..], packet.bytes);
            // Judged by somebody else's arithmetic than ours.
            let is_right = match (told.source, told.target) {
                (IpAddr::V6(source), IpAddr::V6(target)) => {
                    Icmpv6Packet::new_checked(told.payload).unwrap().verify_checksum(&source, &target)
                }
                _ => Icmpv4Packet::new_checked(told.payload).unwrap().verify_checksum(),
            };
            assert!(is_right, "{remote}");
        }
    }

    #[test]
    fn pieces_lies_and_ends_are_no_packets() {
        let frame = udp_frame(socket("1.2.3.4:53"), socket("172.16.0.2:4000"), b"hello");
        for length in 0..frame.len() {
            assert!(matches!(read_frame(&frame[..length]), Frame::Other), "{length}");
        }
        for (at, value) in [(14, 0x44), (14, 0x65), (17, 10), (20, 0x20), (21, 1)] {
            let mut frame = frame.clone();
            frame[at] = value;
            assert!(matches!(read_frame(&frame), Frame::Other), "{at}");
        }
        let frame = udp_frame(socket("[2606::1]:53"), socket("[fd42::2]:4000"), b"hello");
        for length in 0..frame.len() {
            assert!(matches!(read_frame(&frame[..length]), Frame::Other), "{length}");
        }
    }
}
