//! Pins: the names that each address was answered for, with an expiry.

use rules::rule::DomainName;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The minimum lifetime of a pin: a program resolves first and connects later.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// The maximum lifetime of a pin.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The limit of all pins; a guest can resolve any number of names.
const PINS_MAX: usize = 65_536;
/// The limit of names per address. The least recently answered one is evicted.
const NAMES_MAX: usize = 64;

struct Pin {
    name: DomainName,
    until: Instant,
    answered: Instant,
}

/// The names of one address.
#[derive(Default)]
struct Pinned {
    names: Vec<Pin>,
    /// All names, shared by the connections to the address.
    shared: OnceCell<Arc<[DomainName]>>,
}

#[derive(Default)]
pub(super) struct Pins {
    known: HashMap<IpAddr, Pinned>,
    count: usize,
}

impl Pins {
    pub(super) fn pin(&mut self, address: IpAddr, name: DomainName, lifetime: Duration, now: Instant) {
        let until = now + lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX);
        if let Some(pinned) = self.known.get_mut(&address) {
            if let Some(pin) = pinned.names.iter_mut().find(|pin| pin.name == name) {
                // An answer with a shorter TTL does not shorten an earlier one.
                (pin.until, pin.answered) = (until.max(pin.until), now);
                return;
            }
            if pinned.names.len() >= NAMES_MAX {
                self.count -= pinned.forget_oldest();
            }
        }
        if self.count < PINS_MAX {
            let pinned = self.known.entry(address).or_default();
            pinned.names.push(Pin { name, until, answered: now });
            pinned.shared.take();
            self.count += 1;
        }
    }

    pub(super) fn names_of(&self, address: IpAddr, now: Instant) -> Arc<[DomainName]> {
        let Some(pinned) = self.known.get(&address) else { return Arc::default() };
        let valid =
            || pinned.names.iter().filter(|pin| pin.until > now).map(|pin| pin.name.clone()).collect();
        if pinned.names.iter().all(|pin| pin.until > now) {
            pinned.shared.get_or_init(valid).clone()
        } else {
            valid()
        }
    }

    /// The name that an address was last answered for.
    pub(super) fn last_name_of(&self, address: IpAddr, now: Instant) -> Option<DomainName> {
        let valid = self.known.get(&address)?.names.iter().filter(|pin| pin.until > now);
        valid.max_by_key(|pin| pin.answered).map(|pin| pin.name.clone())
    }

    /// Removes expired pins. Addresses that are in use get another minimum lifetime.
    pub(super) fn purge(&mut self, now: Instant, in_use: impl Fn(IpAddr) -> bool) {
        self.known.retain(|address, pinned| {
            if in_use(*address) {
                for pin in &mut pinned.names {
                    pin.until = pin.until.max(now + LIFETIME_MIN);
                }
                return true;
            }
            let before = pinned.names.len();
            pinned.names.retain(|pin| pin.until > now);
            if pinned.names.len() < before {
                pinned.shared.take();
            }
            !pinned.names.is_empty()
        });
        self.count = self.known.values().map(|pinned| pinned.names.len()).sum();
    }
}

impl Pinned {
    /// Evicts the oldest name; returns how many were removed.
    fn forget_oldest(&mut self) -> usize {
        let oldest = self.names.iter().enumerate().min_by_key(|(_, pin)| pin.answered);
        let Some((at, _)) = oldest else { return 0 };
        self.names.remove(at);
        self.shared.take();
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::new(text).unwrap()
    }

    #[test]
    fn a_day_of_lifetimes() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let (short, long): (IpAddr, IpAddr) = ("1.1.1.1".parse().unwrap(), "2.2.2.2".parse().unwrap());
        let mut pins = Pins::default();
        for hour in 0..24 {
            let now = start + minute * 60 * hour;
            pins.pin(short, name("short.test"), Duration::from_secs(1), now);
            pins.pin(long, name("long.test"), minute * 10, now);
            for minutes in 0..60 {
                let now = now + minute * minutes + Duration::from_secs(59);
                pins.purge(now, |_| false);
                assert_eq!(pins.names_of(short, now).len(), usize::from(minutes == 0), "{hour}:{minutes}");
                assert_eq!(pins.names_of(long, now).len(), usize::from(minutes < 10), "{hour}:{minutes}");
            }
        }
        pins.purge(start + minute * 60 * 25, |_| false);
        assert!(pins.known.is_empty() && pins.count == 0);
    }

    #[test]
    fn the_name_that_was_answered_last_is_known() {
        let start = Instant::now();
        let address: IpAddr = "1.1.1.1".parse().unwrap();
        let mut pins = Pins::default();
        for (second, text) in [(0, "a.test"), (1, "b.test"), (2, "a.test")] {
            let now = start + Duration::from_secs(second);
            pins.pin(address, name(text), Duration::from_secs(3600), now);
            assert_eq!(pins.last_name_of(address, now), Some(name(text)));
        }
        assert_eq!(pins.last_name_of(address, start + Duration::from_secs(2 * 3600)), None);
    }

    #[test]
    fn addresses_in_use_stay_pinned() {
        let start = Instant::now();
        let address: IpAddr = "1.1.1.1".parse().unwrap();
        let mut pins = Pins::default();
        pins.pin(address, name("a.test"), Duration::ZERO, start);
        for minutes in 1..100 {
            let now = start + Duration::from_secs(50) * minutes;
            pins.purge(now, |used| used == address);
            assert_eq!(*pins.names_of(address, now), [name("a.test")]);
        }
        let later = start + Duration::from_secs(50 * 99 + 61);
        assert!(pins.names_of(address, later).is_empty());
    }

    #[test]
    fn the_number_of_pins_is_limited() {
        let start = Instant::now();
        let mut pins = Pins::default();
        for number in 0..70_000u32 {
            let address = IpAddr::from(number.to_be_bytes());
            pins.pin(address, name("a.test"), Duration::ZERO, start);
        }
        assert_eq!((pins.count, pins.known.len()), (PINS_MAX, PINS_MAX));
        assert_eq!(*pins.names_of(IpAddr::from([0; 4]), start), [name("a.test")]);
    }

    #[test]
    fn an_address_keeps_its_latest_names() {
        let start = Instant::now();
        let address: IpAddr = "1.1.1.1".parse().unwrap();
        let mut pins = Pins::default();
        let all: Vec<_> = (0..1000u32).map(|number| name(&format!("n{number}.test"))).collect();
        for (second, one) in (0..).zip(&all) {
            let now = start + Duration::from_millis(second);
            pins.pin(address, one.clone(), LIFETIME_MAX, now);
            // Resolved all the time.
            pins.pin(address, all[0].clone(), LIFETIME_MAX, now);
        }
        let names = pins.names_of(address, start);
        let latest = std::iter::once(&all[0]).chain(&all[1000 - (NAMES_MAX - 1)..]);
        assert!(names.iter().eq(latest), "{names:?}");
        assert_eq!(pins.count, NAMES_MAX);
        // All connections share one list.
        assert!(Arc::ptr_eq(&names, &pins.names_of(address, start)));
        pins.pin(address, name("further.test"), LIFETIME_MAX, start + LIFETIME_MIN);
        assert_eq!(pins.names_of(address, start).last(), Some(&name("further.test")));
        assert_eq!(names.len(), NAMES_MAX);
    }
}
