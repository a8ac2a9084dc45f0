//! What the network tells of: each refusal, and repeats of it as a number.

use crate::policy::Origin;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long repeats of a refusal are only counted.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);
/// So many different refusals are told apart at a time.
const TRACKED_MAX: usize = 256;

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A connection or packet from the sandbox.
    Out {
        /// `tcp`, `udp` or `icmp`.
        protocol: &'static str,
        /// Where to.
        target: SocketAddr,
        /// What the other end is called, if the sandbox asked for it by name.
        name: Option<String>,
    },
    /// A connection or packet into the sandbox.
    In {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Who wanted in.
        peer: std::net::IpAddr,
        /// The sandbox's port.
        port: u16,
        /// What the peer is called, if it is another sandbox.
        name: Option<String>,
    },
    /// The question for a name.
    Name {
        /// The name.
        name: String,
    },
    /// An answer to such a question that leads where it must not.
    Answer {
        /// The name.
        name: String,
        /// Where it leads.
        address: std::net::IpAddr,
    },
    /// More than can be told apart.
    Others,
}

/// Something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What.
    pub subject: Subject,
    /// Why.
    pub reason: Reason,
    /// How often since it was told of last, this time included.
    pub count: u64,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// In words: the rule, the default, or the limit.
    pub text: String,
    /// The rule that decided, if one did.
    pub rule: Option<String>,
    /// Who wrote it, or what is done where no rule fits; nothing where something else stands in the way.
    pub origin: Option<Origin>,
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), rule: None, origin: None }
    }
}

impl Reason {
    /// The same rule, and more to be said about it.
    pub(crate) fn with(self, text: String) -> Self {
        Self { text, ..self }
    }
}

/// Where refusals go.
pub type RefusalSink = Box<dyn FnMut(Refusal) + Send>;

/// Tells the first of equal refusals at once and counts those that follow soon.
pub(crate) struct Reporter {
    report: RefusalSink,
    known: HashMap<(Subject, Reason), (Instant, u64)>,
    /// Since when so many were not told apart from each other, for there were too many.
    others: Option<(Instant, u64)>,
    due: Option<Instant>,
}

impl Reporter {
    pub(crate) fn new(report: RefusalSink) -> Self {
        Self { report, known: HashMap::new(), others: None, due: None }
    }

    /// When something that was counted may have to be told.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn refused(&mut self, subject: Subject, reason: impl Into<Reason>, now: Instant) {
        let key = (subject, reason.into());
        if let Some((_, waiting)) = self.known.get_mut(&key) {
            *waiting += 1;
            return;
        }
        self.due.get_or_insert(now + REPEAT_INTERVAL);
        if self.known.len() >= TRACKED_MAX {
            self.others.get_or_insert((now, 0)).1 += 1;
            return;
        }
        (self.report)(Refusal { subject: key.0.clone(), reason: key.1.clone(), count: 1 });
        self.known.insert(key, (now, 0));
    }

    /// Tells what has been counted long enough.
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
        if self.others.is_some_and(|(since, _)| now.saturating_duration_since(since) >= REPEAT_INTERVAL) {
            self.report_others();
        }
        let others = self.others.map(|(since, _)| since);
        self.due = self
            .known
            .values()
            .map(|(since, _)| *since)
            .chain(others)
            .min()
            .map(|since| since + REPEAT_INTERVAL);
    }

    /// Nothing more comes: tells what has been counted so far.
    pub(crate) fn finish(&mut self) {
        for ((subject, reason), (_, waiting)) in self.known.drain() {
            if waiting > 0 {
                (self.report)(Refusal { subject, reason, count: waiting });
            }
        }
        self.report_others();
    }

    fn report_others(&mut self) {
        if let Some((_, count)) = self.others.take() {
            (self.report)(Refusal { subject: Subject::Others, reason: "too many to list".into(), count });
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
        (Reporter::new(Box::new(report)), reports)
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
        // What is still counted in the end is told in the end.
        reporter.refused(name("b.test"), "no rule allows it", start + REPEAT_INTERVAL * 3);
        reporter.finish();
        assert_eq!(counts(&reports), [(name("b.test"), 1)]);
    }

    /// Whoever keeps as many refusals busy as are told apart hides no other one.
    #[test]
    fn those_that_are_too_many_are_counted_together() {
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
