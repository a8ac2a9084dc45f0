//! What a service reaches: networks, names and resolvers.

use super::Builder;
use crate::context::{At, Fields, shown};
use crate::out::{Body, Commented, Network, Value};
use rules::nameserver::NameServerAddress;
use rules::rule::DomainName;
use sandboxfile::Code;
use sandboxfile::yaml::NodeValue;
use schemas::spec::limits::{NAME_SERVERS_MAX, SEARCH_DOMAINS_MAX};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

/// The most rules for the services of a project, and for the copies of one.
const RULES_MAX: usize = 20_000;
const COPIES_MAX: u32 = 1_000;

impl<'n> Builder<'_, '_, 'n> {
    /// `ports`, `extra_hosts`, `dns`, `networks`, `network_mode` and `links`.
    pub(super) fn network(&mut self) {
        self.ports();
        self.hosts();
        let mut network = Network::default();
        self.resolver(&mut network);
        self.memberships();
        self.mode();
        self.links();
        self.rules(&mut network);
        if !network.is_empty() {
            self.push("network", "network", Body::Network(network));
        }
    }

    fn resolver(&mut self, network: &mut Network) {
        if let Some(at) = self.take("dns") {
            network.servers = self.resolver_list::<NameServerAddress>(&at, "dns", NAME_SERVERS_MAX);
        }
        if let Some(at) = self.take("dns_search") {
            network.search = self.resolver_list::<DomainName>(&at, "dns_search", SEARCH_DOMAINS_MAX);
        }
        if let Some(at) = self.take("dns_opt") {
            self.context.left_out(&at, "dns_opt", "options of the guest's resolver are not set");
        }
    }

    /// Returns the valid entries of a list about names; the others are left out.
    fn resolver_list<T: FromStr<Err: Display>>(&mut self, at: &At<'n>, key: &str, most: usize) -> Vec<Value> {
        self.context.mapped(at);
        let mut values = Vec::new();
        for at in self.context.elements(at) {
            let Some(text) = self.context.text(&at) else { continue };
            let value = text.value.trim();
            match value.parse::<T>() {
                // It clears the list of the host, which a sandbox does not have.
                _ if key == "dns_search" && value == "." => {}
                Err(invalid) => self.context.left_out(&at, key, invalid.to_string()),
                Ok(_) if values.len() == most => {
                    self.context.left_out(&at, key, format!("resolvers use no more than {most}"));
                }
                Ok(_) => {
                    values.push(if text.is_template() { Value::of(&text) } else { Value::literal(value) })
                }
            }
        }
        values
    }

    fn hosts(&mut self) {
        let Some(at) = self.take("extra_hosts") else { return };
        self.context.mapped(&at);
        let mut hosts = Vec::new();
        for (name, address, at) in self.context.pairs(&at, &['=', ':']) {
            let Some(address) = address else {
                self.context.left_out(
                    &at,
                    "extra_hosts",
                    "it has no address: write `NAME: ADDRESS` under `hosts`",
                );
                continue;
            };
            let text = self.context.template(&at, &address);
            let value = text.value.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
            if value == "host-gateway" {
                let reason = format!(
                    "the host is `host.msb.internal` in a sandbox, not {}, and reached with the rule `allow \"host\"`",
                    shown(&name)
                );
                self.context.left_out(&at, "extra_hosts", reason);
            } else if value.parse::<std::net::IpAddr>().is_err() {
                self.context.left_out(
                    &at,
                    "extra_hosts",
                    format!("{} is not an address: write one", shown(&value)),
                );
            } else {
                self.context.mapped(&at);
                let value = if text.is_template() { Value::of(&text) } else { Value::literal(&value) };
                let comments = self.context.take_notes();
                hosts.push(Commented { comments, value: (name, Some(value)) });
            }
        }
        if !hosts.is_empty() {
            self.push("hosts", "hosts", Body::Map(hosts));
        }
    }

    /// Says what becomes of the options of a service in its networks.
    fn memberships(&mut self) {
        let Some(at) = self.take("networks") else { return };
        self.context.mapped_as(&at, "as rules");
        let NodeValue::Map(_) = &at.node.value else { return };
        for (name, at) in self.context.entries(&at) {
            self.context.mapped(&at);
            let mut fields = Fields::of(self.context, &at);
            for (key, reason) in [
                ("aliases", "a sandbox is found by its own name only: use this name, or name the sandbox so"),
                ("ipv4_address", "msb chooses addresses: use the name of the sandbox"),
                ("ipv6_address", "msb chooses addresses: use the name of the sandbox"),
                ("link_local_ips", "msb chooses addresses: use the name of the sandbox"),
                ("mac_address", "msb chooses addresses: remove it"),
                ("driver_opts", "each sandbox has a network of its own, and no driver: remove it"),
                ("interface_name", "a sandbox has one interface: remove it"),
            ] {
                let Some(at) = fields.take(self.context, key) else { continue };
                let own = &self.facts.names[self.service];
                if key == "aliases" && self.aliases_are(&at, own) {
                    self.context.mapped_as(&at, "its own name");
                } else {
                    self.context.left_out(&at, &format!("networks.{name}.{key}"), reason);
                }
            }
            for key in ["priority", "gw_priority"] {
                if let Some(at) = fields.take(self.context, key) {
                    self.context.mapped_as(&at, "nothing is needed: a sandbox has one interface");
                }
            }
            fields.leave_unknown(self.context, &format!("networks.{name}."));
        }
    }

    fn aliases_are(&self, at: &At<'n>, name: &str) -> bool {
        matches!(&at.node.value, NodeValue::List(all) if all.iter().all(|alias| {
            matches!(&alias.value, NodeValue::Scalar { text, .. } if text == name)
        }))
    }

    fn mode(&mut self) {
        let Some((at, text)) = self.taken_text("network_mode") else { return };
        match text.value.as_str() {
            "none" => self.context.mapped_as(&at, "`default` is `deny`, without rules"),
            "bridge" => self.context.mapped_as(&at, "the default network"),
            "host" => {
                let reason = "a sandbox has a network of its own: publish its ports with `port`, and reach the host's with the rule `allow \"host\"`";
                self.context.left_out(&at, "network_mode", reason);
            }
            _ => {
                let reason = "a sandbox shares no network with another one: put both programs into one image, or use names and rules";
                self.context.left_out(&at, "network_mode", reason);
            }
        }
    }

    fn links(&mut self) {
        if let Some(at) = self.take("links") {
            self.context.mapped_as(&at, "a dependency; services of a network reach each other without it");
            for at in self.context.elements(&at) {
                let Some(text) = self.context.text(&at) else { continue };
                let (name, alias) = text.value.split_once(':').unwrap_or((&text.value, &text.value));
                self.linked.push(name.to_owned());
                if name != alias {
                    let reason = format!(
                        "a sandbox is found by its own name only: use {} in place of {}",
                        shown(name),
                        shown(alias)
                    );
                    self.context.left_out(&at, "links", reason);
                } else {
                    self.context.mapped(&at);
                }
            }
        }
        if let Some(at) = self.take("external_links") {
            self.context.left_out(
                &at,
                "external_links",
                "sandboxes of other projects are not reached: put both into one project",
            );
        }
    }

    /// Writes the rules for the services that this one shares a network with.
    fn rules(&mut self, network: &mut Network) {
        let empty = BTreeSet::new();
        let own = self.facts.networks.get(self.service).unwrap_or(&empty);
        if self.facts.rules > RULES_MAX {
            return;
        }
        if own.is_empty() {
            network.default = Some("deny");
            return;
        }
        let is_internal = own.iter().all(|name| self.facts.internal.contains(name));
        if self.facts.is_one_network {
            if self.facts.networks.len() > 1 || self.replicas > 1 {
                network.rules.push(("project".to_owned(), None));
            }
        } else {
            // The copies of a service reach each other too.
            let is_other = |name: &&String| name.as_str() != self.service || self.replicas > 1;
            let members = own.iter().filter_map(|network| self.facts.members.get(network)).flatten();
            let peers: BTreeSet<String> = members.filter(is_other).take(RULES_MAX + 1).cloned().collect();
            for peer in peers {
                self.rules_to(&peer, network);
            }
        }
        if is_internal {
            network.default = Some("deny");
            network.rules.push(("any".to_owned(), Some("ingress")));
        }
    }

    /// Writes the rules for another service: one for each of its copies, which have names of their own.
    fn rules_to(&mut self, peer: &str, network: &mut Network) {
        let name = self.facts.names[peer].clone();
        let copies = self.facts.copies.get(peer).copied().unwrap_or(1);
        let targets: Vec<String> = match copies {
            0 | 1 => vec![format!("domain={name}")],
            copies => (1..=copies.min(COPIES_MAX)).map(|number| format!("domain={name}-{number}")).collect(),
        };
        self.facts.rules += targets.len();
        if self.facts.rules <= RULES_MAX {
            network.rules.extend(targets.into_iter().map(|target| (target, None)));
        } else if self.facts.rules - targets.len() <= RULES_MAX {
            let message = format!("the networks of these services need more than {RULES_MAX} rules");
            let help = "put all services into one network, or convert fewer of them";
            self.context.refuse::<()>(Code::TooComplex, self.span, message, help);
        }
    }
}
