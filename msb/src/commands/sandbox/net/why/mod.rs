//! Whether a sandbox may reach something, step by step: what its own rules say, what those of another sandbox say, and
//! what a connection has to show.

use crate::error::CliError;
use crate::project::rule_sources::Rules;
use executor_net::policy::{Connection, FlowDirection, Locality, Verdict, group_of, plain};
use executor_net::{Addresses, Pools};
use rules::rule::{
    Action, Direction, DomainName, Group, HOST_NAME, Ports, Protocol, Rule, SANDBOX_ZONE,
    Target as RuleTarget,
};
use schemas::listing;
use schemas::name::SandboxName;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

/// Where the name server of a sandbox is asked, at its gateway.
const DNS_PORT: u16 = 53;
/// Where QUIC is expected, whatever its packets look like.
const QUIC_PORT: u16 = 443;

/// The name of every machine for itself.
const LOCALHOST: &str = "localhost";

/// What is asked about.
pub enum Target {
    /// An address and a port.
    Address(SocketAddr),
    /// A name and a port.
    Name(DomainName, u16),
}

impl Target {
    /// Reads what the command line names.
    pub fn read(text: &str) -> Result<Self, CliError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let parts = text.rsplit_once(':').and_then(|(name, port)| {
            Some((DomainName::new(name).ok()?, port.parse().ok().filter(|port| *port != 0)?))
        });
        let (name, port) = parts.ok_or_else(|| {
            CliError::new(format!("{text:?} is not a host and a port")).hint("such as example.org:443")
        })?;
        Ok(Self::Name(name, port))
    }

    /// The name of the sandbox that a name stands for, if it is one of the project's.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Name(name, _) => label_of(name),
            Self::Address(_) => None,
        }
    }
}

/// The name of a sandbox in its short or its long form; `None` for names of the outside and of the host.
fn label_of(name: &DomainName) -> Option<&str> {
    let text = name.as_str();
    match text.strip_suffix(SANDBOX_ZONE) {
        Some(label) => (text != HOST_NAME).then_some(label),
        None => (name.is_label() && text != LOCALHOST).then_some(text),
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// How the rules of a sandbox are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// `allow "target"`.
    Kdl,
    /// `"allow@target"` in a list.
    Yaml,
    /// `--net-rule allow@target`.
    Flags,
}

impl Writing {
    fn of(self, rule: &Rule) -> String {
        match (self, rule.direction) {
            (Self::Kdl, Direction::Egress) => format!("{} \"{}\"", rule.action, rule.traffic()),
            (Self::Kdl, direction) => {
                format!("{} \"{}\" direction=\"{direction}\"", rule.action, rule.traffic())
            }
            (Self::Yaml, _) => format!("- \"{rule}\""),
            (Self::Flags, _) => format!("--net-rule \"{rule}\""),
        }
    }
}

/// A recorded sandbox.
pub struct Sandbox {
    /// Its name in its project.
    pub name: SandboxName,
    /// The rules in force.
    pub rules: Rules,
    /// Nothing where it has never run.
    pub addresses: Option<Addresses>,
    /// Whether it can be found now.
    pub runs: bool,
}

impl Sandbox {
    fn domain(&self) -> Option<DomainName> {
        DomainName::new(self.name.as_str()).ok()
    }

    /// Its address, or one that could be its.
    fn address(&self) -> IpAddr {
        let sample = || Pools::default().addresses(0).map(|addresses| addresses.guest_ipv4);
        let own = self.addresses.map(|addresses| addresses.guest_ipv4);
        own.or_else(sample).unwrap_or(Ipv4Addr::LOCALHOST).into()
    }
}

/// What is said about a target.
#[derive(Debug, Default)]
pub struct Answer {
    /// What is done, the verdict, the rule that decides or the reason, and who wrote it.
    pub steps: Vec<Vec<String>>,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// Whether all steps may be taken.
    pub allowed: bool,
}

/// Answers for one sandbox.
pub struct Question<'a> {
    /// Who connects.
    pub sandbox: &'a Sandbox,
    /// Those of the other sandboxes of its project that the target may mean.
    pub peers: &'a [Sandbox],
    /// The names of all others, for a target that means none of them.
    pub others: &'a [SandboxName],
    /// What is spoken: TCP or UDP.
    pub protocol: Protocol,
    /// How rules are to be written that are proposed.
    pub writing: Writing,
}

impl Question<'_> {
    /// Explains what comes of a connection.
    pub fn explain(&self, target: &Target) -> Answer {
        match target {
            Target::Address(address) => self.to_address(plain(address.ip()), address.port()),
            Target::Name(name, port) => self.to_name(name, *port),
        }
    }

    fn to_address(&self, address: IpAddr, port: u16) -> Answer {
        let own = self.sandbox.addresses;
        if group_of(address) == Some(Group::Loopback) {
            return itself(Some(port));
        }
        if own.is_some_and(|own| own.is_guest(address)) {
            return itself(None);
        }
        if own.is_some_and(|own| own.is_gateway(address)) {
            return match port {
                DNS_PORT => Answer {
                    steps: vec![step("ask the name server", "allowed", "each name is judged by itself")],
                    notes: Vec::new(),
                    allowed: true,
                },
                _ => self.to_host(address, port, None),
            };
        }
        let at = |other: &&Sandbox| other.addresses.is_some_and(|theirs| theirs.is_guest(address));
        if let Some(other) = self.peers.iter().find(at) {
            let mut answer = self.to_peer(other, address, port, false);
            let name = &other.name;
            answer.notes.push(format!(
                "the address leads to {name} once it was looked up as {name}, and nowhere before"
            ));
            return answer;
        }
        let locality = if executor_net::is_own(address) { Locality::Host } else { Locality::Elsewhere };
        if locality == Locality::Host {
            return self.to_host(address, port, Some(address));
        }
        let verdict = self.decide(address, port, &[], locality);
        let what = match group_of(address) {
            Some(group) => format!("connect ({group})"),
            None => "connect (no public address)".to_owned(),
        };
        let mut answer =
            Answer { steps: vec![self.judged(&what, &verdict)], notes: Vec::new(), allowed: verdict.allowed };
        if !verdict.allowed && !verdict.is_fixed {
            if let Some(rule) = self.rule_on_a_name(address, port) {
                answer.notes.push(format!(
                    "`{rule}` allows it where it was answered for a name of that rule in this sandbox"
                ));
            }
            self.propose(&mut answer, &verdict, RuleTarget::Network(address.into()), port);
        }
        answer
    }

    /// To the host itself: through the gateway, or at an address that it has.
    fn to_host(&self, address: IpAddr, port: u16, own: Option<IpAddr>) -> Answer {
        let locality = if own.is_some() { Locality::Host } else { Locality::Gateway };
        let verdict = self.decide(address, port, &[], locality);
        let mut answer = Answer {
            steps: vec![self.judged("connect (host)", &verdict)],
            notes: Vec::new(),
            allowed: verdict.allowed,
        };
        if !verdict.allowed && !verdict.is_fixed {
            self.propose(&mut answer, &verdict, RuleTarget::Group(Group::Host), port);
        }
        answer
    }

    fn to_name(&self, name: &DomainName, port: u16) -> Answer {
        if name.as_str() == LOCALHOST {
            return itself(Some(port));
        }
        if label_of(name) == Some(self.sandbox.name.as_str()) {
            return itself(None);
        }
        if name.as_str() == HOST_NAME {
            let names = std::slice::from_ref(name);
            let verdict = self.decide(self.gateway(), port, names, Locality::Gateway);
            let mut answer = Answer {
                steps: vec![
                    step("look up", "allowed", "it is answered in every sandbox"),
                    self.judged("connect (host)", &verdict),
                ],
                notes: Vec::new(),
                allowed: verdict.allowed,
            };
            if !verdict.allowed {
                self.propose(&mut answer, &verdict, RuleTarget::Group(Group::Host), port);
            }
            return answer;
        }
        let Some(label) = label_of(name) else { return self.to_outside(name, port) };
        match self.peers.iter().find(|other| other.name.as_str() == label) {
            Some(other) => self.to_peer(other, other.address(), port, true),
            None => {
                let reason = "no sandbox of this project has it, and it is asked for nowhere else";
                let notes = match self.others {
                    [] => Vec::new(),
                    others => {
                        vec![format!("the other sandboxes of this project: {}", listing::names(others))]
                    }
                };
                Answer { steps: vec![step("look up", "no such name", reason)], notes, allowed: false }
            }
        }
    }

    /// To another sandbox of the project, which has a say as well.
    fn to_peer(&self, other: &Sandbox, address: IpAddr, port: u16, by_name: bool) -> Answer {
        let (name, target) = (&other.name, other.domain());
        let names = target.as_slice();
        let mut answer = Answer { allowed: true, ..Answer::default() };
        let connection = self.decide(address, port, names, Locality::Elsewhere);
        if by_name {
            let policy = self.sandbox.rules.policy();
            let question = names.first().map(|name| policy.decide_name(name, Protocol::Udp));
            let allows_answer = policy.allows_answer(address, Locality::Elsewhere);
            match question {
                Some(verdict) if verdict.allowed || !allows_answer => {
                    answer.allowed = verdict.allowed;
                    answer.steps.push(self.judged("look up", &verdict));
                }
                _ => answer.steps.push(step("look up", "allowed", "a rule on addresses allows it")),
            }
        }
        answer.steps.push(self.judged(&format!("connect ({name}, of this project)"), &connection));
        let own = self.sandbox.domain();
        let incoming = other.rules.policy().decide(&Connection {
            direction: FlowDirection::Inbound,
            protocol: self.protocol,
            address: self.sandbox.address(),
            port: Some(port),
            names: own.as_slice(),
            locality: Locality::Elsewhere,
        });
        answer.steps.push(judged(&format!("ingress ({name})"), &incoming, &other.rules));
        if let (true, Some(target)) = (!connection.allowed || !answer.allowed, target) {
            self.propose(&mut answer, &connection, RuleTarget::Domain(target), port);
        }
        if let (false, Some(own)) = (incoming.allowed, own) {
            let rule = self.rule(Direction::Ingress, RuleTarget::Domain(own), port);
            answer.notes.extend(rule.map(|rule| self.proposal(name, &incoming, &rule)));
        }
        answer.allowed &= connection.allowed && incoming.allowed;
        if !other.runs {
            answer.notes.push(format!("{name} does not run: it is found once it does"));
        }
        answer
    }

    /// To a name that the host's name servers are asked for. Where it leads is known when it is looked up; a public place
    /// is what it may lead to anyway.
    fn to_outside(&self, name: &DomainName, port: u16) -> Answer {
        let question = self.sandbox.rules.policy().decide_name(name, Protocol::Udp);
        let names = std::slice::from_ref(name);
        let connection = self.decide(Ipv4Addr::new(8, 8, 8, 8).into(), port, names, Locality::Elsewhere);
        let mut answer = Answer {
            steps: vec![
                self.judged("look up", &question),
                self.judged("connect, where it is public", &connection),
            ],
            notes: Vec::new(),
            allowed: question.allowed && connection.allowed,
        };
        if !answer.allowed {
            let decisive = if question.allowed { &connection } else { &question };
            self.propose(&mut answer, decisive, RuleTarget::Domain(name.clone()), port);
        } else if connection.by_name {
            let origin = self.sandbox.rules.origin(&connection);
            let row = |what: &str, verdict: &str, reason: &str| {
                vec![what.to_owned(), verdict.to_owned(), reason.to_owned(), origin.clone()]
            };
            let pinned = "it shows no name: its address was answered for one of that rule";
            match self.protocol {
                Protocol::Udp if port == QUIC_PORT => {
                    answer.allowed = false;
                    answer.steps.push(row("UDP at port 443", "refused", "QUIC shows no name"));
                }
                Protocol::Udp => {
                    answer.steps.push(row("QUIC", "refused", "it shows no name"));
                    answer.steps.push(row("another protocol", "allowed", pinned));
                }
                _ => {
                    answer.steps.push(row("TLS greeting, HTTP request", "must show", "a name of that rule"));
                    answer.steps.push(row("another protocol, such as SSH", "allowed", pinned));
                }
            }
        }
        answer
    }

    fn gateway(&self) -> IpAddr {
        let addresses = self.sandbox.addresses.or_else(|| Pools::default().addresses(0));
        addresses.map_or(Ipv4Addr::LOCALHOST, |addresses| addresses.gateway_ipv4).into()
    }

    fn decide(&self, address: IpAddr, port: u16, names: &[DomainName], locality: Locality) -> Verdict {
        let (direction, protocol, port) = (FlowDirection::Outbound, self.protocol, Some(port));
        self.sandbox.rules.policy().decide(&Connection {
            direction,
            protocol,
            address,
            port,
            names,
            locality,
        })
    }

    /// A rule on names that allows an address, once that was answered for one of them.
    fn rule_on_a_name(&self, address: IpAddr, port: u16) -> Option<Rule> {
        let policy = self.sandbox.rules.policy();
        policy.rules().iter().find_map(|known| {
            let (RuleTarget::Domain(name) | RuleTarget::Suffix(name)) = &known.rule.target else {
                return None;
            };
            let verdict = self.decide(address, port, std::slice::from_ref(name), Locality::Elsewhere);
            (verdict.allowed && verdict.by_name).then(|| known.rule.clone())
        })
    }

    fn judged(&self, what: &str, verdict: &Verdict) -> Vec<String> {
        judged(what, verdict, &self.sandbox.rules)
    }

    fn rule(&self, direction: Direction, target: RuleTarget, port: u16) -> Option<Rule> {
        let port = NonZeroU16::new(port)?;
        let ports = Ports::Range { first: port, last: port };
        Some(Rule { action: Action::Allow, direction, target, protocol: self.protocol, ports })
    }

    /// Adds the rule that would allow what was refused.
    fn propose(&self, answer: &mut Answer, verdict: &Verdict, target: RuleTarget, port: u16) {
        let rule = self.rule(Direction::Egress, target, port);
        answer.notes.extend(rule.map(|rule| self.proposal(&self.sandbox.name, verdict, &rule)));
    }

    fn proposal(&self, sandbox: &SandboxName, verdict: &Verdict, rule: &Rule) -> String {
        let place = match (self.writing, verdict.rule) {
            // The first rule that fits decides.
            (_, Some(_)) => format!("in the network of {sandbox}, in front of `{}`", verdict.reason),
            (Writing::Flags, None) => "with the flag".to_owned(),
            (_, None) => format!("in the network of {sandbox}"),
        };
        format!("to allow it, write {place}: {}", self.writing.of(rule))
    }
}

/// To the sandbox itself: nothing of it ever comes to its link. `mistaken`: a port that may have been meant as the host's.
fn itself(mistaken: Option<u16>) -> Answer {
    Answer {
        steps: vec![step("connect (the sandbox itself)", "allowed", "it never leaves the sandbox")],
        notes: mistaken
            .map(|port| format!("the host's port {port} is at {HOST_NAME}:{port}"))
            .into_iter()
            .collect(),
        allowed: true,
    }
}

/// A step that no rule decides on.
fn step(what: &str, verdict: &str, reason: &str) -> Vec<String> {
    [what, verdict, reason, "-"].map(str::to_owned).to_vec()
}

/// A step that the rules of a sandbox decide on.
fn judged(what: &str, verdict: &Verdict, rules: &Rules) -> Vec<String> {
    let word = if verdict.allowed { "allowed" } else { "refused" };
    let origin = if verdict.is_fixed { "-".to_owned() } else { rules.origin(verdict) };
    vec![what.to_owned(), word.to_owned(), verdict.reason.clone(), origin]
}

#[cfg(test)]
mod tests;
