//! Frames and packets, against independent bytes and checksums.

use super::*;
use crate::address::Pools;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The packet in a frame.
fn packet(frame: &[u8]) -> Packet<'_> {
    let Frame::Ip(packet) = read_frame(frame) else { panic!("no packet: {frame:?}") };
    packet
}

fn ip(source: &str, target: &str, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = ip_header(source.parse().unwrap(), target.parse().unwrap(), protocol, payload.len());
    ip_frame(&header, |buffer| buffer.copy_from_slice(payload))
}

/// Whether the checksum of a payload is right (RFC 1071). It does not use smoltcp, which computes the checksums under
/// test.
fn has_right_checksum(packet: &Packet<'_>) -> bool {
    let mut covered = packet.payload.to_vec();
    covered.resize(covered.len().next_multiple_of(2), 0);
    if packet.protocol != IpProtocol::Icmp {
        match (packet.source, packet.target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                covered.extend([source.octets(), target.octets()].concat());
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                covered.extend([source.octets(), target.octets()].concat());
            }
            _ => return false,
        }
        covered.extend([0, packet.protocol.into()]);
        covered.extend(u16::try_from(packet.payload.len()).unwrap().to_be_bytes());
    }
    let mut sum: u32 =
        covered.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

#[test]
fn a_udp_frame_is_read_as_it_was_written() {
    for (source, target) in [("1.2.3.4:53", "172.16.0.2:4000"), ("[2606::1]:53", "[fd42::2]:4000")] {
        let frame = udp_frame(socket(source), socket(target), b"hello");
        let packet = packet(&frame);
        assert_eq!((packet.source, packet.target), (socket(source).ip(), socket(target).ip()));
        let datagram = packet.udp().unwrap();
        assert_eq!((datagram.src_port(), datagram.dst_port()), (53, 4000));
        assert_eq!(datagram.payload(), b"hello");
        assert!(has_right_checksum(&packet));
        assert!(packet.tcp().is_none());
    }
}

#[test]
fn udp_frames_have_these_bytes() {
    let cases = [
        (
            "1.2.3.4:53",
            "172.16.0.2:4000",
            [
                "026d73620002026d736200010800",
                "450000210000400040118ab401020304ac100002",
                "00350fa0000dfc14",
                "68656c6c6f",
            ],
        ),
        (
            "[2606::1]:53",
            "[fd42::2]:4000",
            [
                "026d73620002026d7362000186dd",
                "60000000000d114026060000000000000000000000000001fd420000000000000000000000000002",
                "00350fa0000d88e1",
                "68656c6c6f",
            ],
        ),
    ];
    for (source, target, expected) in cases {
        let frame = udp_frame(socket(source), socket(target), b"hello");
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.concat());
    }
}

#[test]
fn data_that_is_too_long_for_a_packet_is_cut_off() {
    for (source, target) in [("1.2.3.4:53", "172.16.0.2:4000"), ("[2606::1]:53", "[fd42::2]:4000")] {
        let frame = udp_frame(socket(source), socket(target), &[7; 70_000]);
        let packet = packet(&frame);
        assert_eq!(packet.udp().unwrap().payload(), [7; UDP_DATA_BYTES_MAX]);
        assert!(has_right_checksum(&packet));
    }
}

#[test]
fn addresses_of_two_families_make_a_well_formed_packet() {
    let frame = udp_frame(socket("1.2.3.4:53"), socket("[fd42::2]:4000"), b"hello");
    assert_eq!(packet(&frame).source, IpAddr::from("::ffff:1.2.3.4".parse::<Ipv6Addr>().unwrap()));
}

#[test]
fn an_icmp_error_is_from_the_target_of_the_packet_that_it_quotes() {
    for (guest, remote) in [("172.16.0.2:4000", "1.2.3.4:53"), ("[fd42::2]:4000", "[2606::1]:53")] {
        let sent = udp_frame(socket(guest), socket(remote), b"hello");
        let sent = packet(&sent);
        let codes = [(Unreachable::Port, 3, 4), (Unreachable::Host, 1, 0), (Unreachable::Prohibited, 13, 1)];
        for (why, code4, code6) in codes {
            let error = unreachable(sent.bytes, sent.target, sent.source, why);
            let error = packet(&error);
            assert_eq!((error.source, error.target), (socket(remote).ip(), socket(guest).ip()));
            let header = if error.source.is_ipv4() { [3, code4] } else { [1, code6] };
            assert_eq!(&error.payload[..2], header);
            assert_eq!(&error.payload[4..8], [0; 4]);
            assert_eq!(&error.payload[8..], sent.bytes);
            assert!(has_right_checksum(&error), "{remote}");
        }
        let long = udp_frame(socket(guest), socket(remote), &[7; 1000]);
        let long = packet(&long);
        let error = unreachable(long.bytes, long.target, long.source, Unreachable::Port);
        assert_eq!(&packet(&error).payload[8..], &long.bytes[..QUOTE_BYTES_MAX]);
    }
}

#[test]
fn only_arp_requests_for_the_gateway_are_answered() {
    let addresses = Pools::default().addresses(7).unwrap();
    let request = |target: [u8; 4], operation: u8| {
        let mut frame = [&[0xff; 6][..], &GUEST_MAC, &[8, 6]].concat();
        frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(GUEST_MAC);
        frame.extend(addresses.guest_ipv4.octets());
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    };
    let gateway = addresses.gateway_ipv4.octets();
    let reply = |frame: &[u8]| match read_frame(frame) {
        Frame::Arp(request) => arp_reply(&request, &addresses),
        _ => None,
    };
    let expected = [
        &GUEST_MAC[..],
        &GATEWAY_MAC,
        &[8, 6],
        &[0, 1, 8, 0, 6, 4, 0, 2],
        &GATEWAY_MAC,
        &gateway,
        &GUEST_MAC,
        &addresses.guest_ipv4.octets(),
    ];
    let valid = request(gateway, 1);
    assert_eq!(reply(&valid).unwrap(), expected.concat());
    for length in 0..valid.len() {
        assert_eq!(reply(&valid[..length]), None, "{length}");
    }
    assert_eq!(reply(&request(gateway, 2)), None);
    assert_eq!(reply(&request(addresses.guest_ipv4.octets(), 1)), None);
    for at in 14..20 {
        let mut other = valid.clone();
        other[at] ^= 1;
        assert_eq!(reply(&other), None, "{at}");
    }
}

#[test]
fn only_neighbor_solicitations_for_the_gateway_are_answered() {
    let addresses = Pools::default().addresses(7).unwrap();
    let (guest, gateway) = (addresses.guest_ipv6.to_string(), addresses.gateway_ipv6);
    let solicitation = |target: Ipv6Addr| [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
    let answer = |source: &str, message: &[u8]| {
        let frame = ip(source, "ff02::1", IpProtocol::Icmpv6, message);
        neighbor_advertisement(&packet(&frame), &addresses)
    };
    let valid = solicitation(gateway);
    let frame = answer(&guest, &valid).unwrap();
    let advertisement = packet(&frame);
    assert_eq!((advertisement.source, advertisement.target), (gateway.into(), addresses.guest_ipv6.into()));
    assert_eq!(advertisement.bytes[7], 255, "the hop limit");
    assert_eq!(advertisement.payload[..2], [136, 0]);
    let body = [&[0xe0, 0, 0, 0][..], &gateway.octets(), &[2, 1], &GATEWAY_MAC].concat();
    assert_eq!(advertisement.payload[4..], body);
    assert!(has_right_checksum(&advertisement));
    for length in 0..valid.len() {
        assert_eq!(answer(&guest, &valid[..length]), None, "{length}");
    }
    assert_eq!(answer(&guest, &solicitation(addresses.guest_ipv6)), None);
    assert_eq!(answer("::", &valid), None);
}

#[test]
fn an_echo_request_is_answered_with_its_data() {
    let cases = [
        ("172.16.0.2", "172.16.0.1", IpProtocol::Icmp, 8, 0),
        ("fd42::2", "fd42::1", IpProtocol::Icmpv6, 128, 129),
    ];
    for (guest, gateway, protocol, request, reply) in cases {
        let message = [&[request, 0, 9, 9, 1, 2, 3, 4][..], b"hello"].concat();
        let frame = ip(guest, gateway, protocol, &message);
        let valid = packet(&frame);
        assert!(valid.is_echo_request());
        let frame = echo_reply(&valid).unwrap();
        let answer = packet(&frame);
        assert_eq!((answer.source, answer.target), (valid.target, valid.source));
        assert_eq!((answer.protocol, &answer.payload[..2]), (protocol, &[reply, 0][..]));
        assert_eq!(answer.payload[4..], message[4..]);
        assert!(has_right_checksum(&answer));
        for length in 0..8 {
            let frame = ip(guest, gateway, protocol, &message[..length]);
            assert_eq!(echo_reply(&packet(&frame)), None, "{length}");
        }
        let frame = ip(guest, gateway, protocol, &[&[reply][..], &message[1..]].concat());
        assert_eq!(echo_reply(&packet(&frame)), None);
    }
    let frame = ip("172.16.0.2", "172.16.0.1", IpProtocol::Icmpv6, &[128, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(echo_reply(&packet(&frame)), None, "ICMPv6 over IPv4");
}

#[test]
fn fragments_wrong_lengths_and_truncated_packets_are_refused() {
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

#[test]
fn packets_with_extension_headers_are_not_served() {
    // A destination options header and a fragment header before the payload.
    for (protocol, header) in [(60, [17, 0, 1, 4, 0, 0, 0, 0]), (44, [17, 0, 0, 0, 0, 0, 0, 1])] {
        let udp = [0, 53, 0, 53, 0, 8, 0, 0];
        let frame = ip("fd42::2", "2606::1", IpProtocol::from(protocol), &[header, udp].concat());
        let packet = packet(&frame);
        assert!(packet.tcp().is_none() && packet.udp().is_none() && !packet.is_echo_request());
    }
}

#[test]
fn a_datagram_or_segment_with_a_wrong_length_is_refused() {
    let udp = |length: u8| ip("172.16.0.2", "1.2.3.4", IpProtocol::Udp, &[0, 53, 0, 53, 0, length, 0, 0, 7]);
    for length in [0, 7, 10] {
        assert!(packet(&udp(length)).udp().is_none(), "{length}");
    }
    assert!(packet(&udp(8)).udp().unwrap().payload().is_empty());
    assert_eq!(packet(&udp(9)).udp().unwrap().payload(), [7]);
    let tcp = |words: u8| {
        let mut segment = [0; 20];
        segment[12] = words << 4;
        ip("172.16.0.2", "1.2.3.4", IpProtocol::Tcp, &segment)
    };
    assert!(packet(&tcp(5)).tcp().is_some());
    for words in [0, 4, 6] {
        assert!(packet(&tcp(words)).tcp().is_none(), "{words}");
    }
}
