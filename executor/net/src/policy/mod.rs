//! The policy: a pure, table-driven rule engine.
//!
//! The sandbox's own rules come first, in their order, then the base rules of its default, then the default itself. The
//! first matching rule decides.
//!
//! Architecture invariant: the engine does no I/O. Its caller says which names an address was answered for, and whether
//! it is the host's own.

mod address;

pub use address::{contains, embedded_ipv4, group_of, is_unspecified, plain};

use crate::event::Reason;
use rules::rule::{Action, Direction, DomainName, Group, Ports, Protocol, Rule, Target};
use schemas::spec::{Network, NetworkDefault};
use std::fmt;
use std::net::IpAddr;

/// The author of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The Sandboxfile, or a flag.
    Sandbox,
    /// The default, which stands for it.
    Base,
    /// No rule: the default decided.
    Default,
}

/// A rule in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRule {
    /// The rule.
    pub rule: Rule,
    /// Its author.
    pub origin: Origin,
}

/// The rules of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<EffectiveRule>,
    default: NetworkDefault,
}

/// A connection from or to the sandbox.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The direction.
    pub direction: FlowDirection,
    /// The protocol.
    pub protocol: Protocol,
    /// The remote address.
    pub address: IpAddr,
    /// The destination port; `None` for ICMP.
    pub port: Option<u16>,
    /// The names of the remote address, as far as the sandbox resolved them.
    pub names: &'a [DomainName],
    /// Where the remote address is, as seen from the host.
    pub locality: Locality,
}

/// The direction of a connection. A rule's direction can be both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowDirection {
    /// From the sandbox.
    Outbound,
    /// To the sandbox.
    Inbound,
}

/// Where an address is, as seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// The sandbox's own gateway, which forwards to the host.
    Gateway,
    /// An address of the host.
    Host,
    /// Another sandbox of the project.
    Peer,
    /// Another machine.
    Elsewhere,
}

/// The decision about a connection or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The index of the deciding rule; `None` if the default decided.
    pub rule: Option<usize>,
    /// The reason as text: the rule and its origin, or the default.
    pub reason: String,
    /// Whether a domain rule allowed it, so that the server name must be checked too.
    pub by_name: bool,
    /// Whether the address is refused regardless of the rules.
    pub is_fixed: bool,
}

impl Policy {
    /// The rules of a network, followed by the base rules of its default.
    pub fn new(network: &Network) -> Self {
        let Network { default, rules, ipv4_pool: _, ipv6_pool: _, proxy: _, dns: _ } = network;
        let base = match default {
            NetworkDefault::Public => vec![
                base_rule(Direction::Egress, Target::Dns),
                base_rule(Direction::Egress, Target::Group(Group::Public)),
                base_rule(Direction::Ingress, Target::Any),
            ],
            NetworkDefault::Allow | NetworkDefault::Deny => Vec::new(),
        };
        let own = rules.iter().map(|rule| EffectiveRule { rule: rule.clone(), origin: Origin::Sandbox });
        let base = base.into_iter().map(|rule| EffectiveRule { rule, origin: Origin::Base });
        Self { rules: own.chain(base).collect(), default: *default }
    }

    /// All rules in force, in order.
    pub fn rules(&self) -> &[EffectiveRule] {
        &self.rules
    }

    /// The decision where no rule matches.
    pub fn default(&self) -> NetworkDefault {
        self.default
    }

    /// Decides on a connection.
    pub fn decide(&self, connection: &Connection<'_>) -> Verdict {
        if connection.direction == FlowDirection::Outbound && is_unspecified(connection.address) {
            let reason = "the unspecified address leads to the host itself".to_owned();
            return Verdict { allowed: false, rule: None, reason, by_name: false, is_fixed: true };
        }
        let leads = match connection.direction {
            FlowDirection::Outbound => Direction::leads_out,
            FlowDirection::Inbound => Direction::leads_in,
        };
        let found = self.rules.iter().position(|EffectiveRule { rule, origin: _ }| {
            leads(rule.direction)
                && matches_protocol(rule.protocol, connection.protocol)
                && matches_port(rule.ports, connection.port)
                && matches_target(&rule.target, connection)
        });
        self.verdict(found)
    }

    /// Decides on a DNS query over a transport. Address rules do not concern names, and a rule that denies only some
    /// ports of a name does not hide the name.
    pub fn decide_name(&self, name: &DomainName, transport: Protocol) -> Verdict {
        let found = self.rules.iter().position(|EffectiveRule { rule, origin: _ }| {
            let fits = match &rule.target {
                Target::Any => true,
                // It concerns the queries themselves.
                Target::Dns => return matches_protocol(rule.protocol, transport),
                Target::Domain(own) => own == name,
                Target::Suffix(suffix) => name.is_within(suffix),
                Target::Group(_) | Target::Network(_) => false,
            };
            let whole = rule.protocol == Protocol::Any && rule.ports == Ports::Any;
            rule.direction.leads_out() && fits && (whole || rule.action == Action::Allow)
        });
        self.verdict(found)
    }

    /// Whether a domain rule denies a name: no alias in an answer may be one of those.
    pub fn denies_alias(&self, name: &DomainName, transport: Protocol) -> bool {
        let verdict = self.decide_name(name, transport);
        !verdict.allowed && verdict.by_name
    }

    /// Whether an answer may contain an address: a public one always, any other one if an address rule allows something
    /// there.
    pub fn allows_answer(&self, address: IpAddr, locality: Locality) -> bool {
        if is_unspecified(address) {
            return false;
        }
        if locality == Locality::Elsewhere && group_of(address) == Some(Group::Public) {
            return true;
        }
        let connection = Connection {
            direction: FlowDirection::Outbound,
            protocol: Protocol::Any,
            address,
            port: None,
            names: &[],
            locality,
        };
        let found = self.rules.iter().find(|EffectiveRule { rule, origin: _ }| {
            let whole = rule.protocol == Protocol::Any && rule.ports == Ports::Any;
            rule.direction.leads_out()
                && matches_target(&rule.target, &connection)
                && (whole || rule.action == Action::Allow)
        });
        found.map_or(self.default == NetworkDefault::Allow, |found| found.rule.action == Action::Allow)
    }

    /// Whether a connection may continue under a server name. If a domain rule allows it, that must match the name, or
    /// the address must have been answered for the name and the name be allowed by itself, as many names can share an
    /// address.
    pub fn allows_server_name(&self, connection: &Connection<'_>, shown: &DomainName) -> bool {
        let verdict = self.decide(connection);
        let alone = Connection { names: std::slice::from_ref(shown), ..*connection };
        verdict.allowed
            && (!verdict.by_name
                || self.rule_covers(&verdict, shown)
                || connection.names.contains(shown) && self.decide(&alone).allowed)
    }

    /// Whether the deciding rule matches a server name.
    fn rule_covers(&self, verdict: &Verdict, shown: &DomainName) -> bool {
        match verdict.rule.and_then(|position| self.rules.get(position)).map(|known| &known.rule.target) {
            Some(Target::Domain(own)) => own == shown,
            Some(Target::Suffix(suffix)) => shown.is_within(suffix),
            _ => false,
        }
    }

    /// The reason of a verdict, for reports.
    pub fn reason(&self, verdict: &Verdict) -> Reason {
        let known = verdict.rule.and_then(|position| self.rules.get(position));
        // A default that allows has refused nothing.
        let is_decided = !verdict.is_fixed && (known.is_some() || !verdict.allowed);
        Reason {
            text: verdict.reason.clone(),
            rule: known.map(|known| known.rule.to_string()),
            origin: is_decided.then(|| known.map_or(Origin::Default, |known| known.origin)),
        }
    }

    fn verdict(&self, found: Option<usize>) -> Verdict {
        match found.and_then(|position| Some((position, self.rules.get(position)?))) {
            Some((position, known)) => Verdict {
                allowed: known.rule.action == Action::Allow,
                rule: Some(position),
                reason: known.to_string(),
                by_name: matches!(known.rule.target, Target::Domain(_) | Target::Suffix(_)),
                is_fixed: false,
            },
            None => Verdict {
                allowed: self.default == NetworkDefault::Allow,
                rule: None,
                reason: match self.default {
                    NetworkDefault::Public => "no rule allows it".to_owned(),
                    word => format!("no rule fits, and the default is {word}"),
                },
                by_name: false,
                is_fixed: false,
            },
        }
    }
}

impl fmt::Display for EffectiveRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Sandbox | Origin::Default => write!(f, "{}", self.rule),
            Origin::Base => write!(f, "{} (base)", self.rule),
        }
    }
}

fn base_rule(direction: Direction, target: Target) -> Rule {
    Rule { action: Action::Allow, direction, target, protocol: Protocol::Any, ports: Ports::Any }
}

fn matches_protocol(rule: Protocol, connection: Protocol) -> bool {
    rule == Protocol::Any || rule == connection
}

fn matches_port(rule: Ports, port: Option<u16>) -> bool {
    match (rule, port) {
        (Ports::Any, _) => true,
        (Ports::Range { first, last }, Some(port)) => (first.get()..=last.get()).contains(&port),
        (Ports::Range { .. }, None) => false,
    }
}

fn matches_target(target: &Target, connection: &Connection<'_>) -> bool {
    let Connection { address, names, locality, .. } = connection;
    match target {
        Target::Any => true,
        // Queries are decided one by one.
        Target::Dns => false,
        Target::Group(Group::Host) => matches!(locality, Locality::Gateway | Locality::Host),
        Target::Group(Group::Project) => *locality == Locality::Peer,
        // An address of the host is the host's, whatever network it is in; its loopback is in both groups.
        Target::Group(Group::Loopback) => {
            *locality != Locality::Gateway && group_of(*address) == Some(Group::Loopback)
        }
        Target::Group(group) => {
            matches!(locality, Locality::Peer | Locality::Elsewhere) && group_of(*address) == Some(*group)
        }
        // A rule for the sandboxes' own network does not open the host.
        Target::Network(network) if *locality == Locality::Gateway => {
            network.prefix_len() == network.max_prefix_len() && network.contains(address)
        }
        Target::Network(network) => contains(network, *address),
        Target::Domain(own) => names.contains(own),
        Target::Suffix(suffix) => names.iter().any(|name| name.is_within(suffix)),
    }
}

#[cfg(test)]
mod tests;
