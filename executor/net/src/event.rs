//! Refusals that the network reports, with repeats counted.

use crate::counters::Counters;
use crate::policy::Origin;
use rules::rule::{DomainName, Protocol};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long repeats of a refusal are counted before they are reported.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);
/// The limit of refusals that are tracked separately.
const TRACKED_MAX: usize = 256;

/// The subject of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A connection or packet from the sandbox.
    Out {
        /// `tcp`, `udp` or `icmp`.
        protocol: &'static str,
        /// The destination.
        target: SocketAddr,
        /// The name of the destination, if the sandbox resolved it.
        name: Option<String>,
    },
    /// A connection or packet into the sandbox.
    In {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The source.
        peer: IpAddr,
        /// The sandbox's port.
        port: u16,
        /// The name of the peer, if it is another sandbox.
        name: Option<String>,
    },
    /// A DNS query.
    Name {
        /// The queried name.
        name: String,
    },
    /// A DNS answer with an address that is not allowed.
    Answer {
        /// The queried name.
        name: String,
        /// The address in the answer.
        address: IpAddr,
    },
    /// Refusals beyond the tracking limit.
    Others,
}

impl Subject {
    pub(crate) fn outbound(protocol: Protocol, target: SocketAddr, name: Option<&DomainName>) -> Self {
        Self::Out { protocol: protocol.as_str(), target, name: name.map(ToString::to_string) }
    }

    pub(crate) fn inbound(protocol: Protocol, peer: IpAddr, port: u16, name: Option<&DomainName>) -> Self {
        Self::In { protocol: protocol.as_str(), peer, port, name: name.map(ToString::to_string) }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The subject.
    pub subject: Subject,
    /// The reason.
    pub reason: Reason,
    /// The number of refusals since the last report, this one included.
    pub count: u64,
}

/// The reason for a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// As text: the rule, the default, or the limit.
    pub text: String,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// The origin of the decision; `None` if no rule was involved.
    pub origin: Option<Origin>,
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), rule: None, origin: None }
    }
}

impl Reason {
    /// The same rule with another text.
    pub(crate) fn with(self, text: String) -> Self {
        Self { text, ..self }
    }
}

/// Callback for refusals.
pub type RefusalSink = Box<dyn FnMut(Refusal) + Send>;

/// Reports the first of equal refusals at once, and repeats as a count.
pub(crate) struct Reporter {
    report: RefusalSink,
    /// The time of the last report, and the repeats since. Refusals beyond the limit are counted as [`Subject::Others`].
    known: HashMap<(Subject, Reason), (Instant, u64)>,
    due: Option<Instant>,
    counters: Arc<Counters>,
}

impl Reporter {
    pub(crate) fn new(report: RefusalSink, counters: Arc<Counters>) -> Self {
        Self { report, known: HashMap::new(), due: None, counters }
    }

    /// When counted repeats may have to be reported.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn refused(&mut self, subject: Subject, reason: impl Into<Reason>, now: Instant) {
        self.counters.count_refusal();
        let key = (subject, reason.into());
        if let Some((_, waiting)) = self.known.get_mut(&key) {
            *waiting += 1;
            return;
        }
        self.due.get_or_insert(now + REPEAT_INTERVAL);
        if self.known.len() >= TRACKED_MAX {
            let others = (Subject::Others, Reason::from("too many to list"));
            self.known.entry(others).or_insert((now, 0)).1 += 1;
            return;
        }
        (self.report)(Refusal { subject: key.0.clone(), reason: key.1.clone(), count: 1 });
        self.known.insert(key, (now, 0));
    }

    /// Reports repeats that were counted for long enough.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let report = &mut self.report;
        self.known.retain(|(subject, reason), (since, waiting)| {
            if now.saturating_duration_since(*since) < REPEAT_INTERVAL {
                return true;
            }
            if *waiting == 0 {
                return false;
            }
            report(Refusal { subject: subject.clone(), reason: reason.clone(), count: *waiting });
            (*since, *waiting) = (now, 0);
            true
        });
        self.due = self.known.values().map(|(since, _)| *since + REPEAT_INTERVAL).min();
    }

    /// Reports all remaining repeats.
    pub(crate) fn finish(&mut self) {
        for ((subject, reason), (_, waiting)) in self.known.drain() {
            if waiting > 0 {
                (self.report)(Refusal { subject, reason, count: waiting });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn reporter() -> (Reporter, mpsc::Receiver<Refusal>) {
        let (sender, reports) = mpsc::channel();
        let report = move |refusal: Refusal| {
            let _ = sender.send(refusal);
        };
        (Reporter::new(Box::new(report), Arc::default()), reports)
    }

    fn name(name: &str) -> Subject {
        Subject::Name { name: name.to_owned() }
    }

    fn counts(reports: &mpsc::Receiver<Refusal>) -> Vec<(Subject, u64)> {
        reports.try_iter().map(|refusal| (refusal.subject, refusal.count)).collect()
    }

    #[test]
    fn repeats_are_counted() {
        let (mut reporter, reports) = reporter();
        let start = Instant::now();
        for _ in 0..5 {
            reporter.refused(name("a.test"), "no rule allows it", start);
        }
        reporter.refused(name("b.test"), "no rule allows it", start);
        assert_eq!(counts(&reports), [(name("a.test"), 1), (name("b.test"), 1)]);
        reporter.tick(start);
        assert_eq!(reporter.due(), Some(start + REPEAT_INTERVAL));
        reporter.tick(start + REPEAT_INTERVAL);
        assert_eq!(reporter.due(), Some(start + REPEAT_INTERVAL * 2));
        assert_eq!(counts(&reports), [(name("a.test"), 4)]);
        reporter.tick(start + REPEAT_INTERVAL * 2);
        assert_eq!(reporter.due(), None);
        reporter.refused(name("b.test"), "no rule allows it", start + REPEAT_INTERVAL * 3);
        assert_eq!(counts(&reports), [(name("b.test"), 1)]);
        // Remaining repeats are reported at the end.
        reporter.refused(name("b.test"), "no rule allows it", start + REPEAT_INTERVAL * 3);
        reporter.finish();
        assert_eq!(counts(&reports), [(name("b.test"), 1)]);
    }

    /// A guest that keeps the whole table busy does not hide other refusals.
    #[test]
    fn refusals_beyond_the_limit_are_counted_together() {
        let (mut reporter, reports) = reporter();
        let start = Instant::now();
        for round in 0..3 {
            let now = start + REPEAT_INTERVAL * round;
            for number in 0..TRACKED_MAX {
                reporter.refused(name(&format!("busy-{number}")), "no", now);
            }
            reporter.refused(name("hidden"), "no", now);
            reporter.tick(now);
        }
        reporter.finish();
        let reports = counts(&reports);
        let others: Vec<_> = reports.iter().filter(|(subject, _)| *subject == Subject::Others).collect();
        assert_eq!(others, [&(Subject::Others, 2), &(Subject::Others, 1)]);
        assert_eq!(reports.len(), 3 * TRACKED_MAX + 2);
    }
}
