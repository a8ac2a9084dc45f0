//! The addresses of a sandbox: one subnet of each address pool.

use rules::pool::{IPV4_PREFIX, IPV6_PREFIX, Ipv4Pool, Ipv6Pool};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address pools that sandboxes get their subnets from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// The IPv4 pool; each sandbox gets a /30 of it.
    pub ipv4: Ipv4Pool,
    /// The IPv6 pool; each sandbox gets a /64 of it.
    pub ipv6: Ipv6Pool,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

impl Pools {
    /// The number of sandboxes that the IPv4 pool has room for.
    pub fn ipv4_subnets(&self) -> u32 {
        1 << (IPV4_PREFIX - self.ipv4.prefix_len())
    }

    /// The number of sandboxes that the IPv6 pool has room for.
    pub fn ipv6_subnets(&self) -> u64 {
        1 << (IPV6_PREFIX - self.ipv6.prefix_len())
    }

    /// The first address of the numbered subnet of the IPv4 pool; `None` past the last subnet.
    pub fn ipv4_subnet(&self, number: u32) -> Option<Ipv4Addr> {
        let start = u32::from(self.ipv4.network());
        (number < self.ipv4_subnets()).then(|| Ipv4Addr::from(start | number << (32 - IPV4_PREFIX)))
    }

    /// The first address of the numbered subnet of the IPv6 pool; `None` past the last subnet.
    pub fn ipv6_subnet(&self, number: u64) -> Option<Ipv6Addr> {
        let start = u128::from(self.ipv6.network());
        let offset = u128::from(number) << (128 - IPV6_PREFIX);
        (number < self.ipv6_subnets()).then(|| Ipv6Addr::from(start | offset))
    }

    /// The addresses of a sandbox with the numbered subnet of both pools; `None` past the last subnet of either.
    pub fn addresses(&self, number: u32) -> Option<Addresses> {
        Some(Addresses::of_subnets(self.ipv4_subnet(number)?, self.ipv6_subnet(number.into())?))
    }

    /// Whether both addresses are in these pools.
    pub fn contain(&self, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> bool {
        self.ipv4.contains(&ipv4) && self.ipv6.contains(&ipv6)
    }
}

/// The addresses of one sandbox and of its gateway, which is its name server as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// The sandbox's IPv4 address.
    pub guest_ipv4: Ipv4Addr,
    /// The gateway's IPv4 address, in the same /30.
    pub gateway_ipv4: Ipv4Addr,
    /// The sandbox's IPv6 address.
    pub guest_ipv6: Ipv6Addr,
    /// The gateway's IPv6 address, in the same /64.
    pub gateway_ipv6: Ipv6Addr,
}

impl Addresses {
    /// The addresses in the subnets that begin with these addresses.
    pub fn of_subnets(ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Self {
        let (four, six) = (u32::from(ipv4), u128::from(ipv6));
        Self {
            guest_ipv4: Ipv4Addr::from(four | 2),
            gateway_ipv4: Ipv4Addr::from(four | 1),
            guest_ipv6: Ipv6Addr::from(six | 2),
            gateway_ipv6: Ipv6Addr::from(six | 1),
        }
    }

    /// The gateway's address in the family of another address.
    pub fn gateway_like(&self, other: IpAddr) -> IpAddr {
        match other {
            IpAddr::V4(_) => self.gateway_ipv4.into(),
            IpAddr::V6(_) => self.gateway_ipv6.into(),
        }
    }

    /// Whether an address is the gateway's.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        self.gateway_like(address) == address
    }

    /// Whether an address is the sandbox's.
    pub fn is_guest(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(four) => four == self.guest_ipv4,
            IpAddr::V6(six) => six == self.guest_ipv6,
        }
    }
}

/// The address on the host that the gateway's address forwards to: the host's loopback.
pub(crate) fn gateway_to_loopback(target: SocketAddr) -> SocketAddr {
    let address = match target.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(address, target.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_adjacent_up_to_the_end_of_the_pool() {
        let pools = Pools::default();
        let last = pools.ipv4_subnets() - 1;
        assert_eq!((pools.ipv4_subnets(), pools.ipv6_subnets()), (1 << 18, 1 << 16));
        for (number, guest, gateway, six) in [
            (0, "172.16.0.2", "172.16.0.1", "fd42:6d73:62::2"),
            (1, "172.16.0.6", "172.16.0.5", "fd42:6d73:62:1::2"),
            (0xffff, "172.19.255.254", "172.19.255.253", "fd42:6d73:62:ffff::2"),
        ] {
            let (four, piece) =
                (pools.ipv4_subnet(number).unwrap(), pools.ipv6_subnet(number.into()).unwrap());
            let addresses = Addresses::of_subnets(four, piece);
            assert_eq!(addresses.guest_ipv4.to_string(), guest);
            assert_eq!(addresses.gateway_ipv4.to_string(), gateway);
            assert_eq!(addresses.guest_ipv6.to_string(), six);
            assert!(pools.contain(four, piece));
        }
        assert_eq!(pools.ipv4_subnet(last), Some(Ipv4Addr::new(172, 31, 255, 252)));
        assert_eq!((pools.ipv4_subnet(last + 1), pools.ipv6_subnet(1 << 16)), (None, None));
        let of = |ipv4: &str, ipv6: &str| Pools { ipv4: ipv4.parse().unwrap(), ipv6: ipv6.parse().unwrap() };
        let least = of("10.0.0.0/30", "fd00::/64");
        assert!(least.ipv4_subnet(0).is_some() && least.ipv4_subnet(1).is_none());
        assert!(least.ipv6_subnet(0).is_some() && least.ipv6_subnet(1).is_none());
        // The largest possible pools.
        let largest = of("32.0.0.0/3", "4000::/2");
        let (ipv4, ipv6) = (largest.ipv4_subnets(), largest.ipv6_subnets());
        assert_eq!((ipv4, ipv6), (1 << 27, 1 << 62));
        assert_eq!(largest.ipv4_subnet(ipv4 - 1), Some(Ipv4Addr::new(63, 255, 255, 252)));
        assert!(largest.ipv6_subnet(ipv6 - 1).is_some());
    }
}
