//! Allowed traffic, as the network reports it: each kind once at first, and then its repeats as counts.

use crate::policy::FlowDirection;
use rules::rule::DomainName;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The limit of kinds of traffic from the sandbox.
const OUTBOUND_MAX: usize = 1024;
/// The limit of kinds of traffic into the sandbox. It is separate, as clients outside choose their addresses.
const INBOUND_MAX: usize = 256;
/// How long the first repeats are counted before they are reported. The time doubles with each report.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
/// The longest such time.
const INTERVAL_MAX: Duration = Duration::from_secs(600);

/// A kind of traffic that the rules allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Connections, or packets of one UDP flow.
    Flow {
        /// The direction.
        direction: FlowDirection,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The peer's name, if the sandbox resolved it or the peer is another sandbox.
        name: Option<DomainName>,
        /// The peer's address; `None` if a rule for the name suffices.
        address: Option<IpAddr>,
        /// The destination port: the peer's, or the sandbox's own for inbound connections.
        port: u16,
    },
    /// Kinds beyond the limit.
    Others,
}

/// Traffic that the rules allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Its kind.
    pub traffic: Traffic,
    /// The number of connections since the last report of this kind, this one included.
    pub count: u64,
}

/// Callback for allowed traffic.
pub type AllowedSink = Box<dyn FnMut(Allowed) + Send>;

/// The repeats of one kind since the last report.
struct Repeats {
    count: u64,
    interval: Duration,
    next: Instant,
}

/// Counts allowed traffic. Kinds are never forgotten, so that a guest cannot cause more reports than the limits allow.
pub(crate) struct Recorder {
    report: AllowedSink,
    known: HashMap<Traffic, Repeats>,
    outbound: usize,
    inbound: usize,
    due: Option<Instant>,
}

impl Recorder {
    pub(crate) fn new(report: AllowedSink) -> Self {
        Self { report, known: HashMap::new(), outbound: 0, inbound: 0, due: None }
    }

    /// When repeats have to be reported; `None` while there are none.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn record(&mut self, traffic: Traffic, now: Instant) {
        let traffic = if self.known.contains_key(&traffic) || self.has_room(&traffic) {
            traffic
        } else {
            Traffic::Others
        };
        if let Some(repeats) = self.known.get_mut(&traffic) {
            repeats.count += 1;
            self.due = Some(self.due.map_or(repeats.next, |due| due.min(repeats.next)));
            return;
        }
        match traffic {
            Traffic::Flow { direction: FlowDirection::Outbound, .. } => self.outbound += 1,
            Traffic::Flow { direction: FlowDirection::Inbound, .. } => self.inbound += 1,
            Traffic::Others => {}
        }
        (self.report)(Allowed { traffic: traffic.clone(), count: 1 });
        self.known.insert(traffic, Repeats { count: 0, interval: INTERVAL_MIN, next: now + INTERVAL_MIN });
    }

    fn has_room(&self, traffic: &Traffic) -> bool {
        match traffic {
            Traffic::Flow { direction: FlowDirection::Outbound, .. } => self.outbound < OUTBOUND_MAX,
            Traffic::Flow { direction: FlowDirection::Inbound, .. } => self.inbound < INBOUND_MAX,
            Traffic::Others => true,
        }
    }

    /// Reports repeats that were counted for long enough.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        for (traffic, repeats) in &mut self.known {
            if repeats.count > 0 && repeats.next <= now {
                let count = std::mem::take(&mut repeats.count);
                repeats.interval = (repeats.interval * 2).min(INTERVAL_MAX);
                repeats.next = now + repeats.interval;
                (self.report)(Allowed { traffic: traffic.clone(), count });
            }
        }
        let waiting = self.known.values().filter(|repeats| repeats.count > 0);
        self.due = waiting.map(|repeats| repeats.next).min();
    }

    /// Reports all remaining repeats.
    pub(crate) fn finish(&mut self) {
        for (traffic, repeats) in self.known.drain() {
            if repeats.count > 0 {
                (self.report)(Allowed { traffic, count: repeats.count });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn recorder() -> (Recorder, mpsc::Receiver<Allowed>) {
        let (sender, reports) = mpsc::channel();
        (Recorder::new(Box::new(move |allowed| drop(sender.send(allowed)))), reports)
    }

    fn flow(direction: FlowDirection, port: u16) -> Traffic {
        let name = DomainName::new("a.test").ok();
        Traffic::Flow { direction, protocol: "tcp", name, address: None, port }
    }

    fn counts(reports: &mpsc::Receiver<Allowed>) -> Vec<(Traffic, u64)> {
        reports.try_iter().map(|Allowed { traffic, count }| (traffic, count)).collect()
    }

    #[test]
    fn repeats_are_reported_ever_more_rarely_and_never_without_traffic() {
        let (mut recorder, reports) = recorder();
        let start = Instant::now();
        let web = flow(FlowDirection::Outbound, 443);
        recorder.record(web.clone(), start);
        assert_eq!(counts(&reports), [(web.clone(), 1)]);
        assert_eq!(recorder.due(), None);
        // A connection per second for an hour.
        let mut reported = Vec::new();
        for second in 1..=3600 {
            let now = start + Duration::from_secs(second);
            recorder.record(web.clone(), now);
            recorder.tick(now);
            reported.extend(counts(&reports).into_iter().map(|(_, count)| (second, count)));
        }
        assert_eq!(reported[..4], [(10, 10), (30, 20), (70, 40), (150, 80)]);
        assert_eq!(reported.len(), 10);
        recorder.finish();
        reported.extend(counts(&reports).into_iter().map(|(_, count)| (3600, count)));
        assert_eq!(reported.iter().map(|(_, count)| count).sum::<u64>(), 3600);
    }

    #[test]
    fn a_guest_cannot_make_it_grow() {
        let (mut recorder, reports) = recorder();
        let start = Instant::now();
        for port in 1..=u16::MAX {
            recorder.record(flow(FlowDirection::Outbound, port), start);
        }
        let first = counts(&reports);
        assert_eq!(first.len(), OUTBOUND_MAX + 1);
        assert_eq!(first.last(), Some(&(Traffic::Others, 1)));
        // Known kinds and the other direction are still counted by themselves.
        recorder.record(flow(FlowDirection::Outbound, 1), start);
        for port in 1..=u16::MAX {
            recorder.record(flow(FlowDirection::Inbound, port), start);
        }
        assert_eq!(counts(&reports).len(), INBOUND_MAX);
        recorder.finish();
        let mut rest = counts(&reports);
        rest.sort_by_key(|(_, count)| *count);
        let others = 2 * u64::from(u16::MAX) - (OUTBOUND_MAX + INBOUND_MAX) as u64 - 1;
        assert_eq!(rest, [(flow(FlowDirection::Outbound, 1), 1), (Traffic::Others, others)]);
    }
}
