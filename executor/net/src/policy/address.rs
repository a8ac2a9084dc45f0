//! Classifies addresses, in any of their notations.

use ipnet::IpNet;
use rules::rule::Group;
use std::net::{IpAddr, Ipv4Addr};

/// The group of an address; `None` for unassigned ones. An address that embeds an IPv4 address has the group of that
/// one, as a translator would forward to it.
pub fn group_of(address: IpAddr) -> Option<Group> {
    /// Narrower groups first.
    const GROUPS: [Group; 6] =
        [Group::Meta, Group::Loopback, Group::LinkLocal, Group::Private, Group::Multicast, Group::Public];
    match embedded_ipv4(address).as_slice() {
        [] => GROUPS.into_iter().find(|group| group.contains(&IpNet::from(address))),
        // Teredo embeds two; the less public one counts.
        inside => {
            let groups: Vec<_> = inside.iter().map(|inner| group_of(IpAddr::V4(*inner))).collect();
            groups.iter().copied().find(|group| *group != Some(Group::Public)).unwrap_or(Some(Group::Public))
        }
    }
}

/// The IPv4 addresses that an IPv6 address embeds: v4-mapped and v4-compatible (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC
/// 3056), Teredo (RFC 4380), ISATAP (RFC 5214).
pub fn embedded_ipv4(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return Vec::new() };
    let words = address.segments();
    let at = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match words {
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => Vec::new(),
        // v4-compatible, v4-mapped, and IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        // NAT64 with the well-known prefix.
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4.
        | [0x2002, high, low, ..] => vec![at(high, low)],
        // NAT64 with a local prefix (RFC 8215): only its operator knows where the address is embedded.
        [0x64, 0xff9b, 1, ..] => vec![Ipv4Addr::UNSPECIFIED],
        // Teredo: the server, and the client with inverted bits.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            vec![at(!client_high, !client_low), at(high, low)]
        }
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => vec![at(high, low)],
        _ => Vec::new(),
    }
}

/// The IPv4 address of a v4-mapped one; any other address unchanged.
pub fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether a network contains an address, in any of its notations.
pub fn contains(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address)
        || embedded_ipv4(address).iter().any(|inner| network.contains(&IpAddr::V4(*inner)))
}

/// Whether an address is unspecified: `0.0.0.0/8` or `::`. The host's kernel treats these as loopback.
pub fn is_unspecified(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(four) => four.octets()[0] == 0,
        IpAddr::V6(six) => six.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (address, expected) in [
            ("8.8.8.8", Some(Group::Public)),
            ("10.0.0.1", Some(Group::Private)),
            ("100.64.0.1", Some(Group::Private)),
            ("0.0.0.0", None),
            ("255.255.255.255", None),
            ("::ffff:8.8.8.8", Some(Group::Public)),
            ("::ffff:10.0.0.1", Some(Group::Private)),
            ("::ffff:0:10.0.0.1", Some(Group::Private)),
            ("::10.0.0.1", Some(Group::Private)),
            ("::", None),
            ("::1", Some(Group::Loopback)),
            ("::127.0.0.1", Some(Group::Loopback)),
            ("64:ff9b::169.254.169.254", Some(Group::Meta)),
            ("64:ff9b::8.8.8.8", Some(Group::Public)),
            ("64:ff9b:1::a00:1", None),
            ("2002:a00:1::1", Some(Group::Private)),
            ("2002:7f00:1::", Some(Group::Loopback)),
            ("2002:808:808::1", Some(Group::Public)),
            // 192.168.0.1 with inverted bits as client of a public server; and the reverse.
            ("2001:0:808:808:0:0:3f57:fffe", Some(Group::Private)),
            ("2001:0:a00:1:0:0:f7f7:f7f7", Some(Group::Private)),
            ("2001:0:808:808:0:0:f7f7:f7f7", Some(Group::Public)),
            ("2001:db8::1", None),
            ("2606:4700::5efe:a00:1", Some(Group::Private)),
            ("2606:4700::1", Some(Group::Public)),
            ("fe80::1", Some(Group::LinkLocal)),
            ("fd00:ec2::254", Some(Group::Meta)),
            ("fd42:6d73:62::1", Some(Group::Private)),
            ("ff02::fb", Some(Group::Multicast)),
            ("224.0.0.251", Some(Group::Multicast)),
            ("100.100.100.200", Some(Group::Meta)),
            ("::ffff:168.63.129.16", Some(Group::Meta)),
        ] {
            assert_eq!(group_of(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_network_contains_all_notations() {
        let network: IpNet = "10.0.0.0/8".parse().unwrap();
        for address in ["10.1.1.1", "::ffff:10.1.1.1", "64:ff9b::10.1.1.1", "2002:a01:101::9"] {
            assert!(contains(&network, address.parse().unwrap()), "{address}");
        }
        assert!(!contains(&network, "11.0.0.1".parse().unwrap()));
        assert!(!contains(&network, "2002:b01:101::9".parse().unwrap()));
    }
}
