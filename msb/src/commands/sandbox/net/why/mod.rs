//! Explanations of what a sandbox can reach, step by step: its own rules, those of another sandbox, and the names that a
//! connection must show.

use super::syntax::RuleSyntax;
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

/// The port of the name server at the gateway.
const DNS_PORT: u16 = 53;
/// The port on which all UDP is taken for QUIC.
const QUIC_PORT: u16 = 443;

const LOCALHOST: &str = "localhost";

/// The target of a connection.
pub enum Target {
    /// An address and a port.
    Address(SocketAddr),
    /// A name and a port.
    Name(DomainName, u16),
}

impl Target {
    /// Parses a target on the command line.
    ///
    /// # Errors
    ///
    /// If it has no valid host or port.
    pub fn read(text: &str) -> Result<Self, CliError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let parts = text.rsplit_once(':').and_then(|(name, port)| {
            Some((DomainName::new(name).ok()?, port.parse().ok().filter(|port| *port != 0)?))
        });
        let (name, port) = parts.ok_or_else(|| {
            CliError::new(format!("{text:?} is not a host and a port")).hint("for example example.org:443")
        })?;
        Ok(Self::Name(name, port))
    }

    /// Returns the sandbox's name, if this is the name of a sandbox.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Name(name, _) => label_of(name),
            Self::Address(_) => None,
        }
    }
}

/// Returns the name of a sandbox from its short or long form; `None` for the host and for external names.
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

/// A recorded sandbox.
pub struct Sandbox {
    /// Its name in its project.
    pub name: SandboxName,
    /// The rules in effect.
    pub rules: Rules,
    /// `None` if it has never run.
    pub addresses: Option<Addresses>,
    /// Whether it is running.
    pub runs: bool,
}

impl Sandbox {
    fn domain(&self) -> Option<DomainName> {
        DomainName::new(self.name.as_str()).ok()
    }

    /// Returns its own address or the one of its gateway, or a sample if it has none.
    fn address(&self, of: fn(Addresses) -> Ipv4Addr) -> IpAddr {
        let addresses = self.addresses.or_else(|| Pools::default().addresses(0));
        addresses.map_or(Ipv4Addr::LOCALHOST, of).into()
    }
}

/// The explanation of a connection.
#[derive(Debug, Default)]
pub struct Answer {
    /// Rows of step, verdict, deciding rule or reason, and source.
    pub steps: Vec<Vec<String>>,
    /// Further notes.
    pub notes: Vec<String>,
    /// Whether all steps are allowed.
    pub allowed: bool,
}

impl Answer {
    fn new(steps: Vec<Vec<String>>, allowed: bool) -> Self {
        Self { steps, notes: Vec::new(), allowed }
    }
}

/// The circumstances of a connection.
pub struct Query<'a> {
    /// The connecting sandbox.
    pub sandbox: &'a Sandbox,
    /// The other sandboxes of its project that the target may be.
    pub peers: &'a [Sandbox],
    /// The names of all others, if the target is none of them.
    pub others: &'a [SandboxName],
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The syntax of proposed rules.
    pub syntax: RuleSyntax,
}

impl Query<'_> {
    /// Explains a connection to a target.
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
            if port != DNS_PORT {
                return self.to_host(address, port, &[], Locality::Gateway);
            }
            let step = row(["ask the name server", "allowed", "each name is decided separately", "-"]);
            return Answer::new(vec![step], true);
        }
        let at = |other: &&Sandbox| other.addresses.is_some_and(|theirs| theirs.is_guest(address));
        if let Some(other) = self.peers.iter().find(at) {
            let mut answer = self.to_peer(other, address, port, false);
            let name = &other.name;
            answer
                .notes
                .push(format!("the address reaches {name} only after this sandbox has looked up {name}"));
            return answer;
        }
        if executor_net::is_own(address) {
            return self.to_host(address, port, &[], Locality::Host);
        }
        let verdict = self.decide(address, port, &[], Locality::Elsewhere);
        let what = match group_of(address) {
            Some(group) => format!("connect ({group})"),
            None => "connect (no public address)".to_owned(),
        };
        let mut answer = Answer::new(vec![self.rule_step(&what, &verdict)], verdict.allowed);
        if let Some(rule) = self.rule_by_name(address, port).filter(|_| !verdict.allowed) {
            answer
                .notes
                .push(format!("`{rule}` allows it if this sandbox looked up a name of that rule to get it"));
        }
        self.propose(&mut answer, &verdict, RuleTarget::Network(address.into()), port);
        answer
    }

    /// Explains a connection to the host, by its name, by the gateway or by one of its own addresses.
    fn to_host(&self, address: IpAddr, port: u16, names: &[DomainName], locality: Locality) -> Answer {
        let verdict = self.decide(address, port, names, locality);
        let mut answer = Answer::new(vec![self.rule_step("connect (host)", &verdict)], verdict.allowed);
        self.propose(&mut answer, &verdict, RuleTarget::Group(Group::Host), port);
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
            let gateway = self.sandbox.address(|addresses| addresses.gateway_ipv4);
            let mut answer = self.to_host(gateway, port, std::slice::from_ref(name), Locality::Gateway);
            answer.steps.insert(0, row(["look up", "allowed", "every sandbox resolves it", "-"]));
            return answer;
        }
        let Some(label) = label_of(name) else { return self.to_outside(name, port) };
        match self.peers.iter().find(|other| other.name.as_str() == label) {
            Some(other) => self.to_peer(other, other.address(|addresses| addresses.guest_ipv4), port, true),
            None => {
                let reason = "no sandbox of this project has it, and no other name server is asked";
                let mut answer = Answer::new(vec![row(["look up", "no such name", reason, "-"])], false);
                if !self.others.is_empty() {
                    let names = listing::names(self.others);
                    answer.notes.push(format!("the other sandboxes of this project: {names}"));
                }
                answer
            }
        }
    }

    /// Explains a connection to another sandbox of the project, whose rules count as well.
    fn to_peer(&self, other: &Sandbox, address: IpAddr, port: u16, by_name: bool) -> Answer {
        let (name, target) = (&other.name, other.domain());
        let names = target.as_slice();
        let mut answer = Answer { allowed: true, ..Answer::default() };
        let connection = self.decide(address, port, names, Locality::Peer);
        if by_name {
            let policy = self.sandbox.rules.policy();
            let lookup = names.first().map(|name| policy.decide_name(name, Protocol::Udp));
            let allows_answer = policy.allows_answer(address, Locality::Peer);
            match lookup {
                Some(verdict) if verdict.allowed || !allows_answer => {
                    answer.allowed = verdict.allowed;
                    answer.steps.push(self.rule_step("look up", &verdict));
                }
                _ => answer.steps.push(row(["look up", "allowed", "a rule on addresses allows it", "-"])),
            }
        }
        answer.steps.push(self.rule_step(&format!("connect ({name}, of this project)"), &connection));
        let own = self.sandbox.domain();
        let incoming = other.rules.policy().decide(&Connection {
            direction: FlowDirection::Inbound,
            protocol: self.protocol,
            address: self.sandbox.address(|addresses| addresses.guest_ipv4),
            port: Some(port),
            names: own.as_slice(),
            locality: Locality::Peer,
        });
        answer.steps.push(rule_step(&format!("ingress ({name})"), &incoming, &other.rules));
        answer.allowed &= connection.allowed;
        if let Some(target) = target {
            self.propose(&mut answer, &connection, RuleTarget::Domain(target), port);
        }
        if let (false, Some(own)) = (incoming.allowed, own) {
            let rule = self.rule(Direction::Ingress, RuleTarget::Domain(own), port);
            answer.notes.extend(rule.map(|rule| self.proposal(name, &incoming, &rule)));
        }
        answer.allowed &= incoming.allowed;
        if !other.runs {
            answer.notes.push(format!("{name} is not running: its name resolves once it is"));
        }
        answer
    }

    /// Explains a connection to an external name. It is not looked up; a sample public address stands in for it.
    fn to_outside(&self, name: &DomainName, port: u16) -> Answer {
        let lookup = self.sandbox.rules.policy().decide_name(name, Protocol::Udp);
        let names = std::slice::from_ref(name);
        let connection = self.decide(Ipv4Addr::new(8, 8, 8, 8).into(), port, names, Locality::Elsewhere);
        let steps =
            vec![self.rule_step("look up", &lookup), self.rule_step("connect, if it is public", &connection)];
        let mut answer = Answer::new(steps, lookup.allowed && connection.allowed);
        let decisive = if lookup.allowed { &connection } else { &lookup };
        self.propose(&mut answer, decisive, RuleTarget::Domain(name.clone()), port);
        if answer.allowed && connection.by_name {
            const PINNED: &str = "it shows no name: the address was looked up by a name of that rule";
            let origin = self.sandbox.rules.origin(&connection);
            let rows: &[_] = match self.protocol {
                Protocol::Udp if port == QUIC_PORT => {
                    answer.allowed = false;
                    &[["UDP at port 443", "refused", "QUIC shows no name"]]
                }
                Protocol::Udp => {
                    &[["QUIC", "refused", "it shows no name"], ["another protocol", "allowed", PINNED]]
                }
                _ => &[
                    ["TLS greeting, HTTP request", "must show", "a name of that rule"],
                    ["another protocol, such as SSH", "allowed", PINNED],
                ],
            };
            answer.steps.extend(rows.iter().map(|[what, verdict, why]| row([what, verdict, why, &origin])));
        }
        answer
    }

    fn decide(&self, address: IpAddr, port: u16, names: &[DomainName], locality: Locality) -> Verdict {
        let (direction, protocol, port) = (FlowDirection::Outbound, self.protocol, Some(port));
        let policy = self.sandbox.rules.policy();
        policy.decide(&Connection { direction, protocol, address, port, names, locality })
    }

    /// Returns the rule that allows an address if it was looked up by a name of that rule.
    fn rule_by_name(&self, address: IpAddr, port: u16) -> Option<Rule> {
        let policy = self.sandbox.rules.policy();
        policy.rules().iter().find_map(|known| {
            let (RuleTarget::Domain(name) | RuleTarget::Suffix(name)) = &known.rule.target else {
                return None;
            };
            let verdict = self.decide(address, port, std::slice::from_ref(name), Locality::Elsewhere);
            (verdict.allowed && verdict.by_name).then(|| known.rule.clone())
        })
    }

    fn rule_step(&self, what: &str, verdict: &Verdict) -> Vec<String> {
        rule_step(what, verdict, &self.sandbox.rules)
    }

    fn rule(&self, direction: Direction, target: RuleTarget, port: u16) -> Option<Rule> {
        let port = NonZeroU16::new(port)?;
        let ports = Ports::Range { first: port, last: port };
        Some(Rule { action: Action::Allow, direction, target, protocol: self.protocol, ports })
    }

    /// Adds a note with the rule that would allow a refused connection, if a rule can.
    fn propose(&self, answer: &mut Answer, verdict: &Verdict, target: RuleTarget, port: u16) {
        let may_help = !answer.allowed && !verdict.is_fixed;
        let rule = self.rule(Direction::Egress, target, port).filter(|_| may_help);
        answer.notes.extend(rule.map(|rule| self.proposal(&self.sandbox.name, verdict, &rule)));
    }

    fn proposal(&self, sandbox: &SandboxName, verdict: &Verdict, rule: &Rule) -> String {
        let place = match (self.syntax, verdict.rule) {
            // The first match decides.
            (_, Some(_)) => format!("in the network of {sandbox}, before `{}`", verdict.reason),
            (RuleSyntax::Flags, None) => "with the flag".to_owned(),
            (_, None) => format!("in the network of {sandbox}"),
        };
        format!("to allow it, write {place}: {}", self.syntax.format(rule))
    }
}

/// Explains a connection of the sandbox to itself. `host_port`: a port that may be meant as the host's.
fn itself(host_port: Option<u16>) -> Answer {
    let note = host_port.map(|port| format!("the host's port {port} is at {HOST_NAME}:{port}"));
    let step = row(["connect (the sandbox itself)", "allowed", "it never leaves the sandbox", "-"]);
    Answer { notes: note.into_iter().collect(), ..Answer::new(vec![step], true) }
}

/// Returns the row of a step: what, verdict, reason, and origin of the deciding rule.
fn row(cells: [&str; 4]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Formats a step that the rules of a sandbox decide.
fn rule_step(what: &str, verdict: &Verdict, rules: &Rules) -> Vec<String> {
    let word = if verdict.allowed { "allowed" } else { "refused" };
    let origin = if verdict.is_fixed { "-".to_owned() } else { rules.origin(verdict) };
    row([what, word, &verdict.reason, &origin])
}

#[cfg(test)]
mod tests;
