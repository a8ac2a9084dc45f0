//! Address pools: networks from which each sandbox gets a subnet, written like `172.16.0.0/12` and
//! `fd42:6d73:62::/48`.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::str::FromStr;

/// The prefix length of a sandbox's IPv4 subnet: an address for it, and one for its gateway.
pub const IPV4_PREFIX: u8 = 30;
/// The prefix length of a sandbox's IPv6 subnet.
pub const IPV6_PREFIX: u8 = 64;

/// The reason why a text is not a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPool {
    /// Not a network of this family.
    #[error("`{found}` is not a network of {family} addresses")]
    NotANetwork {
        /// The text.
        found: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// Smaller than the subnet of one sandbox.
    #[error("a pool must have room for a /{need}, which a sandbox gets")]
    TooSmall {
        /// The prefix length of that subnet.
        need: u8,
    },
    /// Overlaps with addresses that no guest can have.
    #[error("`{network}` contains addresses that no sandbox can have: they are {kind}")]
    Unfit {
        /// The network.
        network: IpNet,
        /// The kind of the addresses.
        kind: &'static str,
    },
}

/// Networks whose addresses no guest can have, and the kind of these addresses.
const UNFIT: &[(&str, &str)] = &[
    ("0.0.0.0/8", "unspecified"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, and those of metadata services"),
    ("224.0.0.0/3", "multicast or reserved"),
    ("::/8", "unspecified, loopback or IPv4 in IPv6"),
    ("64:ff9b::/96", "IPv4 in IPv6"),
    ("2002::/16", "IPv4 in IPv6"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

macro_rules! pool {
    ($(#[$doc:meta])* $pool:ident: $network:ident, $family:literal, $subnet:ident, $default:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $pool($network);

        impl Default for $pool {
            fn default() -> Self {
                const { Self($default) }
            }
        }

        impl Deref for $pool {
            type Target = $network;

            fn deref(&self) -> &$network {
                &self.0
            }
        }

        impl fmt::Display for $pool {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $pool {
            type Err = InvalidPool;

            fn from_str(text: &str) -> Result<Self, InvalidPool> {
                let network: $network = text
                    .parse()
                    .map_err(|_| InvalidPool::NotANetwork { found: text.to_owned(), family: $family })?;
                check(network.trunc().into(), $subnet)?;
                Ok(Self(network.trunc()))
            }
        }

        crate::serde_as_text!($pool);
    };
}

pool! {
    /// A network with room for the IPv4 subnet of a sandbox. It begins with its first address.
    Ipv4Pool: Ipv4Net, "IPv4", IPV4_PREFIX,
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12)
}

pool! {
    /// A network with room for the IPv6 subnet of a sandbox. It begins with its first address.
    Ipv6Pool: Ipv6Net, "IPv6", IPV6_PREFIX,
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd42, 0x6d73, 0x62, 0, 0, 0, 0, 0), 48)
}

fn check(network: IpNet, need: u8) -> Result<(), InvalidPool> {
    if network.prefix_len() > need {
        return Err(InvalidPool::TooSmall { need });
    }
    let parsed = UNFIT.iter().filter_map(|(text, kind)| Some((text.parse::<IpNet>().ok()?, *kind)));
    let mut unfit = parsed.filter(|(unfit, _)| unfit.contains(&network) || network.contains(unfit));
    unfit.next().map_or(Ok(()), |(_, kind)| Err(InvalidPool::Unfit { network, kind }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_room_and_begin_with_their_first_address() {
        assert_eq!(UNFIT.iter().filter_map(|(text, _)| text.parse::<IpNet>().ok()).count(), UNFIT.len());
        for (text, normal) in [("10.9.0.5/29", "10.9.0.0/29"), ("172.16.0.0/12", "172.16.0.0/12")] {
            assert_eq!(text.parse::<Ipv4Pool>().unwrap().to_string(), normal);
        }
        for (text, normal) in [("fd42:6d73:62::1/48", "fd42:6d73:62::/48"), ("FD00::/64", "fd00::/64")] {
            assert_eq!(text.parse::<Ipv6Pool>().unwrap().to_string(), normal);
        }
    }

    #[test]
    fn pools_are_text_in_json() {
        let pool: Ipv4Pool = serde_json::from_str("\"10.9.0.5/29\"").unwrap();
        assert_eq!(serde_json::to_string(&pool).unwrap(), "\"10.9.0.0/29\"");
        assert!(serde_json::from_str::<Ipv6Pool>("\"fe80::/64\"").is_err());
        let defaults = (Ipv4Pool::default().to_string(), Ipv6Pool::default().to_string());
        assert_eq!(
            (defaults.0.parse(), defaults.1.parse()),
            (Ok(Ipv4Pool::default()), Ok(Ipv6Pool::default()))
        );
    }

    #[test]
    fn other_texts_are_no_pools() {
        for (text, message) in [
            ("", "`` is not a network of IPv4 addresses"),
            ("10.0.0.0", "`10.0.0.0` is not a network of IPv4 addresses"),
            ("10.0.0.0/33", "`10.0.0.0/33` is not a network of IPv4 addresses"),
            ("fd00::/48", "`fd00::/48` is not a network of IPv4 addresses"),
            ("10.0.0.0/31", "a pool must have room for a /30, which a sandbox gets"),
            ("127.5.0.0/16", "`127.5.0.0/16` contains addresses that no sandbox can have: they are loopback"),
            (
                "169.254.169.0/24",
                "`169.254.169.0/24` contains addresses that no sandbox can have: they are link-local, and those of \
                 metadata services",
            ),
            ("0.0.0.0/0", "`0.0.0.0/0` contains addresses that no sandbox can have: they are unspecified"),
        ] {
            assert_eq!(text.parse::<Ipv4Pool>().unwrap_err().to_string(), message, "{text}");
        }
        for (text, message) in [
            ("10.0.0.0/8", "`10.0.0.0/8` is not a network of IPv6 addresses"),
            ("fd00::/65", "a pool must have room for a /64, which a sandbox gets"),
            ("fe80::/64", "`fe80::/64` contains addresses that no sandbox can have: they are link-local"),
        ] {
            assert_eq!(text.parse::<Ipv6Pool>().unwrap_err().to_string(), message, "{text}");
        }
    }
}
