//! What leads out of a sandbox and into it, in YAML: mounts, copied folders, ports, the network, secrets.

use super::yaml::words;
use super::yaml_text::{string, value};
use schemas::spec::{HostPerms, Mount, MountSource, Network, Port, Secret, SecretSource, StatVirt, Sync};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn push_mounts(
    line: &mut impl FnMut(String),
    mounts: &BTreeMap<String, Mount>,
    syncs: &BTreeMap<String, Sync>,
) {
    if !mounts.is_empty() {
        line("mounts:".to_owned());
    }
    for (to, Mount { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms }) in mounts {
        let source = match source {
            MountSource::Host { path } => path.as_str(),
            MountSource::Volume { name } => name.as_str(),
        };
        let mut text = format!("  - {{ source: {}, to: {}", value(source), value(to));
        for (is_set, name) in
            [(readonly, "readonly"), (noexec, "noexec"), (nosuid, "nosuid"), (nodev, "nodev")]
        {
            if *is_set {
                text.push_str(&format!(", {name}: true"));
            }
        }
        if *stat_virt != StatVirt::default() {
            text.push_str(&format!(", stat_virt: {}", string(stat_virt.as_str())));
        }
        if *host_perms != HostPerms::default() {
            text.push_str(&format!(", host_perms: {}", string(host_perms.as_str())));
        }
        line(text + " }");
    }
    if !syncs.is_empty() {
        line("sync:".to_owned());
    }
    for (to, Sync { source, ignore }) in syncs {
        let ignore = match ignore.is_empty() {
            true => String::new(),
            false => format!(", ignore: {}", words(ignore)),
        };
        line(format!("  - {{ source: {}, to: {}{ignore} }}", value(source), value(to)));
    }
}

pub(super) fn push_network(line: &mut impl FnMut(String), ports: &BTreeSet<Port>, network: &Network) {
    if !ports.is_empty() {
        let quoted: Vec<String> = ports.iter().map(|port| format!("\"{port}\"")).collect();
        line(format!("ports: [{}]", quoted.join(", ")));
    }
    let Network { default, rules, ipv4_pool, ipv6_pool } = network;
    line("network:".to_owned());
    line(format!("  default: {}", string(default.as_str())));
    for (name, pool) in [("ipv4_pool", ipv4_pool), ("ipv6_pool", ipv6_pool)] {
        if let Some(pool) = pool {
            line(format!("  {name}: {}", string(pool)));
        }
    }
    if !rules.is_empty() {
        line("  rules:".to_owned());
    }
    rules.iter().for_each(|rule| line(format!("    - {}", value(&rule.to_string()))));
}

pub(super) fn push_secrets(line: &mut impl FnMut(String), secrets: &BTreeMap<String, Secret>) {
    if !secrets.is_empty() {
        line("secrets:".to_owned());
    }
    for (name, Secret { from, hosts, on_violation }) in secrets {
        line(format!("  {}:", string(name)));
        line(match from {
            SecretSource::Env { name } => format!("    from: {{ env: {} }}", value(name)),
            SecretSource::File { path } => format!("    from: {{ file: {} }}", value(path)),
            SecretSource::Command { argv } => format!("    from: {{ command: {} }}", words(argv)),
        });
        line(format!("    hosts: {}", words(hosts)));
        line(format!("    on_violation: {}", string(on_violation.as_str())));
    }
}
