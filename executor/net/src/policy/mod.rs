//! What may pass: a pure, table-driven engine.
//!
//! A sandbox's own rules come first, in their order, then the rules that every sandbox starts from, then what
//! is done with all else. In each direction the first rule that fits decides.
//!
//! Architecture invariant: it asks nobody. Which names an address was answered for, and whether it is the
//! host's own, the caller says.

mod address;

pub use address::{contains, embedded_ipv4, group_of, is_link_local, is_unspecified, plain};

use crate::event::Reason;
use rules::rule::{Action, Direction, DomainName, Group, Ports, Protocol, Rule, Target};
use schemas::spec::{Network, NetworkDefault};
use std::fmt;
use std::net::IpAddr;

/// Who wrote a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The Sandboxfile, or a flag.
    Sandbox,
    /// It comes with the default.
    Base,
    /// It is no rule: what is done where none fits.
    Default,
}

/// One rule that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRule {
    /// The rule.
    pub rule: Rule,
    /// Who wrote it.
    pub origin: Origin,
}

/// The rules of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<EffectiveRule>,
    default: NetworkDefault,
}

/// A connection from the sandbox, or to it.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Which way it goes.
    pub direction: FlowDirection,
    /// What it speaks.
    pub protocol: Protocol,
    /// The other end.
    pub address: IpAddr,
    /// The port that it goes to; nothing for ICMP.
    pub port: Option<u16>,
    /// What the other end is called, as far as the sandbox was told.
    pub names: &'a [DomainName],
    /// What the other end is to the host.
    pub locality: Locality,
}

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowDirection {
    /// From the sandbox.
    Outbound,
    /// Into the sandbox.
    Inbound,
}

/// What the other end is to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// The sandbox's own gateway, behind which is the host itself.
    Gateway,
    /// An address that the host has.
    Host,
    /// Another machine.
    Elsewhere,
}

/// What is done with a connection or a name, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may pass.
    pub allowed: bool,
    /// The rule that decided: its position among those in force. Nothing where none fits.
    pub rule: Option<usize>,
    /// In words: the rule and its origin, or the default.
    pub reason: String,
    /// It was allowed by a name, so what a client shows of the name it means is judged.
    pub by_name: bool,
    /// The address is refused whatever the rules say.
    pub is_fixed: bool,
}

impl Policy {
    /// The rules of a network, followed by those that its default stands for.
    pub fn new(network: &Network) -> Self {
        let Network { default, rules, ipv4_pool: _, ipv6_pool: _ } = network;
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

    /// All rules in force, in their order.
    pub fn rules(&self) -> &[EffectiveRule] {
        &self.rules
    }

    /// What is done where no rule fits.
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

    /// Decides on the question for a name, asked over a transport. Rules on addresses say nothing about names, and one
    /// that denies only some of what a name offers does not hide the name.
    pub fn decide_name(&self, name: &DomainName, transport: Protocol) -> Verdict {
        let found = self.rules.iter().position(|EffectiveRule { rule, origin: _ }| {
            let fits = match &rule.target {
                Target::Any => true,
                // About the questions themselves.
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

    /// Whether a rule denies a name by itself: an alias on the way to an address must not be one of those.
    pub fn denies_alias(&self, name: &DomainName, transport: Protocol) -> bool {
        let verdict = self.decide_name(name, transport);
        let rule = verdict.rule.and_then(|position| self.rules.get(position));
        !verdict.allowed
            && rule.is_some_and(|known| matches!(known.rule.target, Target::Domain(_) | Target::Suffix(_)))
    }

    /// Whether an answer may name an address: a public one always, any other where a rule about addresses lets
    /// the sandbox reach something there.
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

    /// Whether a connection may go on under the name that it shows. Where a name allows it, that is one that the
    /// deciding rule is about; or, as many names can share an address, another one that the address was answered for
    /// and that would be allowed by itself.
    pub fn allows_server_name(&self, connection: &Connection<'_>, shown: &DomainName) -> bool {
        let verdict = self.decide(connection);
        let alone = Connection { names: std::slice::from_ref(shown), ..*connection };
        verdict.allowed
            && (!verdict.by_name
                || self.rule_covers(&verdict, shown)
                || connection.names.contains(shown) && self.decide(&alone).allowed)
    }

    /// Whether a name that was shown is one that the rule behind a verdict is about.
    fn rule_covers(&self, verdict: &Verdict, shown: &DomainName) -> bool {
        match verdict.rule.and_then(|position| self.rules.get(position)).map(|known| &known.rule.target) {
            Some(Target::Domain(own)) => own == shown,
            Some(Target::Suffix(suffix)) => shown.is_within(suffix),
            _ => false,
        }
    }

    /// Why a verdict is as it is, for whoever is told of it.
    pub fn reason(&self, verdict: &Verdict) -> Reason {
        let known = verdict.rule.and_then(|position| self.rules.get(position));
        Reason {
            text: verdict.reason.clone(),
            rule: known.map(|known| known.rule.to_string()),
            origin: (!verdict.is_fixed).then(|| known.map_or(Origin::Default, |known| known.origin)),
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
        // Its questions are decided one by one.
        Target::Dns => false,
        Target::Group(Group::Host) => *locality != Locality::Elsewhere,
        // What the host has is the host's, whatever network it is in; its loopback is both.
        Target::Group(Group::Loopback) => {
            *locality != Locality::Gateway && group_of(*address) == Some(Group::Loopback)
        }
        Target::Group(group) => *locality == Locality::Elsewhere && group_of(*address) == Some(*group),
        // A network of the sandboxes' own does not open the host.
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
