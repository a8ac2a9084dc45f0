//! Ethernet frames and IP packets of the guest: the parts of a packet that the policy needs, and the gateway's replies.
//! `smoltcp::wire` reads and writes the formats.

use crate::address::Addresses;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IPV4_HEADER_LEN, Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv6DstUnreachable, Icmpv6Message,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr, TcpPacket, UDP_HEADER_LEN, UdpPacket, UdpRepr,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The gateway's hardware address.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x6d, 0x73, 0x62, 0x00, 0x01];
/// The guest's hardware address: every link has two ends only.
pub const GUEST_MAC: [u8; 6] = [0x02, 0x6d, 0x73, 0x62, 0x00, 0x02];
/// The length of an ethernet header, in bytes.
pub const ETHERNET_BYTES: usize = smoltcp::wire::ETHERNET_HEADER_LEN;

const HOP_LIMIT: u8 = 64;
/// The hop limit of neighbor discovery: a receiver discards any other (RFC 4861, 7.1.2).
const NEIGHBOR_HOP_LIMIT: u8 = 255;
/// The most data that a UDP packet carries over IPv4, in bytes.
const UDP_DATA_BYTES_MAX: usize = u16::MAX as usize - IPV4_HEADER_LEN - UDP_HEADER_LEN;
/// The length of an ICMP header, in bytes.
const ICMP_BYTES: usize = 8;
/// The part of a packet that an ICMP error quotes, in bytes at most.
const QUOTE_BYTES_MAX: usize = 512;

/// A frame of the guest.
pub enum Frame<'a> {
    /// An IP packet.
    Ip(Packet<'a>),
    /// An ARP packet (RFC 826).
    Arp(ArpRepr),
    /// Any other protocol, or a malformed packet.
    Other,
}

/// A complete IP packet.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    pub source: IpAddr,
    pub target: IpAddr,
    /// The protocol of the payload. IPv6 extension headers count as one, so a packet with any has a protocol that the
    /// stack does not serve.
    pub protocol: IpProtocol,
    /// The whole packet, header included.
    pub bytes: &'a [u8],
    /// The bytes after the header.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The TCP segment in the packet; `None` if it is of another protocol or malformed.
    pub fn tcp(&self) -> Option<TcpPacket<&'a [u8]>> {
        let segment = (self.protocol == IpProtocol::Tcp).then_some(self.payload)?;
        TcpPacket::new_checked(segment).ok()
    }

    /// The UDP datagram in the packet; `None` if it is of another protocol or malformed.
    pub fn udp(&self) -> Option<UdpPacket<&'a [u8]>> {
        let datagram = (self.protocol == IpProtocol::Udp).then_some(self.payload)?;
        UdpPacket::new_checked(datagram).ok()
    }

    /// Whether the packet is an echo request, to any address.
    pub fn is_echo_request(&self) -> bool {
        let kind = match (self.target, self.protocol) {
            (IpAddr::V4(_), IpProtocol::Icmp) => u8::from(Icmpv4Message::EchoRequest),
            (IpAddr::V6(_), IpProtocol::Icmpv6) => Icmpv6Message::EchoRequest.into(),
            _ => return false,
        };
        self.payload.first() == Some(&kind)
    }
}

/// Reads an ethernet frame.
pub fn read_frame(frame: &[u8]) -> Frame<'_> {
    let Ok(frame) = EthernetFrame::new_checked(frame) else { return Frame::Other };
    let body = frame.payload();
    let read = match frame.ethertype() {
        EthernetProtocol::Ipv4 => read_ipv4(body).map(Frame::Ip),
        EthernetProtocol::Ipv6 => read_ipv6(body).map(Frame::Ip),
        EthernetProtocol::Arp => read_arp(body).map(Frame::Arp),
        EthernetProtocol::Unknown(_) => None,
    };
    read.unwrap_or(Frame::Other)
}

fn read_arp(bytes: &[u8]) -> Option<ArpRepr> {
    ArpRepr::parse(&ArpPacket::new_checked(bytes).ok()?).ok()
}

/// Fragments are refused: the link carries packets of any size whole.
fn read_ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    let is_fragment = packet.more_frags() || packet.frag_offset() != 0;
    if packet.version() != 4 || usize::from(packet.header_len()) < IPV4_HEADER_LEN || is_fragment {
        return None;
    }
    Some(Packet {
        source: packet.src_addr().into(),
        target: packet.dst_addr().into(),
        protocol: packet.next_header(),
        bytes: bytes.get(..packet.total_len().into())?,
        payload: packet.payload(),
    })
}

fn read_ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = Ipv6Packet::new_checked(bytes).ok()?;
    if packet.version() != 6 {
        return None;
    }
    Some(Packet {
        source: packet.src_addr().into(),
        target: packet.dst_addr().into(),
        protocol: packet.next_header(),
        bytes: bytes.get(..packet.total_len())?,
        payload: packet.payload(),
    })
}

/// The reply to an ARP request for the gateway's IPv4 address; `None` for any other packet.
pub fn arp_reply(request: &ArpRepr, addresses: &Addresses) -> Option<Vec<u8>> {
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = *request
    else {
        return None;
    };
    if target_protocol_addr != addresses.gateway_ipv4 {
        return None;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(GATEWAY_MAC),
        source_protocol_addr: addresses.gateway_ipv4,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    Some(frame(EthernetProtocol::Arp, reply.buffer_len(), |buffer| {
        reply.emit(&mut ArpPacket::new_unchecked(buffer));
    }))
}

/// The answer to a neighbor solicitation (RFC 4861) for the gateway's IPv6 address; `None` for any other packet.
pub fn neighbor_advertisement(packet: &Packet<'_>, addresses: &Addresses) -> Option<Vec<u8>> {
    let IpAddr::V6(source) = packet.source else { return None };
    if packet.protocol != IpProtocol::Icmpv6 || source.is_unspecified() {
        return None;
    }
    let solicitation = Icmpv6Packet::new_checked(packet.payload).ok()?;
    let gateway = addresses.gateway_ipv6;
    if solicitation.msg_type() != Icmpv6Message::NeighborSolicit || solicitation.target_addr() != gateway {
        return None;
    }
    let answer = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::all(),
        target_addr: gateway,
        lladdr: Some(EthernetAddress(GATEWAY_MAC).into()),
    });
    let header = IpRepr::Ipv6(Ipv6Repr {
        src_addr: gateway,
        dst_addr: source,
        next_header: IpProtocol::Icmpv6,
        payload_len: answer.buffer_len(),
        hop_limit: NEIGHBOR_HOP_LIMIT,
    });
    Some(ip_frame(&header, |buffer| {
        let mut message = Icmpv6Packet::new_unchecked(buffer);
        answer.emit(&gateway, &source, &mut message, &ChecksumCapabilities::default());
    }))
}

/// The reply to an echo request, as from its target; `None` for any other packet.
pub fn echo_reply(packet: &Packet<'_>) -> Option<Vec<u8>> {
    // Identifier and sequence number belong to a request: a shorter one is malformed.
    if !packet.is_echo_request() || packet.payload.len() < ICMP_BYTES {
        return None;
    }
    let header = ip_header(packet.target, packet.source, packet.protocol, packet.payload.len());
    Some(ip_frame(&header, |buffer| {
        buffer.copy_from_slice(packet.payload);
        match header {
            IpRepr::Ipv4(_) => finish_icmpv4(buffer, Icmpv4Message::EchoReply, 0),
            IpRepr::Ipv6(header) => finish_icmpv6(buffer, &header, Icmpv6Message::EchoReply, 0),
        }
    }))
}

/// Why a packet is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No socket listens, or a rule denies the port.
    Port,
    /// There is no route to the host.
    Host,
    /// A rule denies a protocol without ports.
    Prohibited,
}

/// An ICMP error to the guest that a packet of its own, `bytes`, was not delivered.
pub fn unreachable(bytes: &[u8], source: IpAddr, target: IpAddr, why: Unreachable) -> Vec<u8> {
    let quote = &bytes[..bytes.len().min(QUOTE_BYTES_MAX)];
    let protocol = if target.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
    let header = ip_header(source, target, protocol, ICMP_BYTES + quote.len());
    ip_frame(&header, |buffer| {
        buffer[ICMP_BYTES..].copy_from_slice(quote);
        match header {
            IpRepr::Ipv4(_) => {
                let code = match why {
                    Unreachable::Port => Icmpv4DstUnreachable::PortUnreachable,
                    Unreachable::Host => Icmpv4DstUnreachable::HostUnreachable,
                    Unreachable::Prohibited => Icmpv4DstUnreachable::CommProhibited,
                };
                finish_icmpv4(buffer, Icmpv4Message::DstUnreachable, code.into());
            }
            IpRepr::Ipv6(header) => {
                let code = match why {
                    Unreachable::Port => Icmpv6DstUnreachable::PortUnreachable,
                    Unreachable::Host => Icmpv6DstUnreachable::NoRoute,
                    Unreachable::Prohibited => Icmpv6DstUnreachable::AdminProhibit,
                };
                finish_icmpv6(buffer, &header, Icmpv6Message::DstUnreachable, code.into());
            }
        }
    })
}

/// Writes type, code and checksum of a message whose other bytes are written.
fn finish_icmpv4(buffer: &mut [u8], kind: Icmpv4Message, code: u8) {
    let mut message = Icmpv4Packet::new_unchecked(buffer);
    message.set_msg_type(kind);
    message.set_msg_code(code);
    message.fill_checksum();
}

/// Writes type, code and checksum of a message whose other bytes are written.
fn finish_icmpv6(buffer: &mut [u8], header: &Ipv6Repr, kind: Icmpv6Message, code: u8) {
    let mut message = Icmpv6Packet::new_unchecked(buffer);
    message.set_msg_type(kind);
    message.set_msg_code(code);
    message.fill_checksum(&header.src_addr, &header.dst_addr);
}

/// A UDP packet to the guest. Data beyond the largest packet is truncated.
pub fn udp_frame(source: SocketAddr, target: SocketAddr, data: &[u8]) -> Vec<u8> {
    let data = &data[..data.len().min(UDP_DATA_BYTES_MAX)];
    let header = ip_header(source.ip(), target.ip(), IpProtocol::Udp, UDP_HEADER_LEN + data.len());
    let ports = UdpRepr { src_port: source.port(), dst_port: target.port() };
    ip_frame(&header, |buffer| {
        ports.emit(
            &mut UdpPacket::new_unchecked(buffer),
            &header.src_addr(),
            &header.dst_addr(),
            data.len(),
            |payload| payload.copy_from_slice(data),
            &ChecksumCapabilities::default(),
        );
    })
}

/// The IP packet in a frame of [`udp_frame`].
pub fn packet_of(frame: &[u8]) -> &[u8] {
    frame.get(ETHERNET_BYTES..).unwrap_or_default()
}

/// The ethernet header of a frame to the guest.
pub fn ethernet_header(ethertype: EthernetProtocol) -> [u8; ETHERNET_BYTES] {
    let (src_addr, dst_addr) = (EthernetAddress(GATEWAY_MAC), EthernetAddress(GUEST_MAC));
    let mut header = [0; ETHERNET_BYTES];
    EthernetRepr { src_addr, dst_addr, ethertype }.emit(&mut EthernetFrame::new_unchecked(&mut header));
    header
}

/// A frame to the guest, whose payload `emit` writes.
fn frame(ethertype: EthernetProtocol, payload_bytes: usize, emit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_BYTES + payload_bytes];
    frame[..ETHERNET_BYTES].copy_from_slice(&ethernet_header(ethertype));
    emit(&mut frame[ETHERNET_BYTES..]);
    frame
}

/// The header of an IP packet with a payload of at most `u16::MAX - 20` bytes. Addresses of different families make an
/// IPv6 packet with a mapped address, which no guest accepts.
pub fn ip_header(source: IpAddr, target: IpAddr, next_header: IpProtocol, payload_len: usize) -> IpRepr {
    let hop_limit = HOP_LIMIT;
    match (source, target) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            IpRepr::Ipv4(Ipv4Repr { src_addr, dst_addr, next_header, payload_len, hop_limit })
        }
        _ => {
            let (src_addr, dst_addr) = (to_ipv6(source), to_ipv6(target));
            IpRepr::Ipv6(Ipv6Repr { src_addr, dst_addr, next_header, payload_len, hop_limit })
        }
    }
}

fn to_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

/// A frame with an IP packet, whose payload `emit` writes.
pub fn ip_frame(header: &IpRepr, emit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let ethertype = match header {
        IpRepr::Ipv4(_) => EthernetProtocol::Ipv4,
        IpRepr::Ipv6(_) => EthernetProtocol::Ipv6,
    };
    frame(ethertype, header.buffer_len(), |packet| {
        header.emit(&mut *packet, &ChecksumCapabilities::default());
        emit(&mut packet[header.header_len()..]);
    })
}

#[cfg(test)]
mod tests;
