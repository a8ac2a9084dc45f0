//! Access of a property to the host outside of the sandbox: paths, variables, commands, networks, ports.
//!
//! Each value type implements [`HostAccess`], so that a new one does not compile before its access is decided.

use super::{
    Condition, EnvFile, ExtraCa, GuestFile, HealthSetting, HookEvent, HostPerms, Logs, Mount, MountSource,
    Network, NetworkDefault, Port, Pull, RestartPolicy, Secret, SecretSource, StatVirt, Sync, Tls, Tmpfs,
    UpstreamProxy,
};
use crate::host_access::HostAccessKind;
use crate::name::SandboxName;
use rules::rule::{Action, Group, Target};
use rules::ulimit::Ulimit;
use rules::user::GuestUser;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

/// Receives the kind of an access, its value, and the path inside the property.
pub(crate) type Found<'a> = dyn FnMut(HostAccessKind, String, &str) + 'a;

/// A value that may name something of the host.
pub(super) trait HostAccess {
    /// Calls `found` with each access to the host.
    fn reached(&self, _found: &mut Found<'_>) {}

    /// Replaces every path of the host in the value.
    fn map_host_paths(&mut self, _map: &dyn Fn(&str) -> String) {}
}

macro_rules! none {
    ($($type:ty),+) => { $( impl HostAccess for $type {} )+ };
}

none!(
    bool,
    u32,
    u64,
    IpAddr,
    String,
    Vec<String>,
    Condition,
    GuestUser,
    HealthSetting,
    HookEvent,
    Logs,
    Pull,
    RestartPolicy,
    SandboxName,
    Tmpfs,
    Ulimit
);

impl<T: HostAccess> HostAccess for Option<T> {
    fn reached(&self, found: &mut Found<'_>) {
        if let Some(value) = self {
            value.reached(found);
        }
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        if let Some(value) = self {
            value.map_host_paths(map);
        }
    }
}

impl<K: Ord + Display, T: HostAccess> HostAccess for BTreeMap<K, T> {
    fn reached(&self, found: &mut Found<'_>) {
        for (key, value) in self {
            value.reached(&mut |kind, reached, inside| {
                let path = if inside.is_empty() { key.to_string() } else { format!("{key}.{inside}") };
                found(kind, reached, &path);
            });
        }
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        self.values_mut().for_each(|value| value.map_host_paths(map));
    }
}

impl HostAccess for BTreeSet<Port> {
    fn reached(&self, found: &mut Found<'_>) {
        // Only the host itself can connect to its loopback addresses.
        for port in self.iter().filter(|port| !port.bind.is_loopback()) {
            found(HostAccessKind::Port, port.to_string(), "");
        }
    }
}

impl HostAccess for Mount {
    fn reached(&self, found: &mut Found<'_>) {
        let Self {
            source,
            readonly,
            noexec: _,
            nosuid: _,
            nodev: _,
            stat_virt,
            host_perms,
            size_mib: _,
            uid: _,
            gid: _,
        } = self;
        let path = match source {
            MountSource::Host { path } | MountSource::Disk { path } => path,
            MountSource::Volume { name: _ } => return,
            MountSource::External { name: _, volume } => {
                return found(HostAccessKind::Volume, volume.to_string(), "");
            }
        };
        if *readonly {
            found(HostAccessKind::ReadonlyMount, path.clone(), "");
            return;
        }
        found(HostAccessKind::Mount, path.clone(), "");
        match (stat_virt, host_perms) {
            (StatVirt::Strict, HostPerms::Private) => {}
            (StatVirt::Relaxed | StatVirt::Off, _) | (_, HostPerms::Mirror) => {
                found(HostAccessKind::ModesOfMount, path.clone(), "");
            }
        }
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        match &mut self.source {
            MountSource::Host { path } | MountSource::Disk { path } => *path = map(path),
            MountSource::Volume { .. } | MountSource::External { .. } => {}
        }
    }
}

impl HostAccess for GuestFile {
    fn reached(&self, found: &mut Found<'_>) {
        let Self { from, contents: _, mode: _, uid: _, gid: _ } = self;
        if let Some(path) = from {
            found(HostAccessKind::CopiedFile, path.clone(), "");
        }
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        if let Some(path) = &mut self.from {
            *path = map(path);
        }
    }
}

impl HostAccess for Vec<EnvFile> {
    fn reached(&self, found: &mut Found<'_>) {
        for EnvFile { path, required: _ } in self {
            found(HostAccessKind::CopiedFile, path.clone(), "");
        }
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        for EnvFile { path, required: _ } in self {
            *path = map(path);
        }
    }
}

impl HostAccess for Sync {
    fn reached(&self, found: &mut Found<'_>) {
        let Self { source, ignore: _ } = self;
        found(HostAccessKind::Sync, source.clone(), "");
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        self.source = map(&self.source);
    }
}

impl HostAccess for Secret {
    fn reached(&self, found: &mut Found<'_>) {
        let Self {
            from,
            hosts: _,
            on_violation: _,
            placeholder: _,
            inject: _,
            headers: _,
            passthrough_hosts: _,
            require_tls: _,
        } = self;
        from.reached(&mut |kind, value, _| found(kind, value, "from"));
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        self.from.map_host_paths(map);
    }
}

impl HostAccess for SecretSource {
    fn reached(&self, found: &mut Found<'_>) {
        let (kind, value) = match self {
            Self::Env { name } => (HostAccessKind::SecretVariable, name.clone()),
            Self::File { path } => (HostAccessKind::SecretFile, path.clone()),
            Self::Command { argv } => {
                (HostAccessKind::SecretCommand, serde_json::to_string(argv).expect("plain data serializes"))
            }
            Self::Keyring { service, account } => {
                let account = account.iter().map(|account| format!(" of {account}"));
                (HostAccessKind::SecretKeyring, std::iter::once(service.clone()).chain(account).collect())
            }
        };
        found(kind, value, "");
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        match self {
            Self::File { path } => *path = map(path),
            Self::Env { name: _ } | Self::Command { argv: _ } | Self::Keyring { service: _, account: _ } => {}
        }
    }
}

impl HostAccess for Tls {
    fn reached(&self, found: &mut Found<'_>) {
        let Self { intercept: _, ports: _, bypass: _, cas } = self;
        for ExtraCa { path, hosts: _ } in cas {
            found(HostAccessKind::CaFile, path.clone(), "ca");
        }
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        for ca in &mut self.cas {
            ca.path = map(&ca.path);
        }
    }
}

/// Destinations other than public addresses that the rules allow, the proxy, and name servers.
impl HostAccess for Network {
    fn reached(&self, found: &mut Found<'_>) {
        let Self { default, rules, ipv4_pool: _, ipv6_pool: _, proxy, dns } = self;
        let allows = rules.iter().filter(|rule| rule.action == Action::Allow && rule.direction.leads_out());
        for rule in allows.filter(|rule| !is_public(&rule.target)) {
            found(HostAccessKind::Network, rule.to_string(), "rules");
        }
        match default {
            NetworkDefault::Allow => found(HostAccessKind::Network, "allow by default".to_owned(), "default"),
            NetworkDefault::Public | NetworkDefault::Deny => {}
        }
        for server in dns.servers.iter().filter(|server| !server.is_public()) {
            found(HostAccessKind::NameServer, server.to_string(), "dns");
        }
        if let Some(UpstreamProxy { url, password }) = proxy {
            found(HostAccessKind::Proxy, url.to_string(), "proxy");
            if let Some(password) = password {
                password.reached(&mut |kind, value, _| found(kind, value, "proxy"));
            }
        }
    }

    fn map_host_paths(&mut self, map: &dyn Fn(&str) -> String) {
        if let Some(password) = self.proxy.as_mut().and_then(|proxy| proxy.password.as_mut()) {
            password.map_host_paths(map);
        }
    }
}

/// Returns whether a target contains public addresses and sandboxes of the project only. A name does: answers with other addresses are dropped,
/// unless a rule about addresses allows them.
fn is_public(target: &Target) -> bool {
    match target {
        Target::Domain(_)
        | Target::Suffix(_)
        | Target::Dns
        | Target::Group(Group::Public | Group::Project) => true,
        Target::Network(network) => Group::Public.contains(network),
        Target::Any | Target::Group(_) => false,
    }
}
