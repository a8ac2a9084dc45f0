//! A short-lived cache of which addresses are the host's own, for DNS answers.

use crate::host;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The lifetime of the cache. Connections do not rely on it.
const LIFETIME: Duration = Duration::from_secs(1);
/// The limit of cached addresses: more than one answer can contain.
const ADDRESSES_MAX: usize = 8192;

/// Recent results. A lookup takes several system calls, an answer can contain thousands of addresses, and the guest can
/// query at any rate.
#[derive(Default)]
pub(super) struct OwnAddresses {
    known: HashMap<IpAddr, bool>,
    since: Option<Instant>,
}

impl OwnAddresses {
    /// Whether an address is the host's own.
    pub(super) fn contains(&mut self, address: IpAddr, now: Instant) -> bool {
        self.contains_by(address, now, host::is_own)
    }

    fn contains_by(&mut self, address: IpAddr, now: Instant, look: impl FnOnce(IpAddr) -> bool) -> bool {
        let is_old = self.since.is_none_or(|since| now.saturating_duration_since(since) >= LIFETIME);
        if is_old || self.known.len() >= ADDRESSES_MAX {
            self.known.clear();
            self.since = Some(now);
        }
        *self.known.entry(address).or_insert_with(|| look(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn an_address_is_looked_up_once_per_second() {
        let (mut own, began) = (OwnAddresses::default(), Instant::now());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut looks = Vec::new();
        // The host gets the address between the second and the third lookup.
        for (millis, has_it) in [(0, false), (999, false), (1000, true), (1999, true)] {
            let look = |_| {
                looks.push(millis);
                has_it
            };
            assert_eq!(
                own.contains_by(address, began + Duration::from_millis(millis), look),
                has_it,
                "{millis}"
            );
        }
        assert_eq!(looks, [0, 1000]);
        assert!(own.contains(Ipv4Addr::LOCALHOST.into(), began));
    }

    #[test]
    fn memory_has_a_limit() {
        let (mut own, now) = (OwnAddresses::default(), Instant::now());
        for number in 0..3 * u32::try_from(ADDRESSES_MAX).unwrap() {
            own.contains_by(Ipv4Addr::from(number).into(), now, |_| false);
            assert!(own.known.len() <= ADDRESSES_MAX);
        }
    }
}
