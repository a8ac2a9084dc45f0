//! Rules from recorded traffic. Each is as narrow as what was seen, and none is superfluous.

use executor_client::event::{Allowed, Refused};
use executor_net::policy::{group_of, plain};
use executor_net::{Addresses, is_own};
use rules::rule::{
    Action, Direction, DomainName, Group, HOST_NAME, Ports, Protocol, Rule, SANDBOX_ZONE, Target,
};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::SystemTime;

/// The limit of rules and of other refusals. A guest can fill its logs with any number of them.
const ENTRIES_MAX: usize = 4096;

/// The result.
#[derive(Debug, Default, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct Learned {
    /// The rules.
    pub rules: Vec<LearnedRule>,
    /// Refusals that no rule would have prevented.
    pub other_refusals: Vec<OtherRefusal>,
    /// Whether everything was recorded; otherwise more rules are needed.
    pub complete: bool,
}

/// A rule, and what it is based on.
#[derive(Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct LearnedRule {
    /// The rule.
    pub rule: Rule,
    /// What was seen of it.
    #[serde(flatten)]
    pub seen: Seen,
    /// The reason, if it is not traffic that the rule describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// When and how often something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct Seen {
    /// How often it was allowed.
    pub allowed: u64,
    /// How often it was refused.
    pub refused: u64,
    /// The first time.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub first: SystemTime,
    /// The last time.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "String")]
    pub last: SystemTime,
}

/// Why a rule is needed although no traffic shows its ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Note {
    /// The name was only looked up: its ports are unknown.
    OnlyLookedUp,
    /// A name resolves to the address, which is not public.
    AddressOf {
        /// The name.
        #[serde(serialize_with = "as_display")]
        #[schemars(with = "String")]
        name: DomainName,
    },
}

/// A refusal that no rule would have prevented.
#[derive(Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct OtherRefusal {
    /// The refusal.
    pub text: String,
    /// What was seen of it.
    #[serde(flatten)]
    pub seen: Seen,
}

fn as_display<S: Serializer>(name: &DomainName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}

fn as_text<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&executor_log::time::format(*time))
}

impl Seen {
    fn new(time: SystemTime, allowed: u64, refused: u64) -> Self {
        Self { allowed, refused, first: time, last: time }
    }

    fn add(&mut self, other: Self) {
        let Self { allowed, refused, first, last } = other;
        self.allowed = self.allowed.saturating_add(allowed);
        self.refused = self.refused.saturating_add(refused);
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }
}

/// Collects what a sandbox did.
pub struct Learner {
    addresses: Option<Addresses>,
    /// Rules for the seen traffic.
    flows: BTreeMap<Rule, Seen>,
    /// Names that were only looked up, unless there is a flow to them.
    names: BTreeMap<DomainName, Seen>,
    /// Addresses that are not public and were answered for a name. A rule on the address lets the answer pass.
    answers: BTreeMap<IpAddr, Answer>,
    others: BTreeMap<String, Seen>,
    complete: bool,
}

/// An answer with an address that is not public.
struct Answer {
    name: DomainName,
    /// The narrowest rule that is known to suffice; `None` if the ports are unknown.
    rule: Option<Rule>,
    seen: Seen,
}

/// One end of seen traffic.
struct Peer<'a> {
    direction: &'a str,
    protocol: &'a str,
    address: Option<IpAddr>,
    port: Option<u16>,
    name: Option<&'a str>,
}

impl Learner {
    /// `addresses`: those of the sandbox, if it has ever run.
    pub fn new(addresses: Option<Addresses>) -> Self {
        Self {
            addresses,
            flows: BTreeMap::new(),
            names: BTreeMap::new(),
            answers: BTreeMap::new(),
            others: BTreeMap::new(),
            complete: true,
        }
    }

    /// Adds allowed traffic.
    pub fn allowed(&mut self, time: SystemTime, allowed: &Allowed) {
        let Allowed { direction, protocol, address, port, name, count } = allowed;
        let (direction, protocol, name) = (direction.as_str(), protocol.as_str(), name.as_deref());
        let peer = Peer { direction, protocol, address: *address, port: *port, name };
        // What cannot be listed separately has neither.
        if self.flow(&peer, Seen::new(time, *count, 0)).is_none() {
            self.complete = false;
        }
    }

    /// Adds a refusal.
    pub fn refused(&mut self, time: SystemTime, refused: &Refused) {
        let Refused { direction, protocol, address, port, name, reason: _, rule, origin, allow: _, count } =
            refused;
        let (direction, protocol, name) = (direction.as_str(), protocol.as_str(), name.as_deref());
        let seen = Seen::new(time, 0, *count);
        let peer = Peer { direction, protocol, address: *address, port: *port, name };
        if direction == "any" {
            self.complete = false;
            return;
        }
        let domain = name.and_then(target_name);
        let is_learned = match (protocol, *address, domain) {
            ("dns", Some(address), Some(name)) => self.answer(address, name, None, seen),
            ("dns", None, Some(name)) => {
                self.name(name, seen);
                true
            }
            _ if origin.is_some() && !is_allowed_by(rule.as_deref(), name) => {
                self.flow(&peer, seen).is_some()
            }
            _ => false,
        };
        if !is_learned {
            let text = Refused { count: 1, ..refused.clone() }.to_string();
            if !self.others.contains_key(&text) && self.others.len() >= ENTRIES_MAX {
                self.complete = false;
                return;
            }
            self.others.entry(text).and_modify(|known| known.add(seen)).or_insert(seen);
        }
    }

    /// Adds traffic; returns `None` if no rule describes it.
    fn flow(&mut self, peer: &Peer<'_>, seen: Seen) -> Option<()> {
        let direction: Direction = Direction::from_word(peer.direction)?;
        let protocol =
            Protocol::from_word(peer.protocol).filter(|protocol: &Protocol| !protocol.is_icmp())?;
        let port = NonZeroU16::new(peer.port?)?;
        let address = peer.address.map(plain);
        let name = peer.name.and_then(target_name);
        let rule = |target| Rule {
            action: Action::Allow,
            direction,
            target,
            protocol,
            ports: Ports::Range { first: port, last: port },
        };
        let target = match (&name, address) {
            (Some(name), _) => Target::Domain(name.clone()),
            // The gateway stands for the host, and its address is the sandbox's own.
            (None, Some(address)) if self.addresses.is_some_and(|own| own.is_gateway(address)) => {
                Target::Group(Group::Host)
            }
            (None, Some(address)) => Target::Network(address.into()),
            (None, None) => return None,
        };
        if let (Some(name), Some(address), Direction::Egress) = (name, address, direction)
            && !is_local(&name)
            && (group_of(address) != Some(Group::Public) || is_own(address))
        {
            self.answer(address, name, Some(rule(Target::Network(address.into()))), seen);
        }
        let rule = rule(target);
        if !self.flows.contains_key(&rule) && self.flows.len() >= ENTRIES_MAX {
            self.complete = false;
            return Some(());
        }
        self.flows.entry(rule).and_modify(|known| known.add(seen)).or_insert(seen);
        Some(())
    }

    fn name(&mut self, name: DomainName, seen: Seen) {
        if !self.names.contains_key(&name) && self.names.len() >= ENTRIES_MAX {
            self.complete = false;
            return;
        }
        self.names.entry(name).and_modify(|known| known.add(seen)).or_insert(seen);
    }

    /// Adds an answer; returns false if no rule can let it pass.
    fn answer(&mut self, address: IpAddr, name: DomainName, rule: Option<Rule>, seen: Seen) -> bool {
        let address = plain(address);
        if executor_net::policy::is_unspecified(address) {
            return false;
        }
        if rule.is_none() {
            self.name(name.clone(), seen);
        }
        if !self.answers.contains_key(&address) && self.answers.len() >= ENTRIES_MAX {
            self.complete = false;
            return true;
        }
        let nothing = Seen { allowed: 0, refused: 0, ..seen };
        let first = || Answer { name: name.clone(), rule: None, seen: nothing };
        let known = self.answers.entry(address).or_insert_with(first);
        known.seen.add(seen);
        known.rule = match (known.rule.take(), rule) {
            (Some(known), Some(other)) => Some(known.min(other)),
            (known, other) => known.or(other),
        };
        if name < known.name {
            known.name = name;
        }
        true
    }

    /// Returns the rules: names before addresses, and traffic into the sandbox last.
    pub fn learn(self) -> Learned {
        let Self { addresses: _, flows, names, answers, others, complete } = self;
        let any = |target| Rule {
            action: Action::Allow,
            direction: Direction::Egress,
            target,
            protocol: Protocol::Any,
            ports: Ports::Any,
        };
        let outbound: BTreeSet<Target> =
            flows.keys().filter(|rule| rule.direction.leads_out()).map(|rule| rule.target.clone()).collect();
        // The group of the host includes the one with the host's name.
        let is_host =
            |rule: &Rule| matches!(&rule.target, Target::Domain(name) if name.as_str() == HOST_NAME);
        let by_group = |rule: &Rule| Rule { target: Target::Group(Group::Host), ..rule.clone() };
        let mut rules: BTreeMap<Rule, Seen> = BTreeMap::new();
        for (rule, seen) in flows.clone() {
            let rule =
                if is_host(&rule) && flows.contains_key(&by_group(&rule)) { by_group(&rule) } else { rule };
            rules.entry(rule).and_modify(|known| known.add(seen)).or_insert(seen);
        }
        let mut rules = merged(rules);
        for (name, seen) in names {
            let target = Target::Domain(name);
            if !outbound.contains(&target) {
                rules.push(LearnedRule { rule: any(target), seen, note: Some(Note::OnlyLookedUp) });
            }
        }
        for (address, Answer { name, rule, seen }) in answers {
            let target = Target::Network(address.into());
            if !outbound.contains(&target) {
                let rule = rule.unwrap_or_else(|| any(target));
                rules.push(LearnedRule { rule, seen, note: Some(Note::AddressOf { name }) });
            }
        }
        rules.sort_by(|a, b| order(&a.rule).cmp(&order(&b.rule)));
        let other_refusals = others.into_iter().map(|(text, seen)| OtherRefusal { text, seen });
        Learned { rules, other_refusals: other_refusals.collect(), complete }
    }
}

/// Returns the name as rules spell it. Sandboxes have names of one label there.
fn target_name(text: &str) -> Option<DomainName> {
    let name = DomainName::new(text).ok()?;
    match name.as_str().strip_suffix(SANDBOX_ZONE) {
        Some(label) if name.as_str() != HOST_NAME => DomainName::new(label).ok().filter(DomainName::is_label),
        _ => Some(name),
    }
}

/// Returns whether it is the name of the host or of a sandbox, whose answers always pass.
fn is_local(name: &DomainName) -> bool {
    name.is_label() || name.as_str() == HOST_NAME
}

/// Returns whether a rule allowed traffic to a name that was refused for another reason.
fn is_allowed_by(rule: Option<&str>, name: Option<&str>) -> bool {
    let Some(rule) = rule.and_then(|rule| rule.parse::<Rule>().ok()) else { return false };
    let name = name.and_then(target_name);
    rule.action == Action::Allow
        && match rule.target {
            Target::Domain(own) => name.is_none_or(|name| name == own),
            Target::Suffix(suffix) => name.is_none_or(|name| name.is_within(&suffix)),
            Target::Any | Target::Dns | Target::Group(_) | Target::Network(_) => true,
        }
}

/// Merges rules that differ only in adjacent ports. The rules come in the order of their ports.
fn merged(flows: BTreeMap<Rule, Seen>) -> Vec<LearnedRule> {
    let mut rules: Vec<LearnedRule> = Vec::new();
    for (rule, seen) in flows {
        if let Some(previous) = rules.last_mut()
            && let (Ports::Range { first, last }, Ports::Range { first: next, last: end }) =
                (previous.rule.ports, rule.ports)
            && last.checked_add(1) == Some(next)
            && previous.rule == (Rule { ports: previous.rule.ports, ..rule.clone() })
        {
            previous.rule.ports = Ports::Range { first, last: end };
            previous.seen.add(seen);
        } else {
            rules.push(LearnedRule { rule, seen, note: None });
        }
    }
    rules
}

fn order(rule: &Rule) -> (bool, bool, &Target, Protocol, Ports) {
    let is_name = matches!(rule.target, Target::Domain(_) | Target::Suffix(_));
    (rule.direction != Direction::Egress, !is_name, &rule.target, rule.protocol, rule.ports)
}
