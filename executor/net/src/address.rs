//! The addresses of a sandbox: the n-th piece of each pool.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How much of the IPv4 pool a sandbox gets: an address for it, and one for its gateway.
pub const IPV4_PREFIX: u8 = 30;
/// How much of the IPv6 pool a sandbox gets.
pub const IPV6_PREFIX: u8 = 64;

/// The networks that sandboxes get their addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pools {
    /// A /30 of it is a sandbox's.
    pub ipv4: Ipv4Net,
    /// A /64 of it is a sandbox's.
    pub ipv6: Ipv6Net,
}

impl Default for Pools {
    fn default() -> Self {
        let ipv4 = Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12);
        let ipv6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd42, 0x6d73, 0x62, 0, 0, 0, 0, 0), 48);
        Self { ipv4, ipv6 }
    }
}

impl Pools {
    /// How many sandboxes they serve.
    pub fn slots(&self) -> u32 {
        let pieces = |own: u8, piece: u8| 1u32 << piece.saturating_sub(own).min(31);
        let fits = self.ipv4.prefix_len() <= IPV4_PREFIX && self.ipv6.prefix_len() <= IPV6_PREFIX;
        let least =
            pieces(self.ipv4.prefix_len(), IPV4_PREFIX).min(pieces(self.ipv6.prefix_len(), IPV6_PREFIX));
        if fits { least } else { 0 }
    }

    /// The addresses of one slot; nothing behind the last one.
    pub fn addresses(&self, slot: u32) -> Option<Addresses> {
        if slot >= self.slots() {
            return None;
        }
        let four = u32::from(self.ipv4.network()) + slot * 4;
        let six = u128::from(self.ipv6.network()) + (u128::from(slot) << 64);
        Some(Addresses {
            guest_ipv4: Ipv4Addr::from(four + 2),
            gateway_ipv4: Ipv4Addr::from(four + 1),
            guest_ipv6: Ipv6Addr::from(six + 2),
            gateway_ipv6: Ipv6Addr::from(six + 1),
        })
    }
}

/// The addresses of one sandbox and of its gateway, which is its name server as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// The sandbox's.
    pub guest_ipv4: Ipv4Addr,
    /// The gateway's, in the same /30.
    pub gateway_ipv4: Ipv4Addr,
    /// The sandbox's.
    pub guest_ipv6: Ipv6Addr,
    /// The gateway's, in the same /64.
    pub gateway_ipv6: Ipv6Addr,
}

impl Addresses {
    /// The gateway, as seen over the family of another address.
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

/// What really listens behind the gateway's address: the host's loopback.
pub(crate) fn behind_gateway(target: SocketAddr) -> SocketAddr {
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
    fn slots_follow_each_other_and_end() {
        let pools = Pools::default();
        let last = pools.slots() - 1;
        assert_eq!(pools.slots(), 1 << 16);
        for (slot, guest, gateway, six) in [
            (0, "172.16.0.2", "172.16.0.1", "fd42:6d73:62::2"),
            (1, "172.16.0.6", "172.16.0.5", "fd42:6d73:62:1::2"),
            (last, "172.19.255.254", "172.19.255.253", "fd42:6d73:62:ffff::2"),
        ] {
            let addresses = pools.addresses(slot).unwrap();
            assert_eq!(addresses.guest_ipv4.to_string(), guest);
            assert_eq!(addresses.gateway_ipv4.to_string(), gateway);
            assert_eq!(addresses.guest_ipv6.to_string(), six);
        }
        assert_eq!(pools.addresses(last + 1), None);
        let one = Pools { ipv4: "10.0.0.0/30".parse().unwrap(), ..Pools::default() };
        assert!(one.addresses(0).is_some() && one.addresses(1).is_none());
        let none = Pools { ipv4: "10.0.0.0/31".parse().unwrap(), ..Pools::default() };
        assert_eq!(none.addresses(0), None);
    }
}
