//! Which addresses were answered for which names, and for how long that holds.

use schemas::rule::DomainName;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A record that may be kept for less is kept for this long: a program asks first and connects later.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// The longest that one is believed.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How many are remembered; a guest can ask for many.
const PINS_MAX: usize = 65_536;

#[derive(Default)]
pub(super) struct Pins {
    known: HashMap<IpAddr, Vec<(DomainName, Instant)>>,
    count: usize,
}

impl Pins {
    pub(super) fn pin(&mut self, address: IpAddr, name: DomainName, lifetime: Duration, now: Instant) {
        let until = now + lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX);
        let names = self.known.entry(address).or_default();
        match names.iter_mut().find(|(known, _)| *known == name) {
            // An answer with a shorter life does not take back what an earlier one promised.
            Some((_, known)) => *known = until.max(*known),
            None if self.count < PINS_MAX => {
                names.push((name, until));
                self.count += 1;
            }
            None => {}
        }
    }

    pub(super) fn names_of(&self, address: IpAddr, now: Instant) -> Vec<DomainName> {
        let names = self.known.get(&address).into_iter().flatten();
        names.filter(|(_, until)| *until > now).map(|(name, _)| name.clone()).collect()
    }

    /// Forgets what is over. What is connected to goes on being known for as long again.
    pub(super) fn purge(&mut self, now: Instant, in_use: impl Fn(IpAddr) -> bool) {
        self.known.retain(|address, names| {
            if in_use(*address) {
                for (_, until) in names.iter_mut() {
                    *until = (*until).max(now + LIFETIME_MIN);
                }
                return true;
            }
            names.retain(|(_, until)| *until > now);
            !names.is_empty()
        });
        self.count = self.known.values().map(Vec::len).sum();
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
    fn what_is_connected_to_stays_known() {
        let start = Instant::now();
        let address: IpAddr = "1.1.1.1".parse().unwrap();
        let mut pins = Pins::default();
        pins.pin(address, name("a.test"), Duration::ZERO, start);
        for minutes in 1..100 {
            let now = start + Duration::from_secs(50) * minutes;
            pins.purge(now, |used| used == address);
            assert_eq!(pins.names_of(address, now), [name("a.test")]);
        }
        let later = start + Duration::from_secs(50 * 99 + 61);
        assert!(pins.names_of(address, later).is_empty());
    }

    #[test]
    fn a_guest_cannot_fill_the_memory() {
        let start = Instant::now();
        let mut pins = Pins::default();
        for number in 0..70_000u32 {
            let address = IpAddr::from(number.to_be_bytes());
            pins.pin(address, name("a.test"), Duration::ZERO, start);
        }
        assert_eq!(pins.count, PINS_MAX);
    }
}
