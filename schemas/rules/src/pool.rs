//! Texts such as `172.16.0.0/12` and `fd42:6d73:62::/48` → pools: networks that sandboxes get their addresses from.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How much of an IPv4 pool a sandbox gets: an address for it, and one for its gateway.
pub const IPV4_PREFIX: u8 = 30;
/// How much of an IPv6 pool a sandbox gets.
pub const IPV6_PREFIX: u8 = 64;

/// Why a text, or a network, is no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPool {
    /// Not a network of this family.
    #[error("`{found}` is not a network of {family} addresses")]
    NotANetwork {
        /// What was given.
        found: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// Smaller than what one sandbox gets.
    #[error("must have room for a /{need}, which a sandbox gets")]
    TooSmall {
        /// The prefix of a sandbox's piece.
        need: u8,
    },
    /// Addresses that no guest can have.
    #[error("`{network}` holds addresses that no sandbox can have: {what}")]
    Unfit {
        /// The network.
        network: IpNet,
        /// What they are.
        what: &'static str,
    },
}

/// Networks, none of whose addresses a guest can have.
const UNFIT: &[(&str, &str)] = &[
    ("0.0.0.0/8", "they stand for nobody"),
    ("127.0.0.0/8", "they are every machine's own"),
    ("169.254.0.0/16", "they are link-local, and those of metadata services"),
    ("224.0.0.0/3", "they are those of groups, or nobody's"),
    ("::/8", "they stand for nobody, for the machine itself, or for IPv4"),
    ("64:ff9b::/96", "they stand for IPv4"),
    ("2002::/16", "they stand for IPv4"),
    ("fe80::/10", "they are link-local"),
    ("ff00::/8", "they are those of groups"),
];

/// Reads an IPv4 pool: `172.16.0.0/12`.
pub fn ipv4_pool(text: &str) -> Result<Ipv4Net, InvalidPool> {
    let not_one = || InvalidPool::NotANetwork { found: text.to_owned(), family: "IPv4" };
    check_ipv4_pool(text.parse::<Ipv4Net>().map_err(|_| not_one())?)
}

/// Reads an IPv6 pool: `fd42:6d73:62::/48`.
pub fn ipv6_pool(text: &str) -> Result<Ipv6Net, InvalidPool> {
    let not_one = || InvalidPool::NotANetwork { found: text.to_owned(), family: "IPv6" };
    check_ipv6_pool(text.parse::<Ipv6Net>().map_err(|_| not_one())?)
}

/// The network with its first address, if it can be a pool.
pub fn check_ipv4_pool(network: Ipv4Net) -> Result<Ipv4Net, InvalidPool> {
    check(network.into(), network.prefix_len(), IPV4_PREFIX)?;
    Ok(network.trunc())
}

/// The network with its first address, if it can be a pool.
pub fn check_ipv6_pool(network: Ipv6Net) -> Result<Ipv6Net, InvalidPool> {
    check(network.into(), network.prefix_len(), IPV6_PREFIX)?;
    Ok(network.trunc())
}

fn check(network: IpNet, prefix: u8, need: u8) -> Result<(), InvalidPool> {
    if prefix > need {
        return Err(InvalidPool::TooSmall { need });
    }
    let parsed = UNFIT.iter().filter_map(|(text, what)| Some((text.parse::<IpNet>().ok()?, *what)));
    let mut unfit = parsed.filter(|(unfit, _)| unfit.contains(&network) || network.contains(unfit));
    match unfit.next() {
        Some((_, what)) => Err(InvalidPool::Unfit { network: network.trunc(), what }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_room_and_begin_with_their_first_address() {
        assert_eq!(UNFIT.iter().filter_map(|(text, _)| text.parse::<IpNet>().ok()).count(), UNFIT.len());
        for (text, normal) in [("10.9.0.5/29", "10.9.0.0/29"), ("172.16.0.0/12", "172.16.0.0/12")] {
            assert_eq!(ipv4_pool(text).unwrap().to_string(), normal);
        }
        for (text, normal) in [("fd42:6d73:62::1/48", "fd42:6d73:62::/48"), ("FD00::/64", "fd00::/64")] {
            assert_eq!(ipv6_pool(text).unwrap().to_string(), normal);
        }
    }

    #[test]
    fn what_is_no_pool() {
        for (text, message) in [
            ("", "`` is not a network of IPv4 addresses"),
            ("10.0.0.0", "`10.0.0.0` is not a network of IPv4 addresses"),
            ("10.0.0.0/33", "`10.0.0.0/33` is not a network of IPv4 addresses"),
            ("fd00::/48", "`fd00::/48` is not a network of IPv4 addresses"),
            ("10.0.0.0/31", "must have room for a /30, which a sandbox gets"),
            (
                "127.5.0.0/16",
                "`127.5.0.0/16` holds addresses that no sandbox can have: they are every machine's own",
            ),
            (
                "169.254.169.0/24",
                "`169.254.169.0/24` holds addresses that no sandbox can have: they are link-local, and those of \
                 metadata services",
            ),
            ("0.0.0.0/0", "`0.0.0.0/0` holds addresses that no sandbox can have: they stand for nobody"),
        ] {
            assert_eq!(ipv4_pool(text).unwrap_err().to_string(), message, "{text}");
        }
        for (text, message) in [
            ("10.0.0.0/8", "`10.0.0.0/8` is not a network of IPv6 addresses"),
            ("fd00::/65", "must have room for a /64, which a sandbox gets"),
            ("fe80::/64", "`fe80::/64` holds addresses that no sandbox can have: they are link-local"),
        ] {
            assert_eq!(ipv6_pool(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}
