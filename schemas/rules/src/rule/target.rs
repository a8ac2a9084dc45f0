//! The remote end of a connection, as a rule names it.

use super::name::DomainName;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

/// The remote end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// All addresses and names.
    Any,
    /// A group of addresses.
    Group(Group),
    /// The sandbox's own name server.
    Dns,
    /// A network, or one address.
    Network(IpNet),
    /// A name.
    Domain(DomainName),
    /// A name and all its subdomains.
    Suffix(DomainName),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Group(group) => write!(f, "{group}"),
            Self::Dns => f.write_str("dns"),
            Self::Network(network) => {
                match (network.addr(), network.prefix_len() == network.max_prefix_len()) {
                    (IpAddr::V4(address), true) => write!(f, "{address}"),
                    (IpAddr::V4(_), false) => write!(f, "{network}"),
                    (IpAddr::V6(address), true) => write!(f, "[{address}]"),
                    (IpAddr::V6(_), false) => write!(f, "[{network}]"),
                }
            }
            // A name of one label would be parsed as a group.
            Self::Domain(name) if name.is_label() => write!(f, "domain={name}"),
            Self::Domain(name) => write!(f, "{name}"),
            Self::Suffix(name) => write!(f, "*.{name}"),
        }
    }
}

crate::words! {
    /// A group of addresses.
    Group {
        /// Public addresses: those of no other group.
        Public = "public",
        /// Private networks.
        Private = "private",
        /// Loopback addresses.
        Loopback = "loopback",
        /// Link-local addresses.
        LinkLocal = "link-local",
        /// Metadata services of clouds.
        Meta = "meta",
        /// Multicast addresses.
        Multicast = "multicast",
        /// The host that the sandbox runs on.
        Host = "host",
        /// The other sandboxes of the project.
        Project = "project",
    }
}

/// The networks of the groups. `public` has the remaining addresses, and only the host knows those of `host` and `project`.
const NETWORKS: &[(Group, &[&str])] = &[
    (Group::Private, &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]),
    (Group::Loopback, &["127.0.0.0/8", "::1/128"]),
    (Group::LinkLocal, &["169.254.0.0/16", "fe80::/10"]),
    (
        Group::Meta,
        &[
            // Most clouds, over both families.
            "169.254.169.254/32",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
            // Credentials of containers and pods.
            "169.254.170.2/32",
            "169.254.170.23/32",
            "fd00:ec2::23/128",
            // Other addresses: Scaleway, Tencent, Alibaba, Oracle, and Azure, whose address is in a public network.
            "169.254.42.42/32",
            "169.254.0.23/32",
            "100.100.100.200/32",
            "192.0.0.192/32",
            "168.63.129.16/32",
        ],
    ),
    (Group::Multicast, &["224.0.0.0/4", "ff00::/8"]),
];

/// Reserved networks, which are in no group and not public.
const RESERVED: &[&str] = &[
    "0.0.0.0/8",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::/128",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "2001:db8::/32",
    "2002::/16",
];

/// [`NETWORKS`], parsed once, as rules are compared in pairs.
static PARSED_NETWORKS: LazyLock<Vec<(Group, IpNet)>> = LazyLock::new(|| {
    let of = |&(group, texts): &(Group, &'static [&str])| parsed(texts).map(move |network| (group, network));
    NETWORKS.iter().flat_map(of).collect()
});

/// [`RESERVED`], parsed once.
static PARSED_RESERVED: LazyLock<Vec<IpNet>> = LazyLock::new(|| parsed(RESERVED).collect());

fn parsed(texts: &'static [&str]) -> impl Iterator<Item = IpNet> {
    texts.iter().filter_map(|text| text.parse().ok())
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

impl Group {
    /// Returns whether all addresses of a network are in this group. An address is in the narrowest group only:
    /// `169.254.169.254` is in `meta`, not in `link-local`.
    pub fn contains(self, network: &IpNet) -> bool {
        let of = |group: Self| PARSED_NETWORKS.iter().filter(move |(own, _)| *own == group);
        let within = |group: Self| of(group).any(|(_, own)| own.contains(network));
        let touches_meta = of(Self::Meta).any(|(_, own)| overlap(own, network));
        match self {
            Self::Host | Self::Project => false,
            Self::Meta => within(Self::Meta),
            Self::Public => {
                let mut others = PARSED_NETWORKS.iter().map(|(_, other)| other).chain(&*PARSED_RESERVED);
                !others.any(|other| overlap(other, network))
            }
            group => within(group) && !touches_meta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        for (group, _) in NETWORKS {
            assert!(!matches!(group, Group::Public | Group::Host | Group::Project));
        }
        let texts: Vec<&str> =
            NETWORKS.iter().flat_map(|(_, texts)| texts.iter()).chain(RESERVED).copied().collect();
        assert_eq!(texts.iter().filter_map(|text| text.parse::<IpNet>().ok()).count(), texts.len());
        for (text, expected) in [
            ("8.8.8.8/32", Some(Group::Public)),
            ("2606:4700::/32", Some(Group::Public)),
            ("10.1.0.0/16", Some(Group::Private)),
            ("10.0.0.0/7", None),
            ("0.0.0.0/0", None),
            ("::/0", None),
            ("127.0.0.1/32", Some(Group::Loopback)),
            ("::1/128", Some(Group::Loopback)),
            ("169.254.1.0/24", Some(Group::LinkLocal)),
            ("169.254.169.254/32", Some(Group::Meta)),
            ("100.100.100.200/32", Some(Group::Meta)),
            ("192.0.0.192/32", Some(Group::Meta)),
            ("168.63.129.16/32", Some(Group::Meta)),
            ("168.63.0.0/16", None),
            ("169.254.0.0/16", None),
            ("fd00::/8", None),
            ("fd12::/16", Some(Group::Private)),
            ("239.1.1.1/32", Some(Group::Multicast)),
            ("192.0.2.1/32", None),
        ] {
            let network: IpNet = text.parse().unwrap();
            let containing: Vec<_> =
                Group::ALL.iter().copied().filter(|group| group.contains(&network)).collect();
            assert_eq!(containing, Vec::from_iter(expected), "{text}");
        }
    }
}
