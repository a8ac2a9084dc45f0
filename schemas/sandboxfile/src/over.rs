//! How two readings of the same thing come together: scalars replace, maps merge by key, lists replace.

use super::budget::{ENTRY_BYTES, Weight};
use super::sandbox::{RawSandbox, Written};
use super::section::depends_on::RawDependency;
use super::section::env::RawPairs;
use super::section::logs::RawLogs;
use super::section::mount::RawMount;
use super::section::network::RawNetwork;
use super::section::script::RawScript;
use super::section::secret::RawSecret;
use super::section::sync::RawSync;
use super::span::{Span, Spanned};
use std::collections::{HashMap, HashSet};

/// From the first word to the last one.
pub(crate) fn words_span(words: &[Spanned<String>]) -> Option<Span> {
    Some(words.first()?.span.join(words.last()?.span))
}

/// A list laid over another one: it replaces it, when anything is written.
pub(crate) fn list<T>(over: Vec<T>, base: Vec<T>) -> Vec<T> {
    if over.is_empty() { base } else { over }
}

/// A map laid over another one: what both have is as the upper one says.
pub(crate) fn map<T>(over: Vec<T>, base: Vec<T>, key: impl Fn(&T) -> &str) -> Vec<T> {
    if over.is_empty() || base.is_empty() {
        return list(over, base);
    }
    let replaced: HashSet<&str> = over.iter().map(&key).collect();
    let mut all: Vec<T> = base.into_iter().filter(|entry| !replaced.contains(key(entry))).collect();
    all.extend(over);
    all
}

fn pairs(over: RawPairs, base: RawPairs) -> RawPairs {
    map(over, base, |(key, _)| &key.value)
}

fn scripts(over: Vec<RawScript>, base: Vec<RawScript>) -> Vec<RawScript> {
    map(over, base, |script| &script.name.value)
}

fn dependencies(over: Vec<RawDependency>, base: Vec<RawDependency>) -> Vec<RawDependency> {
    map(over, base, |dependency| &dependency.on.value)
}

/// What is mounted is told apart by where it is mounted.
fn mounts(over: Vec<RawMount>, base: Vec<RawMount>) -> Vec<RawMount> {
    map(over, base, |mount| &mount.to.value)
}

fn syncs(over: Vec<RawSync>, base: Vec<RawSync>) -> Vec<RawSync> {
    map(over, base, |sync| &sync.to.value)
}

fn network(over: Option<RawNetwork>, base: Option<RawNetwork>) -> Option<RawNetwork> {
    match (over, base) {
        (Some(over), Some(base)) => Some(over.over(base)),
        (over, base) => over.or(base),
    }
}

fn logs_over(over: Option<RawLogs>, base: Option<RawLogs>) -> Option<RawLogs> {
    match (over, base) {
        (Some(over), Some(base)) => Some(over.over(base)),
        (over, base) => over.or(base),
    }
}

/// Secrets of the same name come together by their properties.
fn secrets(over: Vec<RawSecret>, base: Vec<RawSecret>) -> Vec<RawSecret> {
    let mut indices: HashMap<String, usize> = HashMap::new();
    for (index, secret) in over.iter().enumerate() {
        indices.entry(secret.name.value.clone()).or_insert(index);
    }
    let mut over: Vec<Option<RawSecret>> = over.into_iter().map(Some).collect();
    let mut all = Vec::new();
    for secret in base {
        // A name that the base has twice was reported; the first one counts.
        match indices.remove(&secret.name.value) {
            Some(index) => over[index] = over[index].take().map(|own| own.over(secret)),
            None => all.push(secret),
        }
    }
    all.extend(over.into_iter().flatten());
    all
}

impl<T> Written<T> {
    /// This, or the other one where nothing is written.
    pub(crate) fn or(self, base: Self) -> Self {
        if matches!(self, Self::Absent) { base } else { self }
    }
}

impl RawSandbox {
    /// This reading laid over another one of the same sandbox.
    pub fn over(self, base: Self) -> Self {
        let Self {
            name,
            role,
            depends_on,
            healthcheck,
            like,
            image,
            cpus,
            memory,
            disk,
            env,
            workdir,
            user,
            shell,
            scripts: base_scripts,
            mounts: base_mounts,
            syncs: base_syncs,
            ports,
            network: base_network,
            secrets: base_secrets,
            hooks: base_hooks,
            start,
            restart,
            logs,
            labels,
            profiles,
            replicas,
        } = base;
        Self {
            name,
            role,
            depends_on: dependencies(self.depends_on, depends_on),
            healthcheck: match (self.healthcheck, healthcheck) {
                (Some(over), Some(base)) => Some(over.over(base)),
                (over, base) => over.or(base),
            },
            like: self.like.or(like),
            image: self.image.or(image),
            cpus: self.cpus.or(cpus),
            memory: self.memory.or(memory),
            disk: self.disk.or(disk),
            env: pairs(self.env, env),
            workdir: self.workdir.or(workdir),
            user: self.user.or(user),
            shell: self.shell.or(shell),
            scripts: scripts(self.scripts, base_scripts),
            mounts: mounts(self.mounts, base_mounts),
            syncs: syncs(self.syncs, base_syncs),
            ports: list(self.ports, ports),
            network: network(self.network, base_network),
            secrets: secrets(self.secrets, base_secrets),
            hooks: map(self.hooks, base_hooks, |hook| &hook.event.value),
            start: self.start.or(start),
            restart: self.restart.or(restart),
            logs: logs_over(self.logs, logs),
            labels: pairs(self.labels, labels),
            profiles: self.profiles.or(profiles),
            replicas: self.replicas.or(replicas),
        }
    }

    /// Takes over what makes a sandbox's environment, and nothing of its place in the project.
    pub fn take_over(&mut self, base: &Self) {
        let Self {
            name: _,
            role: _,
            depends_on: _,
            healthcheck: _,
            like: _,
            image,
            cpus,
            memory,
            disk,
            env,
            workdir,
            user,
            shell,
            scripts: base_scripts,
            mounts: base_mounts,
            syncs: base_syncs,
            ports: _,
            network: base_network,
            secrets: base_secrets,
            hooks: _,
            start: _,
            restart: _,
            logs,
            labels: _,
            profiles: _,
            replicas: _,
        } = base;
        if matches!(self.image, Written::Absent) {
            self.image = image.clone();
        }
        let scalar = |own: &mut Option<Spanned<String>>, base: &Option<Spanned<String>>| {
            if own.is_none() {
                own.clone_from(base);
            }
        };
        if self.cpus.is_none() {
            self.cpus.clone_from(cpus);
        }
        scalar(&mut self.memory, memory);
        scalar(&mut self.disk, disk);
        scalar(&mut self.workdir, workdir);
        scalar(&mut self.user, user);
        scalar(&mut self.shell, shell);
        self.env = pairs(std::mem::take(&mut self.env), env.clone());
        self.scripts = scripts(std::mem::take(&mut self.scripts), base_scripts.clone());
        self.mounts = mounts(std::mem::take(&mut self.mounts), base_mounts.clone());
        self.syncs = syncs(std::mem::take(&mut self.syncs), base_syncs.clone());
        self.network = network(self.network.take(), base_network.clone());
        self.logs = logs_over(self.logs.take(), logs.clone());
        self.secrets = secrets(std::mem::take(&mut self.secrets), base_secrets.clone());
    }

    /// The cost of a copy of what [`Self::take_over`] takes over, in bytes of the budget.
    pub fn lent_weight(&self) -> usize {
        let scalars = [&self.memory, &self.disk, &self.workdir, &self.user, &self.shell];
        let scalars: usize = scalars.into_iter().map(Weight::weight).sum();
        let blocks = self.network.weight() + self.logs.weight() + self.secrets.weight();
        let lists = self.env.weight() + self.scripts.weight() + self.mounts.weight() + self.syncs.weight();
        ENTRY_BYTES + self.image.weight() + self.cpus.weight() + scalars + blocks + lists
    }

    /// The cost of a copy of the whole sandbox, in bytes of the budget.
    pub fn weight(&self) -> usize {
        let Self {
            name,
            role: _,
            depends_on,
            healthcheck,
            like,
            image: _,
            cpus: _,
            memory: _,
            disk: _,
            env: _,
            workdir: _,
            user: _,
            shell: _,
            scripts: _,
            mounts: _,
            syncs: _,
            ports,
            network: _,
            secrets: _,
            hooks,
            start,
            restart,
            logs: _,
            labels,
            profiles,
            replicas: _,
        } = self;
        let own = name.weight() + depends_on.weight() + healthcheck.weight() + like.weight();
        let rest = ports.weight() + hooks.weight() + start.weight() + restart.weight();
        self.lent_weight() + own + rest + labels.weight() + profiles.weight()
    }

    /// Asks no more for what another sandbox was to lend, when that failed.
    pub fn forgive(&mut self) {
        if matches!(self.image, Written::Absent) {
            self.image = Written::Broken;
        }
    }

    /// Every value that is written, by its path inside the sandbox, and where; and whether `like` takes it over.
    pub fn places(&self) -> Vec<(String, Span, bool)> {
        let Self {
            name: _,
            role: _,
            depends_on,
            healthcheck,
            like,
            image,
            cpus,
            memory,
            disk,
            env,
            workdir,
            user,
            shell,
            scripts,
            mounts,
            syncs,
            ports,
            network,
            secrets,
            hooks,
            start,
            restart,
            logs,
            labels,
            profiles,
            replicas,
        } = self;
        let mut places = Vec::new();
        let mut place = |path: String, span: Option<Span>, like: bool| {
            places.extend(span.map(|span| (path, span, like)));
        };
        let written = |text: &Option<Spanned<String>>| text.as_ref().map(|text| text.span);
        let image = if let Written::Read(image) = image { Some(image.span) } else { None };
        let start = if let Written::Read(words) = start { words_span(words) } else { None };
        place("image".to_owned(), image, true);
        place("cpus".to_owned(), cpus.as_ref().map(|cpus| cpus.span), true);
        place("memory".to_owned(), written(memory), true);
        place("disk".to_owned(), written(disk), true);
        place("workdir".to_owned(), written(workdir), true);
        place("user".to_owned(), written(user), true);
        place("shell".to_owned(), written(shell), true);
        for (key, value) in env {
            place(format!("env.{}", key.value), Some(value.span), true);
        }
        for script in scripts {
            place(format!("script.{}", script.name.value), Some(script.body.span), true);
        }
        for mount in mounts {
            place(format!("mount.{}", mount.to.value), Some(mount.source.span), true);
        }
        for sync in syncs {
            place(format!("sync.{}", sync.to.value), Some(sync.source.span), true);
        }
        if let Some(RawNetwork { default, ipv4_pool, ipv6_pool, rules }) = network {
            place("network.default".to_owned(), written(default), true);
            place("network.ipv4-pool".to_owned(), written(ipv4_pool), true);
            place("network.ipv6-pool".to_owned(), written(ipv6_pool), true);
            let ends = rules.first().zip(rules.last());
            let span = ends.map(|(first, last)| first.text.span.join(last.text.span));
            place("network.rules".to_owned(), span, true);
        }
        for secret in secrets {
            for (name, span) in secret.places() {
                place(format!("secret.{}.{name}", secret.name.value), Some(span), true);
            }
        }
        for (name, span) in logs.iter().flat_map(RawLogs::places) {
            place(format!("logs.{name}"), Some(span), true);
        }
        place("port".to_owned(), words_span(ports), false);
        for hook in hooks {
            place(format!("hook.{}", hook.event.value), Some(hook.span()), false);
        }
        place("like".to_owned(), written(like), false);
        place("start".to_owned(), start, false);
        place("restart".to_owned(), restart.as_ref().map(|restart| restart.policy.span), false);
        place("replicas".to_owned(), replicas.as_ref().map(|replicas| replicas.span), false);
        place("profiles".to_owned(), profiles.as_ref().and_then(|words| words_span(words)), false);
        for (key, value) in labels {
            place(format!("labels.{}", key.value), Some(value.span), false);
        }
        for dependency in depends_on {
            let span = dependency.condition.as_ref().map_or(dependency.on.span, |condition| condition.span);
            place(format!("depends-on.{}", dependency.on.value), Some(span), false);
        }
        for (name, span) in healthcheck.iter().flat_map(|check| check.places()) {
            place(format!("healthcheck.{name}"), Some(span), false);
        }
        places
    }
}
