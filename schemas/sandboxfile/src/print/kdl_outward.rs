//! What leads out of a sandbox and into it, in KDL: mounts, copied folders, ports, the network, secrets.

use super::kdl::words;
use super::kdl_text::{string, value};
use rules::rule::{Direction, Rule};
use schemas::spec::{HostPerms, Mount, MountSource, Network, Port, Secret, SecretSource, StatVirt, Sync};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn push_mounts(
    line: &mut impl FnMut(String),
    mounts: &BTreeMap<String, Mount>,
    syncs: &BTreeMap<String, Sync>,
) {
    for (to, Mount { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms }) in mounts {
        let source = match source {
            MountSource::Host { path } => path.as_str(),
            MountSource::Volume { name } => name.as_str(),
        };
        let mut text = format!("mount {} to={}", value(source), value(to));
        for (is_set, name) in
            [(readonly, "readonly"), (noexec, "noexec"), (nosuid, "nosuid"), (nodev, "nodev")]
        {
            if *is_set {
                text.push_str(&format!(" {name}=#true"));
            }
        }
        if *stat_virt != StatVirt::default() {
            text.push_str(&format!(" stat-virt={}", string(stat_virt.as_str())));
        }
        if *host_perms != HostPerms::default() {
            text.push_str(&format!(" host-perms={}", string(host_perms.as_str())));
        }
        line(text);
    }
    for (to, Sync { source, ignore }) in syncs {
        let head = format!("sync {} to={}", value(source), value(to));
        if ignore.is_empty() {
            line(head);
            continue;
        }
        line(format!("{head} {{"));
        line(format!("    ignore {}", words(ignore)));
        line("}".to_owned());
    }
}

pub(super) fn push_network(line: &mut impl FnMut(String), ports: &BTreeSet<Port>, network: &Network) {
    for port in ports {
        line(format!("port {}", string(&port.to_string())));
    }
    let Network { default, rules, ipv4_pool, ipv6_pool } = network;
    let mut head = format!("network default={}", string(default.as_str()));
    for (name, pool) in [("ipv4-pool", ipv4_pool), ("ipv6-pool", ipv6_pool)] {
        if let Some(pool) = pool {
            head.push_str(&format!(" {name}={}", string(pool)));
        }
    }
    if rules.is_empty() {
        line(head);
        return;
    }
    line(format!("{head} {{"));
    rules.iter().for_each(|rule| line(format!("    {}", rule_node(rule))));
    line("}".to_owned());
}

fn rule_node(rule: &Rule) -> String {
    let Rule { action, direction, target: _, protocol: _, ports: _ } = rule;
    let direction = match direction {
        Direction::Egress => String::new(),
        direction => format!(" direction={}", string(direction.as_str())),
    };
    format!("{action} {}{direction}", value(&rule.traffic()))
}

pub(super) fn push_secrets(line: &mut impl FnMut(String), secrets: &BTreeMap<String, Secret>) {
    for (name, Secret { from, hosts, on_violation }) in secrets {
        line(format!("secret {} {{", value(name)));
        line(match from {
            SecretSource::Env { name } => format!("    from env={}", value(name)),
            SecretSource::File { path } => format!("    from file={}", value(path)),
            SecretSource::Command { argv } => match argv.split_first() {
                Some((program, rest)) if !rest.is_empty() => {
                    format!("    from command={} {}", value(program), words(rest))
                }
                _ => format!("    from command={}", words(argv)),
            },
        });
        line(format!("    hosts {}", words(hosts)));
        line(format!("    on-violation {}", string(on_violation.as_str())));
        line("}".to_owned());
    }
}
