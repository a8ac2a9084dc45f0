//! Refuses combinations of direction, target, protocol and ports that no connection has, as such a rule would have no
//! effect.

use super::invalid::{InvalidRule, Reason};
use super::target::{Group, Target};
use super::{Action, Direction, DomainName, HOST_NAME, Ports, Protocol, Rule, SANDBOX_ZONE};
use ipnet::IpNet;
use std::num::NonZeroU16;

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// Refuses a rule that no connection matches. A suggestion replaces the part after the `@`.
pub(super) fn check(rule: Rule) -> Result<Rule, InvalidRule> {
    let Rule { action, direction, ref target, protocol, ports: _ } = rule;
    if *target == Target::Dns {
        return dns(rule);
    }
    if protocol.is_icmp() && direction.leads_in() {
        return Err(Reason::IcmpOnIngress { protocol: protocol.as_str() }.into());
    }
    match target {
        Target::Domain(name) => domain(name, &rule)?,
        Target::Suffix(name) if direction == Direction::Ingress => {
            return Err(Reason::NameOnIngress { found: format!("*.{name}") }.into());
        }
        Target::Network(network) => family(network, &rule)?,
        Target::Any | Target::Dns | Target::Group(_) | Target::Suffix(_) => {}
    }
    if is_multicast(target) {
        if direction == Direction::Ingress {
            return Err(Reason::MulticastOnIngress { found: target.to_string() }.into());
        }
        if protocol == Protocol::Tcp {
            let reason = Reason::MulticastTcp { found: target.to_string() };
            return Err(reason.suggest(Rule { protocol: Protocol::Udp, ..rule }.traffic()));
        }
    }
    if action == Action::Allow
        && let Target::Network(network) = target
        && is_unspecified(network)
    {
        let reason = Reason::Unspecified { found: target.to_string() };
        let whole = if network.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let whole = whole.parse().map(|target| Rule { target: Target::Network(target), ..rule.clone() });
        return Err(reason.suggest_if(whole.ok().map(|rule| rule.traffic())));
    }
    Ok(rule)
}

/// Checks a rule about the sandbox's own name server, which has one port. The normal form omits it.
fn dns(rule: Rule) -> Result<Rule, InvalidRule> {
    if rule.direction.leads_in() {
        return Err(Reason::DnsOnIngress.into());
    }
    if rule.protocol.is_icmp() {
        let reason = Reason::DnsProtocol { protocol: rule.protocol.as_str() };
        return Err(reason.suggest(Target::Dns.to_string()));
    }
    let own = NonZeroU16::new(DNS_PORT);
    match rule.ports {
        Ports::Range { first, last } if Some(first) != own || Some(last) != own => {
            let reason = Reason::DnsPorts { found: rule.ports.to_string() };
            Err(reason.suggest(format!("dns:{}:{DNS_PORT}", rule.protocol)))
        }
        _ => Ok(Rule { ports: Ports::Any, ..rule }),
    }
}

/// Checks a rule about a name. Sandboxes have names of one label in rules, and no other sources have names.
fn domain(name: &DomainName, rule: &Rule) -> Result<(), InvalidRule> {
    if let Some(label) = name.as_str().strip_suffix(SANDBOX_ZONE)
        && name.as_str() != HOST_NAME
    {
        let label = DomainName::new(label).ok().filter(DomainName::is_label);
        let traffic = |label| Rule { target: Target::Domain(label), ..rule.clone() }.traffic();
        return Err(Reason::SandboxName { found: name.to_string() }.suggest_if(label.map(traffic)));
    }
    if rule.direction == Direction::Ingress && !name.is_label() {
        return Err(Reason::NameOnIngress { found: name.to_string() }.into());
    }
    Ok(())
}

/// Checks that ICMP of IPv4 has no target of IPv6. The reverse is possible through address translation.
fn family(network: &IpNet, rule: &Rule) -> Result<(), InvalidRule> {
    if rule.protocol == Protocol::Icmpv4 && network.addr().is_ipv6() {
        let meant = Rule { protocol: Protocol::Icmpv6, ..rule.clone() };
        return Err(Reason::IcmpFamily { found: rule.target.to_string() }.suggest(meant.traffic()));
    }
    Ok(())
}

fn is_multicast(target: &Target) -> bool {
    match target {
        Target::Group(group) => *group == Group::Multicast,
        Target::Network(network) => Group::Multicast.contains(network),
        Target::Any | Target::Dns | Target::Domain(_) | Target::Suffix(_) => false,
    }
}

/// Returns whether a network is unspecified. Connections to it are always denied.
fn is_unspecified(network: &IpNet) -> bool {
    match network {
        IpNet::V4(four) => four.addr().octets()[0] == 0 && four.prefix_len() >= 8,
        IpNet::V6(six) => six.addr().is_unspecified() && six.prefix_len() == 128,
    }
}
