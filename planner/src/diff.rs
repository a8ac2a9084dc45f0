//! What differs between a recorded spec and the desired one, field by field, and what each field takes.
//!
//! Every struct is taken apart whole, so that a new field stops the build until its kind is decided.
//!
//! | kind | fields |
//! | --- | --- |
//! | none: the record alone changes | `depends-on` (it orders starts, and nothing that runs), another path to the same image |
//! | live | `labels`, `logs`, `restart`, `healthcheck`, `hook`, `port`, `network`, `sync`, a secret's hosts and `on-violation` |
//! | restart | `role`, `cpus`, `memory`, `env`, `workdir`, `user`, `shell`, `script`, `start`, `mount`, where addresses and secrets come from |
//! | replace | `image`, when its contents differ; `disk` |

use rules::rule::Rule;
use rules::unit::{format_duration_ms, format_size_bytes, format_size_mib};
use schemas::report::{ChangeKind, FieldChange};
use schemas::spec::{Definition, HealthCheck, HealthSetting, Logs, Network, PinnedImage, Port, Role, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// The most characters of a script's line in a report.
const LINE_CHARS_MAX: usize = 60;

/// All fields that differ, sorted by name. Empty exactly when the specs are equal.
pub fn fields(old: (&PinnedImage, &Definition), new: (&PinnedImage, &Definition)) -> Vec<FieldChange> {
    let mut changes = Changes { fields: Vec::new() };
    changes.image(old.0, new.0);
    if old.1 != new.1 {
        changes.definition(old.1, new.1);
    }
    changes.fields.sort_by(|a, b| a.field.cmp(&b.field));
    changes.fields
}

/// The strongest kind among some changes; `None` without any.
pub fn strongest(fields: &[FieldChange]) -> Option<ChangeKind> {
    fields.iter().map(|change| change.kind).max()
}

struct Changes {
    fields: Vec<FieldChange>,
}

impl Changes {
    fn push(&mut self, kind: ChangeKind, field: String, old: Option<String>, new: Option<String>) {
        self.fields.push(FieldChange { field, old, new, kind });
    }

    fn value<T: PartialEq>(
        &mut self,
        kind: ChangeKind,
        field: &str,
        (old, new): (T, T),
        text: impl Fn(T) -> String,
    ) {
        if old != new {
            self.push(kind, field.to_owned(), Some(text(old)), Some(text(new)));
        }
    }

    fn option<T: PartialEq>(
        &mut self,
        kind: ChangeKind,
        field: &str,
        (old, new): (Option<T>, Option<T>),
        text: impl Fn(T) -> String,
    ) {
        if old != new {
            self.push(kind, field.to_owned(), old.map(&text), new.map(&text));
        }
    }

    fn map<K: Ord + Display, V: PartialEq>(
        &mut self,
        kind: ChangeKind,
        field: &str,
        (old, new): (&BTreeMap<K, V>, &BTreeMap<K, V>),
        texts: impl Fn(Option<&V>, Option<&V>) -> (Option<String>, Option<String>),
    ) {
        if old == new {
            return;
        }
        for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (old.get(key), new.get(key));
            if before != after {
                let (before, after) = texts(before, after);
                self.push(kind, format!("{field}.{key}"), before, after);
            }
        }
    }

    fn image(&mut self, old: &PinnedImage, new: &PinnedImage) {
        let PinnedImage { reference: old_reference, digest: old_digest } = old;
        let PinnedImage { reference: new_reference, digest: new_digest } = new;
        if old_digest != new_digest {
            let text = |image: &PinnedImage| format!("{} ({})", image.reference, image.digest.short());
            self.push(ChangeKind::Replace, "image".to_owned(), Some(text(old)), Some(text(new)));
        } else {
            self.value(ChangeKind::None, "image", (old_reference, new_reference), ToString::to_string);
        }
    }

    fn definition(&mut self, old: &Definition, new: &Definition) {
        use ChangeKind::{Live, None, Replace, Restart};
        let Definition {
            role,
            cpus,
            memory_mib,
            disk_mib,
            env,
            workdir,
            user,
            shell,
            scripts,
            start,
            mounts,
            sync,
            ports,
            network,
            secrets,
            hooks,
            depends_on,
            healthcheck,
            restart,
            logs,
            labels,
        } = new;
        self.value(Restart, "role", (old.role, *role), role_text);
        self.value(Restart, "cpus", (old.cpus, *cpus), |cpus| cpus.to_string());
        self.value(Restart, "memory", (old.memory_mib, *memory_mib), |mib| format_size_mib(mib.into()));
        self.value(Replace, "disk", (old.disk_mib, *disk_mib), |mib| format_size_mib(mib.into()));
        self.map(Restart, "env", (&old.env, env), |old, new| (old.cloned(), new.cloned()));
        self.option(Restart, "workdir", (old.workdir.as_ref(), workdir.as_ref()), String::clone);
        self.option(Restart, "user", (old.user.as_ref(), user.as_ref()), String::clone);
        self.value(Restart, "shell", (&old.shell, shell), String::clone);
        self.map(Restart, "script", (&old.scripts, scripts), script_texts);
        self.option(Restart, "start", (old.start.as_ref(), start.as_ref()), |argv| command_text(argv));
        self.map(Restart, "mount", (&old.mounts, mounts), texts);
        self.map(Live, "sync", (&old.sync, sync), texts);
        self.ports(&old.ports, ports);
        self.network(&old.network, network);
        self.secrets(&old.secrets, secrets);
        self.map(Live, "hook", (&old.hooks, hooks), |old, new| {
            (old.map(|argv| command_text(argv)), new.map(|argv| command_text(argv)))
        });
        self.map(None, "depends-on", (&old.depends_on, depends_on), texts);
        self.healthcheck(old.healthcheck.as_ref(), healthcheck.as_ref());
        self.value(Live, "restart", (old.restart, *restart), |policy| policy.to_string());
        self.logs(&old.logs, logs);
        self.map(Live, "labels", (&old.labels, labels), |old, new| (old.cloned(), new.cloned()));
    }

    fn ports(&mut self, old: &BTreeSet<Port>, new: &BTreeSet<Port>) {
        for port in old.symmetric_difference(new) {
            let text = |ports: &BTreeSet<Port>| ports.contains(port).then(|| "published".to_owned());
            self.push(ChangeKind::Live, format!("port.{port}"), text(old), text(new));
        }
    }

    fn network(&mut self, old: &Network, new: &Network) {
        let Network { default, rules, ipv4_pool, ipv6_pool } = new;
        self.value(ChangeKind::Live, "network.default", (old.default, *default), |word| word.to_string());
        let text = |rules: &Vec<Rule>| match rules.is_empty() {
            true => "none".to_owned(),
            false => rules.iter().map(Rule::to_string).collect::<Vec<_>>().join(", "),
        };
        self.value(ChangeKind::Live, "network.rules", (&old.rules, rules), text);
        for (field, old, new) in [
            ("network.ipv4-pool", &old.ipv4_pool, ipv4_pool),
            ("network.ipv6-pool", &old.ipv6_pool, ipv6_pool),
        ] {
            self.option(ChangeKind::Restart, field, (old.as_ref(), new.as_ref()), |pool| pool.to_string());
        }
    }

    fn secrets(&mut self, old: &BTreeMap<String, Secret>, new: &BTreeMap<String, Secret>) {
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (Some(before), Some(after)) = (old.get(name), new.get(name)) else {
                let text = |secret: &Secret| format!("from {}", secret.from);
                let (before, after) = (old.get(name).map(text), new.get(name).map(text));
                self.push(ChangeKind::Restart, format!("secret.{name}"), before, after);
                continue;
            };
            let Secret { from, hosts, on_violation } = after;
            let field = |part: &str| format!("secret.{name}.{part}");
            self.value(ChangeKind::Restart, &field("from"), (&before.from, from), ToString::to_string);
            self.value(ChangeKind::Live, &field("hosts"), (&before.hosts, hosts), |hosts| {
                hosts.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            });
            let words = (before.on_violation, *on_violation);
            self.value(ChangeKind::Live, &field("on-violation"), words, |word| word.to_string());
        }
    }

    fn logs(&mut self, old: &Logs, new: &Logs) {
        use ChangeKind::Live;
        let Logs { capture, max_size_bytes, keep } = new;
        self.value(Live, "logs.capture", (old.capture, *capture), |word| word.to_string());
        self.option(Live, "logs.max-size", (old.max_size_bytes, *max_size_bytes), format_size_bytes);
        self.option(Live, "logs.keep", (old.keep, *keep), |keep| keep.to_string());
    }

    fn healthcheck(&mut self, old: Option<&HealthSetting>, new: Option<&HealthSetting>) {
        use ChangeKind::Live;
        let (Some(HealthSetting::Check(old)), Some(HealthSetting::Check(new))) = (old, new) else {
            self.option(Live, "healthcheck", (old, new), |setting| match setting {
                HealthSetting::Check(check) => command_text(&check.exec),
                HealthSetting::Disabled => "disabled".to_owned(),
            });
            return;
        };
        let HealthCheck { exec, interval_ms, timeout_ms, retries, start_period_ms, hint } = new;
        self.value(Live, "healthcheck.exec", (&old.exec, exec), |argv| command_text(argv));
        self.value(Live, "healthcheck.interval", (old.interval_ms, *interval_ms), format_duration_ms);
        self.value(Live, "healthcheck.timeout", (old.timeout_ms, *timeout_ms), format_duration_ms);
        self.value(Live, "healthcheck.retries", (old.retries, *retries), |retries| retries.to_string());
        self.value(
            Live,
            "healthcheck.start-period",
            (old.start_period_ms, *start_period_ms),
            format_duration_ms,
        );
        self.option(Live, "healthcheck.hint", (old.hint.as_ref(), hint.as_ref()), String::clone);
    }
}

fn texts<T: Display>(old: Option<&T>, new: Option<&T>) -> (Option<String>, Option<String>) {
    (old.map(ToString::to_string), new.map(ToString::to_string))
}

fn role_text(role: Role) -> String {
    match role {
        Role::Service => "service",
        Role::Job => "job",
    }
    .to_owned()
}

/// A command as one would type it.
fn command_text(argv: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    let word = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// A script that is new or gone is its length; one that changed is its first line that differs.
fn script_texts(old: Option<&String>, new: Option<&String>) -> (Option<String>, Option<String>) {
    let (Some(old), Some(new)) = (old, new) else {
        let length = |text: &String| match text.lines().count() {
            1 => "1 line".to_owned(),
            lines => format!("{lines} lines"),
        };
        return (old.map(length), new.map(length));
    };
    let (mut old_lines, mut new_lines) = (old.split('\n'), new.split('\n'));
    let mut number = 1;
    loop {
        let (before, after) = (old_lines.next(), new_lines.next());
        if before != after || before.is_none() {
            let text = |line: Option<&str>| {
                Some(line.map_or_else(
                    || format!("line {number} is not there"),
                    |line| format!("line {number}: {}", shorten(line)),
                ))
            };
            return (text(before), text(after));
        }
        number += 1;
    }
}

fn shorten(line: &str) -> String {
    if line.chars().count() <= LINE_CHARS_MAX {
        return line.to_owned();
    }
    line.chars().take(LINE_CHARS_MAX - 1).chain(['…']).collect()
}
