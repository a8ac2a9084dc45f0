//! What the network tells of: each refusal, and repeats of it as a number.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long repeats of a refusal are only counted.
const QUIET: Duration = Duration::from_secs(10);
/// So many different refusals are told apart at a time.
const KNOWN_MAX: usize = 256;

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
}

/// Something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What.
    pub subject: Subject,
    /// Why: the rule, the default or the limit.
    pub reason: String,
    /// How often since it was told of last, this time included.
    pub count: u64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Out { protocol, target, name } => {
                write!(f, "refused {protocol} to {target}")?;
                if let Some(name) = name {
                    write!(f, " ({name})")?;
                }
            }
            Subject::In { protocol, peer, port, name } => {
                write!(f, "refused {protocol} from {peer}")?;
                if let Some(name) = name {
                    write!(f, " ({name})")?;
                }
                write!(f, " to port {port}")?;
            }
            Subject::Name { name } => write!(f, "refused to look up {name}")?,
            Subject::Answer { name, address } => write!(f, "dropped the answer that {name} is {address}")?,
        }
        write!(f, ": {}", self.reason)?;
        match self.count {
            0 | 1 => Ok(()),
            count => write!(f, " ({count} times)"),
        }
    }
}

/// Where refusals go.
pub type Report = Box<dyn FnMut(Refusal) + Send>;

/// Tells the first of equal refusals at once and counts those that follow soon.
pub(crate) struct Reporter {
    report: Report,
    known: HashMap<(Subject, String), (Instant, u64)>,
    /// How many were not told apart from each other, for there were too many.
    others: u64,
}

impl Reporter {
    pub(crate) fn new(report: Report) -> Self {
        Self { report, known: HashMap::new(), others: 0 }
    }

    pub(crate) fn refused(&mut self, subject: Subject, reason: &str, now: Instant) {
        let key = (subject, reason.to_owned());
        if let Some((_, waiting)) = self.known.get_mut(&key) {
            *waiting += 1;
            return;
        }
        if self.known.len() >= KNOWN_MAX {
            self.others += 1;
            return;
        }
        (self.report)(Refusal { subject: key.0.clone(), reason: key.1.clone(), count: 1 });
        self.known.insert(key, (now, 0));
    }

    /// Tells what has been counted long enough; gives the time of the next look, if there has to be one.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Instant> {
        let report = &mut self.report;
        self.known.retain(|(subject, reason), (since, waiting)| {
            if now.saturating_duration_since(*since) < QUIET {
                return true;
            }
            if *waiting == 0 {
                return false;
            }
            report(Refusal { subject: subject.clone(), reason: reason.clone(), count: *waiting });
            (*since, *waiting) = (now, 0);
            true
        });
        if self.others > 0 && self.known.len() < KNOWN_MAX {
            let subject = Subject::Name { name: "many more".to_owned() };
            report(Refusal { subject, reason: "too many to list".to_owned(), count: self.others });
            self.others = 0;
        }
        self.known.values().map(|(since, _)| *since + QUIET).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn repeats_are_counted() {
        let (sender, told) = mpsc::channel();
        let mut reporter = Reporter::new(Box::new(move |refusal: Refusal| {
            let _ = sender.send(refusal.to_string());
        }));
        let start = Instant::now();
        let name = |name: &str| Subject::Name { name: name.to_owned() };
        for _ in 0..5 {
            reporter.refused(name("a.test"), "no rule allows it", start);
        }
        reporter.refused(name("b.test"), "no rule allows it", start);
        assert_eq!(reporter.tick(start), Some(start + QUIET));
        assert_eq!(reporter.tick(start + QUIET), Some(start + QUIET * 2));
        assert_eq!(reporter.tick(start + QUIET * 2), None);
        reporter.refused(name("b.test"), "no rule allows it", start + QUIET * 3);
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(
            told,
            [
                "refused to look up a.test: no rule allows it",
                "refused to look up b.test: no rule allows it",
                "refused to look up a.test: no rule allows it (4 times)",
                "refused to look up b.test: no rule allows it",
            ]
        );
    }
}
