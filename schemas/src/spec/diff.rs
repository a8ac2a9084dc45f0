//! The fields in which two specs differ, and the effect of each change: none, a change while the sandbox runs, a restart
//! or a new sandbox.
//!
//! The tables of properties name a function of this file for each field and the kind of its change. Other structs are
//! destructured without `..`, so that a new field does not compile before its kind is decided.

use super::{
    Definition, ExtraCa, GuestFile, HealthSetting, Network, PinnedImage, Port, Secret, Tls, UpstreamProxy,
    ValueName,
};
use crate::excerpt::excerpt;
use crate::report::{ChangeKind, FieldChange};
use rules::rule::Rule;
use rules::unit::{format_duration_ms, format_size_bytes, format_size_mib};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// The most characters of a line of a script in a report.
const LINE_CHARS_MAX: usize = 60;

/// Returns all fields that differ, sorted by name; none exactly when the specs are equal.
pub fn changes(old: (&PinnedImage, &Definition), new: (&PinnedImage, &Definition)) -> Vec<FieldChange> {
    let mut changes = Changes { fields: Vec::new() };
    image(&mut changes, old.0, new.0);
    if old.1 != new.1 {
        old.1.differ(new.1, &mut changes);
    }
    changes.fields.sort_by(|a, b| a.field.cmp(&b.field));
    changes.fields
}

/// Returns the strongest kind among some changes; `None` without any.
pub fn strongest(fields: &[FieldChange]) -> Option<ChangeKind> {
    fields.iter().map(|change| change.kind).max()
}

/// Returns the change of a value that is read on the host, while its source is the same. It contains no value.
pub fn changed_value(name: &ValueName) -> FieldChange {
    let field = match name {
        ValueName::ProxyPassword => "network.proxy.password.value".to_owned(),
        ValueName::Secret(name) => format!("secret.{name}.value"),
    };
    let (old, new) = (Some("an earlier value".to_owned()), Some("the value on this host".to_owned()));
    FieldChange { field, old, new, kind: ChangeKind::Live }
}

/// The changes found so far.
pub(super) struct Changes {
    fields: Vec<FieldChange>,
}

/// The path of a field, and the kind of its change.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    path: &'a str,
    pub kind: ChangeKind,
}

impl<'a> Field<'a> {
    pub fn new(path: &'a str, kind: ChangeKind) -> Self {
        Self { path, kind }
    }

    /// Returns the path of a field inside this one.
    pub fn inside(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

/// A value with fields of its own.
pub(super) trait Block {
    /// Adds the fields in which another value differs.
    fn differ(&self, new: &Self, changes: &mut Changes, block: Field<'_>);
}

impl Changes {
    fn push(&mut self, Field { path, kind }: Field<'_>, old: Option<String>, new: Option<String>) {
        self.fields.push(FieldChange { field: path.to_owned(), old, new, kind });
    }

    fn value<T: PartialEq>(&mut self, field: Field<'_>, [old, new]: [T; 2], text: impl Fn(T) -> String) {
        self.optional(field, [Some(old), Some(new)], text);
    }

    fn optional<T: PartialEq>(
        &mut self,
        field: Field<'_>,
        [old, new]: [Option<T>; 2],
        text: impl Fn(T) -> String,
    ) {
        if old != new {
            self.push(field, old.map(&text), new.map(&text));
        }
    }

    fn entries<K: Ord + Display, V: PartialEq>(
        &mut self,
        field: Field<'_>,
        [old, new]: [&BTreeMap<K, V>; 2],
        texts: impl Fn(Option<&V>, Option<&V>) -> (Option<String>, Option<String>),
    ) {
        if old == new {
            return;
        }
        for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (old.get(key), new.get(key));
            if before != after {
                let (before, after) = texts(before, after);
                self.push(Field::new(&format!("{}.{key}", field.path), field.kind), before, after);
            }
        }
    }
}

fn image(changes: &mut Changes, old: &PinnedImage, new: &PinnedImage) {
    let PinnedImage { reference: old_reference, digest: old_digest } = old;
    let PinnedImage { reference: new_reference, digest: new_digest } = new;
    if old_digest != new_digest {
        let text = |image: &PinnedImage| format!("{} ({})", image.reference, image.digest.short());
        changes.push(Field::new("image", ChangeKind::Replace), Some(text(old)), Some(text(new)));
    } else {
        // Another path to the same contents is the same image.
        plain(changes, Field::new("image", ChangeKind::None), old_reference, new_reference);
    }
}

/// Compares two values by their `Display`.
pub(super) fn plain<T: PartialEq + Display>(changes: &mut Changes, field: Field<'_>, old: &T, new: &T) {
    changes.value(field, [old, new], ToString::to_string);
}

/// Compares two sizes in MiB.
pub(super) fn mib(changes: &mut Changes, field: Field<'_>, old: &u32, new: &u32) {
    changes.value(field, [*old, *new], |mib| format_size_mib(mib.into()));
}

/// Compares two sizes in MiB of which either may be absent.
pub(super) fn optional_mib(changes: &mut Changes, field: Field<'_>, old: &Option<u32>, new: &Option<u32>) {
    changes.optional(field, [*old, *new], |mib| format_size_mib(mib.into()));
}

/// Compares two lists, of which an empty one is none.
fn listed<T: PartialEq + Display>(changes: &mut Changes, field: Field<'_>, old: &[T], new: &[T]) {
    let [old, new] = [old, new].map(|list| (!list.is_empty()).then_some(list));
    changes.optional(field, [old, new], joined);
}

/// Compares two lists.
pub(super) fn sequence<T: PartialEq + Display>(
    changes: &mut Changes,
    field: Field<'_>,
    old: &[T],
    new: &[T],
) {
    changes.value(field, [old, new], joined);
}

fn joined<T: Display>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Compares two durations in ms.
pub(super) fn duration(changes: &mut Changes, field: Field<'_>, old: &u64, new: &u64) {
    changes.value(field, [*old, *new], format_duration_ms);
}

/// Compares two limits of time in ms of which either may be absent.
pub(super) fn time_limit(changes: &mut Changes, field: Field<'_>, old: &Option<u64>, new: &Option<u64>) {
    changes.optional(field, [*old, *new], format_duration_ms);
}

/// Compares two sizes in bytes of which either may be absent.
pub(super) fn size(changes: &mut Changes, field: Field<'_>, old: &Option<u64>, new: &Option<u64>) {
    changes.optional(field, [*old, *new], format_size_bytes);
}

/// Compares two blocks, field by field.
pub(super) fn block<T: Block>(changes: &mut Changes, field: Field<'_>, old: &T, new: &T) {
    old.differ(new, changes, field);
}

/// Compares two commands.
pub(super) fn argv(changes: &mut Changes, field: Field<'_>, old: &[String], new: &[String]) {
    changes.value(field, [old, new], command_text);
}

/// Compares two values of which either may be absent.
pub(super) fn option<T: PartialEq + Display>(
    changes: &mut Changes,
    field: Field<'_>,
    old: &Option<T>,
    new: &Option<T>,
) {
    changes.optional(field, [old.as_ref(), new.as_ref()], ToString::to_string);
}

/// Compares two maps, entry by entry.
pub(super) fn map<K: Ord + Display, V: PartialEq + Display>(
    changes: &mut Changes,
    field: Field<'_>,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) {
    let text = |value: Option<&V>| value.map(ToString::to_string);
    changes.entries(field, [old, new], |old, new| (text(old), text(new)));
}

/// Compares two commands of which either may be absent.
pub(super) fn command(
    changes: &mut Changes,
    field: Field<'_>,
    old: &Option<Vec<String>>,
    new: &Option<Vec<String>>,
) {
    changes.optional(field, [old.as_ref(), new.as_ref()], |argv| command_text(argv));
}

/// Compares two maps of commands.
pub(super) fn commands<K: Ord + Display>(
    changes: &mut Changes,
    field: Field<'_>,
    old: &BTreeMap<K, Vec<String>>,
    new: &BTreeMap<K, Vec<String>>,
) {
    let text = |argv: Option<&Vec<String>>| argv.map(|argv| command_text(argv));
    changes.entries(field, [old, new], |old, new| (text(old), text(new)));
}

/// Compares two maps of scripts, each by its first line that differs.
pub(super) fn scripts(
    changes: &mut Changes,
    field: Field<'_>,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) {
    changes.entries(field, [old, new], script_texts);
}

/// Compares two maps of files, each by its digest; the path that equal contents were read from has no effect.
pub(super) fn files(
    changes: &mut Changes,
    field: Field<'_>,
    old: &BTreeMap<String, GuestFile>,
    new: &BTreeMap<String, GuestFile>,
) {
    for path in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let own = format!("{}.{path}", field.path);
        let (before, after) = (old.get(path), new.get(path));
        if let (Some(before), Some(after)) = (before, after) {
            let GuestFile { from, contents, mode, uid, gid } = after;
            let written = (&before.contents, &before.mode, &before.uid, &before.gid);
            if written == (contents, mode, uid, gid) {
                option(changes, Field::new(&format!("{own}.from"), ChangeKind::None), &before.from, from);
                continue;
            }
        }
        let text = |file: Option<&GuestFile>| file.map(ToString::to_string);
        changes.push(Field::new(&own, field.kind), text(before), text(after));
    }
}

/// Compares two sets of ports.
pub(super) fn ports(changes: &mut Changes, field: Field<'_>, old: &BTreeSet<Port>, new: &BTreeSet<Port>) {
    for port in old.symmetric_difference(new) {
        let text = |ports: &BTreeSet<Port>| ports.contains(port).then(|| "published".to_owned());
        changes.push(Field::new(&format!("{}.{port}", field.path), field.kind), text(old), text(new));
    }
}

/// Compares two networks; a change of a pool or of the search domains needs a restart.
pub(super) fn network(changes: &mut Changes, field: Field<'_>, old: &Network, new: &Network) {
    let Network { default, rules, ipv4_pool, ipv6_pool, proxy, dns } = new;
    let path = |name: &str| format!("{}.{name}", field.path);
    plain(changes, Field::new(&path("default"), field.kind), &old.default, default);
    changes.value(Field::new(&path("rules"), field.kind), [&old.rules, rules], |rules| {
        if rules.is_empty() {
            return "none".to_owned();
        }
        rules.iter().map(Rule::to_string).collect::<Vec<_>>().join(", ")
    });
    option(changes, Field::new(&path("ipv4-pool"), ChangeKind::Restart), &old.ipv4_pool, ipv4_pool);
    option(changes, Field::new(&path("ipv6-pool"), ChangeKind::Restart), &old.ipv6_pool, ipv6_pool);
    listed(changes, Field::new(&path("dns.servers"), field.kind), &old.dns.servers, &dns.servers);
    // The guest gets them when it boots.
    listed(changes, Field::new(&path("dns.search"), ChangeKind::Restart), &old.dns.search, &dns.search);
    let (before, after) = (old.proxy.as_ref(), proxy.as_ref());
    let url = |proxy: &UpstreamProxy| proxy.url.to_string();
    changes.optional(Field::new(&path("proxy"), field.kind), [before.map(url), after.map(url)], |url| url);
    let password = |proxy: Option<&UpstreamProxy>| proxy?.password.clone();
    let (before, after) = (password(before), password(after));
    // Values are read at the start; one that is no longer used need not be read.
    let kind = if after.is_some() { ChangeKind::Restart } else { field.kind };
    changes.optional(Field::new(&path("proxy.password"), kind), [before, after], |source| {
        format!("from {source}")
    });
}

/// Compares two maps of secrets; a new secret and a new source need a restart.
pub(super) fn secrets(
    changes: &mut Changes,
    field: Field<'_>,
    old: &BTreeMap<String, Secret>,
    new: &BTreeMap<String, Secret>,
) {
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let path = format!("{}.{name}", field.path);
        let (Some(before), Some(after)) = (old.get(name), new.get(name)) else {
            let text = |secret: &Secret| format!("from {}", secret.from);
            let (before, after) = (old.get(name).map(text), new.get(name).map(text));
            changes.push(Field::new(&path, ChangeKind::Restart), before, after);
            continue;
        };
        let Secret {
            from,
            hosts,
            on_violation,
            placeholder,
            inject,
            headers,
            passthrough_hosts,
            require_tls,
        } = after;
        plain(changes, Field::new(&format!("{path}.from"), ChangeKind::Restart), &before.from, from);
        // The sandbox has it in its environment.
        let restart = ChangeKind::Restart;
        let property = format!("{path}.placeholder");
        option(changes, Field::new(&property, restart), &before.placeholder, placeholder);
        list(changes, Field::new(&format!("{path}.hosts"), field.kind), [&before.hosts, hosts]);
        list(changes, Field::new(&format!("{path}.inject"), field.kind), [&before.inject, inject]);
        list(changes, Field::new(&format!("{path}.headers"), field.kind), [&before.headers, headers]);
        let passthrough = format!("{path}.passthrough-hosts");
        list(changes, Field::new(&passthrough, field.kind), [&before.passthrough_hosts, passthrough_hosts]);
        let property = format!("{path}.on-violation");
        plain(changes, Field::new(&property, field.kind), &before.on_violation, on_violation);
        // Interception begins or ends at the ports of plain HTTP.
        let property = format!("{path}.require-tls");
        plain(changes, Field::new(&property, restart), &before.require_tls, require_tls);
    }
}

/// Compares two settings of the interception of TLS.
pub(super) fn tls(changes: &mut Changes, field: Field<'_>, old: &Tls, new: &Tls) {
    let Tls { intercept, ports, bypass, cas } = new;
    option(changes, Field::new(&field.inside("intercept"), field.kind), &old.intercept, intercept);
    list(changes, Field::new(&field.inside("ports"), field.kind), [&old.ports, ports]);
    list(changes, Field::new(&field.inside("bypass"), field.kind), [&old.bypass, bypass]);
    changes.value(Field::new(&field.inside("ca"), field.kind), [&old.cas, cas], |cas| {
        let text = |ExtraCa { path, hosts }: &ExtraCa| {
            let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            if hosts.is_empty() { path.clone() } else { format!("{path} (for {})", hosts.join(", ")) }
        };
        cas.iter().map(text).collect::<Vec<_>>().join(", ")
    });
}

/// Compares two sets, whose entries are written in one line.
fn list<T: Ord + ToString>(changes: &mut Changes, field: Field<'_>, sets: [&BTreeSet<T>; 2]) {
    changes.value(field, sets, |set| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
}

/// Compares two health checks.
pub(super) fn healthcheck(
    changes: &mut Changes,
    field: Field<'_>,
    old: &Option<HealthSetting>,
    new: &Option<HealthSetting>,
) {
    let (Some(HealthSetting::Check(old)), Some(HealthSetting::Check(new))) = (old, new) else {
        changes.optional(field, [old.as_ref(), new.as_ref()], |setting| match setting {
            HealthSetting::Check(check) => command_text(&check.exec),
            HealthSetting::Disabled => "disabled".to_owned(),
        });
        return;
    };
    old.differ(new, changes, field);
}

/// Returns a command in the syntax of a shell.
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

/// Returns the length of a script that was added or removed, or the first line in which two scripts differ.
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
                    |line| format!("line {number}: {}", excerpt(line, LINE_CHARS_MAX)),
                ))
            };
            return (text(before), text(after));
        }
        number += 1;
    }
}
