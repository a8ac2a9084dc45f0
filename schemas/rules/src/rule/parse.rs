//! Parses rules.

use super::fit;
use super::invalid::{InvalidRule, Reason};
use super::name::{name_of, suffix_of};
use super::target::{Group, Target};
use super::{Action, Direction, Ports, Protocol, RULE_BYTES_MAX, Rule};
use crate::suggest::nearest;
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

/// Common other words for actions.
const ACTIONS: &[(&str, Action)] = &[
    ("accept", Action::Allow),
    ("permit", Action::Allow),
    ("pass", Action::Allow),
    ("block", Action::Deny),
    ("drop", Action::Deny),
    ("reject", Action::Deny),
    ("forbid", Action::Deny),
];

/// Common other words for directions.
const DIRECTIONS: &[(&str, Direction)] = &[
    ("out", Direction::Egress),
    ("outbound", Direction::Egress),
    ("output", Direction::Egress),
    ("in", Direction::Ingress),
    ("inbound", Direction::Ingress),
    ("input", Direction::Ingress),
    ("both", Direction::Any),
    ("all", Direction::Any),
    ("*", Direction::Any),
];

/// Common other words for targets.
const TARGETS: &[(&str, &str)] = &[
    ("*", "any"),
    ("all", "any"),
    ("everything", "any"),
    ("internet", "public"),
    ("external", "public"),
    ("lan", "private"),
    ("internal", "private"),
    ("localhost", "loopback"),
    ("local", "loopback"),
    ("metadata", "meta"),
    ("gateway", "host"),
];

/// Common other words for protocols, some with their ports.
const PROTOCOLS: &[(&str, &str)] = &[
    ("*", "any"),
    ("all", "any"),
    ("https", "tcp:443"),
    ("http", "tcp:80"),
    ("ssh", "tcp:22"),
    ("dns", "udp:53"),
    ("quic", "udp:443"),
    ("icmp", "icmpv4"),
    ("icmp4", "icmpv4"),
    ("icmp6", "icmpv6"),
    ("ping", "icmpv4"),
];

fn instead<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    let word = word.to_ascii_lowercase();
    table.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours)
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        read(text).map_err(|invalid| invalid.settled(read))
    }
}

impl Rule {
    /// Parses the part after the `@` of a rule.
    ///
    /// # Errors
    ///
    /// If the text is not a target with an optional protocol and ports, or no connection can match the rule.
    pub fn of(action: Action, direction: Direction, traffic: &str) -> Result<Self, InvalidRule> {
        let read = |traffic: &str| read_traffic(action, direction, traffic);
        read(traffic).map_err(|invalid| invalid.settled(read))
    }
}

fn read(text: &str) -> Result<Rule, InvalidRule> {
    check_text(text)?;
    let Some((head, traffic)) = text.split_once('@') else {
        let reason = Reason::NoTarget { found: text.to_owned() };
        // `allow:example.org` and `example.org` are both close to a rule.
        let (action, rest) = match text.split_once([':', '=']) {
            Some((action, rest)) if Action::from_word(action).is_some() => (action, rest),
            _ => ("allow", text),
        };
        let is_target = read_traffic(Action::Allow, Direction::Egress, rest).is_ok();
        return Err(reason.suggest_if(is_target.then(|| format!("{action}@{rest}"))));
    };
    if traffic.contains('@') {
        let reason = if traffic.contains(',') { Reason::SeveralRules } else { Reason::SecondAt };
        return Err(reason.into());
    }
    let (action, direction) =
        head_of(head).map_err(|invalid| invalid.map_suggestion(|head| format!("{head}@{traffic}")))?;
    read_traffic(action, direction, traffic).map_err(|invalid| match invalid.reason {
        // The suggestion changes the head. A rule for ingress only never becomes one for egress, except for the name
        // server, which has no other.
        Reason::IcmpOnIngress { .. } if direction == Direction::Any => {
            invalid.reason.suggest(format!("{action}@{traffic}"))
        }
        Reason::DnsOnIngress => invalid.reason.suggest(format!("{action}@{traffic}")),
        _ => invalid.map_suggestion(|traffic| format!("{head}@{traffic}")),
    })
}

fn read_traffic(action: Action, direction: Direction, traffic: &str) -> Result<Rule, InvalidRule> {
    check_text(traffic).map_err(|invalid| match invalid.reason {
        Reason::Empty => Reason::EmptyTarget.into(),
        _ => invalid,
    })?;
    let (target, protocol, ports) = traffic_of(traffic)?;
    fit::check(Rule { action, direction, target, protocol, ports })
}

/// Parses rules that are separated by commas, as in a flag.
///
/// # Errors
///
/// If a part is not a rule.
pub fn parse_list(text: &str) -> Result<Vec<Rule>, InvalidRule> {
    let mut rules: Vec<Rule> = Vec::new();
    for part in text.split(',') {
        match part.parse() {
            Ok(rule) => rules.push(rule),
            Err(InvalidRule { reason: reason @ Reason::NoTarget { .. }, suggestion }) => {
                // In `allow@x.com:tcp:80,443` the comma starts another rule, not another port.
                let more = rules.last().and_then(|last| {
                    let ports = ports_of(part, "").ok()?;
                    Some(Rule { ports, ..last.clone() }.to_string())
                });
                return Err(reason.suggest_if(more.or(suggestion)));
            }
            Err(invalid) => return Err(invalid),
        }
    }
    Ok(rules)
}

fn check_text(text: &str) -> Result<(), InvalidRule> {
    if text.is_empty() {
        return Err(Reason::Empty.into());
    }
    if text.len() > RULE_BYTES_MAX {
        return Err(Reason::TooLong { limit: RULE_BYTES_MAX }.into());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let joined: String = text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
        return Err(Reason::WhiteSpace.suggest(joined));
    }
    Ok(())
}

/// Parses the part before the `@`.
fn head_of(head: &str) -> Result<(Action, Direction), InvalidRule> {
    let mut parts = head.splitn(3, ':');
    let word = parts.next().unwrap_or_default();
    let rest = parts.next();
    let action = Action::from_word(word).ok_or_else(|| {
        let words = Action::ALL.iter().map(|action| action.as_str());
        let meant = instead(ACTIONS, word).map(Action::as_str).or_else(|| nearest(word, words));
        let complete = |meant: &str| rest.map_or(meant.to_owned(), |rest| format!("{meant}:{rest}"));
        Reason::UnknownAction { found: word.to_owned() }.suggest_if(meant.map(complete))
    })?;
    let direction = rest.map_or(Ok(Direction::Egress), |word| {
        Direction::from_word(word).ok_or_else(|| {
            let words = Direction::ALL.iter().map(|direction| direction.as_str());
            let meant = instead(DIRECTIONS, word).map(Direction::as_str).or_else(|| nearest(word, words));
            let reason = Reason::UnknownDirection { found: word.to_owned() };
            reason.suggest_if(meant.map(|meant| format!("{action}:{meant}")))
        })
    })?;
    match parts.next() {
        Some(found) => {
            Err(Reason::TrailingHead { found: found.to_owned() }.suggest(format!("{action}:{direction}")))
        }
        None => Ok((action, direction)),
    }
}

/// Parses the part after the `@`.
fn traffic_of(text: &str) -> Result<(Target, Protocol, Ports), InvalidRule> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(url(scheme, rest));
    }
    let (target, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let Some((address, after)) = inner.split_once(']') else {
                let meant = bare_ipv6(inner).map(|(address, rest)| format!("[{address}]{rest}"));
                return Err(Reason::OpenBracket.suggest_if(meant));
            };
            let rest = after.strip_prefix(':');
            if rest.is_none() && !after.is_empty() {
                let reason = Reason::AfterBracket { found: after.to_owned() };
                let prefix = after.strip_prefix('/').filter(|_| !after.contains(':'));
                return Err(reason.suggest_if(prefix.map(|prefix| format!("[{address}/{prefix}]"))));
            }
            (format!("[{address}]"), rest)
        }
        None => {
            if let Some((address, rest)) = bare_ipv6(text) {
                return Err(Reason::NoBrackets.suggest(format!("[{address}]{rest}")));
            }
            match text.split_once(':') {
                Some((target, rest)) => (target.to_owned(), Some(rest)),
                None => (text.to_owned(), None),
            }
        }
    };
    let after = rest.map(|rest| format!(":{rest}")).unwrap_or_default();
    let parsed = target_of(&target).map_err(|invalid| invalid.map_suggestion(|text| text + &after))?;
    let Some(rest) = rest else { return Ok((parsed, Protocol::Any, Ports::Any)) };
    let complete = |text: String| if text.is_empty() { target.clone() } else { format!("{target}:{text}") };
    let (protocol, ports) = service_of(rest).map_err(|invalid| invalid.map_suggestion(complete))?;
    Ok((parsed, protocol, ports))
}

/// Refuses a URL, and suggests its host and port.
fn url(scheme: &str, rest: &str) -> InvalidRule {
    let reason = Reason::Url { scheme: scheme.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let known = match scheme.to_ascii_lowercase().as_str() {
        "https" => Some("443"),
        "http" => Some("80"),
        "ssh" => Some("22"),
        _ => None,
    };
    reason.suggest_if(port.or(known).map(|port| format!("{host}:tcp:{port}")))
}

/// Splits off an IPv6 address or network at the start; `None` without one.
fn bare_ipv6(text: &str) -> Option<(&str, &str)> {
    let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok() || text.parse::<Ipv6Net>().is_ok();
    if text.matches(':').count() < 2 {
        return None;
    }
    let ends = Protocol::ALL.iter().filter_map(|protocol| text.find(&format!(":{protocol}")));
    ends.chain([text.len()]).map(|end| text.split_at(end)).find(|(address, _)| is_ipv6(address))
}

fn target_of(text: &str) -> Result<Target, InvalidRule> {
    if text.is_empty() {
        return Err(Reason::EmptyTarget.into());
    }
    match text {
        "any" => return Ok(Target::Any),
        "dns" => return Ok(Target::Dns),
        _ => {}
    }
    if let Some(group) = Group::from_word(text) {
        return Ok(Target::Group(group));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        return ipv6_of(inner);
    }
    if let Some((key, value)) = text.split_once('=') {
        return keyed_target_of(key, value);
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return suffix_of(suffix).map(Target::Suffix);
    }
    // The last label of a name is not a number, so digits and dots are meant as an address.
    let address = text.split('/').next().unwrap_or_default();
    if address.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && address.contains('.') {
        return ipv4_of(text);
    }
    if let Some(meant) = instead(TARGETS, text) {
        let reason = match text {
            "*" => Reason::Wildcard { found: text.to_owned() },
            _ => Reason::BareLabel { found: text.to_owned() },
        };
        return Err(reason.suggest(meant));
    }
    let name = name_of(text)?;
    if name.is_label() {
        let words = Group::ALL.iter().map(|group| group.as_str()).chain(["any", "dns"]);
        let meant = match nearest(text, words) {
            Some(word) => word.to_owned(),
            None => format!("domain={name}"),
        };
        return Err(Reason::BareLabel { found: text.to_owned() }.suggest(meant));
    }
    Ok(Target::Domain(name))
}

fn keyed_target_of(key: &str, value: &str) -> Result<Target, InvalidRule> {
    match key {
        "domain" => {
            if value.is_empty() {
                return Err(Reason::EmptyTarget.into());
            }
            if let Some(suffix) = value.strip_prefix("*.")
                && let Ok(name) = suffix_of(suffix)
            {
                return Err(Reason::Wildcard { found: value.to_owned() }.suggest(format!("*.{name}")));
            }
            if value.parse::<IpAddr>().is_ok() {
                return Err(Reason::InvalidName {
                    found: value.to_owned(),
                    problem: super::NameProblem::Number,
                }
                .suggest(value));
            }
            name_of(value).map(Target::Domain)
        }
        "suffix" => suffix_of(value).map(Target::Suffix),
        _ => {
            let meant = nearest(key, ["domain", "suffix"]).map(|key| format!("{key}={value}"));
            Err(Reason::UnknownKey { found: key.to_owned() }.suggest_if(meant))
        }
    }
}

fn ipv4_of(text: &str) -> Result<Target, InvalidRule> {
    let (address, prefix) = split_prefix(text);
    let Ok(parsed) = address.parse::<Ipv4Addr>() else {
        return Err(Reason::InvalidAddress { found: address.to_owned() }.into());
    };
    network_of(parsed.into(), prefix)
}

fn ipv6_of(text: &str) -> Result<Target, InvalidRule> {
    let (address, prefix) = split_prefix(text);
    let Ok(parsed) = address.parse::<Ipv6Addr>() else {
        let reason = Reason::InvalidAddress { found: address.to_owned() };
        let is_ipv4 = address.parse::<Ipv4Addr>().is_ok();
        return Err(reason.suggest_if(is_ipv4.then(|| text.to_owned())));
    };
    network_of(parsed.into(), prefix)
}

fn split_prefix(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)))
}

/// Returns the network of an address, which is the address alone without a prefix length.
fn network_of(address: IpAddr, prefix: Option<&str>) -> Result<Target, InvalidRule> {
    let single = IpNet::from(address);
    let Some(prefix) = prefix else { return Ok(Target::Network(single)) };
    let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let length = prefix.parse().ok().filter(|_| is_number);
    let network = length.and_then(|length| IpNet::new(address, length).ok());
    let most = single.max_prefix_len();
    let network = network.ok_or_else(|| Reason::InvalidPrefix { found: prefix.to_owned(), most })?;
    Ok(Target::Network(network.trunc()))
}

/// Parses a protocol and ports.
fn service_of(text: &str) -> Result<(Protocol, Ports), InvalidRule> {
    let mut parts = text.splitn(3, ':');
    let word = parts.next().unwrap_or_default();
    let (ports, trailing) = (parts.next(), parts.next());
    if word.is_empty() {
        // A suggestion must not allow more than was meant.
        let meant = ports.map_or(String::new(), |ports| format!("{}:{ports}", usual_protocol(ports)));
        return Err(Reason::EmptyPart.suggest(meant));
    }
    let Some(protocol) = Protocol::from_word(word) else {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            let protocol = ports.and_then(Protocol::from_word).filter(|_| trailing.is_none());
            let meant = format!("{}:{word}", protocol.unwrap_or_else(|| usual_protocol(word)));
            let is_sound = (ports.is_none() || protocol.is_some()) && service_of(&meant).is_ok();
            let reason = Reason::PortInProtocolSlot { found: word.to_owned() };
            return Err(reason.suggest_if(is_sound.then_some(meant)));
        }
        let words = Protocol::ALL.iter().map(|protocol| protocol.as_str());
        let meant = instead(PROTOCOLS, word).or_else(|| nearest(word, words));
        let meant = meant.map(|meant| match ports {
            Some(ports) => format!("{}:{ports}", meant.split(':').next().unwrap_or_default()),
            None => meant.to_owned(),
        });
        let meant = meant.filter(|meant| service_of(meant).is_ok());
        return Err(Reason::UnknownProtocol { found: word.to_owned() }.suggest_if(meant));
    };
    let Some(ports) = ports else { return Ok((protocol, Ports::Any)) };
    let parsed = ports_of(ports, word)?;
    if let Some(trailing) = trailing {
        let reason = Reason::TrailingText { found: trailing.to_owned() };
        return Err(reason.suggest(format!("{word}:{ports}")));
    }
    match (protocol.is_icmp(), parsed) {
        (true, Ports::Range { .. }) => Err(Reason::IcmpPorts { protocol: protocol.as_str() }.suggest(word)),
        _ => Ok((protocol, parsed)),
    }
}

/// Returns the most common protocol of a port.
fn usual_protocol(port: &str) -> Protocol {
    if port == "53" { Protocol::Udp } else { Protocol::Tcp }
}

/// Parses ports. Suggestions repeat the protocol.
fn ports_of(text: &str, protocol: &str) -> Result<Ports, InvalidRule> {
    if text == "any" {
        return Ok(Ports::Any);
    }
    if text.is_empty() {
        return Err(Reason::EmptyPart.suggest(protocol));
    }
    if text == "*" {
        return Err(Reason::UnknownPorts { found: text.to_owned() }.suggest(protocol));
    }
    if Protocol::from_word(text).is_some() {
        let reason = Reason::ProtocolInPortSlot { found: text.to_owned() };
        return Err(reason.suggest_if((protocol == "any").then(|| text.to_owned())));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return Err(Reason::UnknownPorts { found: text.to_owned() }.into());
    }
    let port = |text: &str| {
        let port = text.parse::<NonZeroU16>();
        port.map_err(|_| InvalidRule::from(Reason::PortOutOfRange { found: text.to_owned() }))
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        let reason = Reason::PortsReversed { found: text.to_owned() };
        return Err(reason.suggest(format!("{protocol}:{last}-{first}")));
    }
    Ok(Ports::Range { first, last })
}
