//! Combinations of direction, target, protocol and ports that no traffic has: a rule with one of them would look as if
//! it did something.

use super::invalid::{InvalidRule, Reason};
use super::target::{Group, Target};
use super::{Action, Direction, DomainName, HOST_NAME, Ports, Protocol, Rule, SANDBOX_ZONE};
use ipnet::IpNet;
use std::num::NonZeroU16;

/// Where name servers are asked.
const DNS_PORT: u16 = 53;

/// Refuses a rule that nothing ever fits. A suggestion is about the part behind the `@`.
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
            return Err(reason.or_rather(Rule { protocol: Protocol::Udp, ..rule }.traffic()));
        }
    }
    if action == Action::Allow
        && let Target::Network(network) = target
        && is_unspecified(network)
    {
        let reason = Reason::Unspecified { found: target.to_string() };
        let whole = if network.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let whole = whole.parse().map(|target| Rule { target: Target::Network(target), ..rule.clone() });
        return Err(reason.perhaps(whole.ok().map(|rule| rule.traffic())));
    }
    Ok(rule)
}

/// The sandbox's own name server, which is asked at one port. The normal form leaves that port away.
fn dns(rule: Rule) -> Result<Rule, InvalidRule> {
    if rule.direction.leads_in() {
        return Err(Reason::DnsOnIngress.into());
    }
    if rule.protocol.is_icmp() {
        let reason = Reason::DnsProtocol { protocol: rule.protocol.as_str() };
        return Err(reason.or_rather(Target::Dns.to_string()));
    }
    let own = NonZeroU16::new(DNS_PORT);
    match rule.ports {
        Ports::Range { first, last } if Some(first) != own || Some(last) != own => {
            let reason = Reason::DnsPorts { found: rule.ports.to_string() };
            Err(reason.or_rather(format!("dns:{}:{DNS_PORT}", rule.protocol)))
        }
        _ => Ok(Rule { ports: Ports::Any, ..rule }),
    }
}

/// Other sandboxes have one part of a name in rules, and nobody else who comes in has a name.
fn domain(name: &DomainName, rule: &Rule) -> Result<(), InvalidRule> {
    if let Some(label) = name.as_str().strip_suffix(SANDBOX_ZONE)
        && name.as_str() != HOST_NAME
    {
        let label = DomainName::new(label).ok().filter(DomainName::is_label);
        let traffic = |label| Rule { target: Target::Domain(label), ..rule.clone() }.traffic();
        return Err(Reason::SandboxName { found: name.to_string() }.perhaps(label.map(traffic)));
    }
    match rule.direction == Direction::Ingress && !name.is_label() {
        true => Err(Reason::NameOnIngress { found: name.to_string() }.into()),
        false => Ok(()),
    }
}

/// ICMP has a protocol for each family. One for IPv6 may well go to a network of IPv4, which translators reach.
fn family(network: &IpNet, rule: &Rule) -> Result<(), InvalidRule> {
    if rule.protocol == Protocol::Icmpv4 && network.addr().is_ipv6() {
        let meant = Rule { protocol: Protocol::Icmpv6, ..rule.clone() };
        return Err(Reason::IcmpFamily { found: rule.target.to_string() }.or_rather(meant.traffic()));
    }
    Ok(())
}

fn is_multicast(target: &Target) -> bool {
    match target {
        Target::Group(group) => *group == Group::Multicast,
        Target::Network(network) => Group::Multicast.holds(network),
        Target::Any | Target::Dns | Target::Domain(_) | Target::Suffix(_) => false,
    }
}

/// Whether all addresses of a network stand for no machine: nothing may go there, whatever the rules say.
fn is_unspecified(network: &IpNet) -> bool {
    match network {
        IpNet::V4(four) => four.addr().octets()[0] == 0 && four.prefix_len() >= 8,
        IpNet::V6(six) => six.addr().is_unspecified() && six.prefix_len() == 128,
    }
}
