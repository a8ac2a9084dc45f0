//! A whole project: as typed, and checked into a [`Model`].

use super::dependencies;
use super::sandbox::{self, Checked, RawSandbox};
use super::volumes::check_writers;
use super::{reach, replicas};
use crate::Input;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::PROJECT;
use crate::syntax::{Item, Span, Spanned};
use crate::values::read::{Fields, Takes, entries, text_like, words};
use crate::values::repeats::{given_before, same_name};
use crate::values::{self, Declared, Published, RawVolume, invalid_name};
use rules::unit::format_size_mib;
use schemas::model::Model;
use schemas::name::{ProjectName, suggest_name};
use schemas::spec::Role;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A Sandboxfile as typed, or several of them merged.
#[derive(Debug, Default)]
pub(crate) struct RawProject {
    /// The project's name.
    pub name: Option<Spanned<String>>,
    /// The files that this one includes and overrides.
    pub includes: Vec<Spanned<String>>,
    /// Volumes.
    pub volumes: Vec<RawVolume>,
    /// Sandboxes and jobs.
    pub sandboxes: Vec<RawSandbox>,
}

/// Reads a whole file as typed.
pub(crate) fn read(context: &mut Context<'_>, items: &[Item<'_>]) -> RawProject {
    let fields = Fields::read(context, &PROJECT, items);
    let takes = Takes { what: "a name", bare: false };
    let name = fields.one("project").and_then(|item| text_like(context, item, takes, "shop"));
    let mut includes = Vec::new();
    for item in fields.all("include") {
        let help = |context: &Context<'_>| {
            format!("name a file: `{}`", context.sample("include", &["../common/Sandboxfile"]))
        };
        includes.extend(words(context, item, &help).unwrap_or_default());
    }
    let mut volumes: Vec<_> =
        fields.all("volume").flat_map(|item| values::read_volumes(context, item)).collect();
    let mut sandboxes = Vec::new();
    for (property, role, example) in [("sandbox", Role::Service, "web"), ("job", Role::Job, "migrate")] {
        for item in fields.all(property) {
            let found = entries(context, item, example);
            sandboxes.extend(found.into_iter().map(|entry| sandbox::read(context, entry, role)));
        }
    }
    // In the order of the file, so that "first" means first for the reader as well.
    volumes.sort_by_key(|volume| volume.name.span.start);
    sandboxes.sort_by_key(|sandbox| sandbox.name.span.start);
    check_duplicate_volumes(context, &volumes);
    check_duplicates(context, &sandboxes);
    RawProject { name, includes, volumes, sandboxes }
}

/// Merges the readings of all files; the lowest layer comes first.
pub(crate) fn merge(context: &mut Context<'_>, layers: Vec<RawProject>) -> RawProject {
    let mut layers = layers.into_iter();
    let mut merged = layers.next().unwrap_or_default();
    for layer in layers {
        let RawProject { name, includes, volumes, sandboxes } = layer;
        merged.name = name.or(merged.name);
        merged.includes.extend(includes);
        let known = indices(merged.volumes.iter().map(|volume| &volume.name));
        for volume in volumes {
            match known.get(&volume.name.value) {
                Some(&index) => {
                    merged.volumes[index].override_with(volume);
                }
                None => merged.volumes.push(volume),
            }
        }
        let known = indices(merged.sandboxes.iter().map(|sandbox| &sandbox.name));
        for sandbox in sandboxes {
            match known.get(&sandbox.name.value) {
                Some(&index) => {
                    let base = &mut merged.sandboxes[index];
                    check_same_role(context, &sandbox, base);
                    base.override_with(sandbox);
                }
                None => merged.sandboxes.push(sandbox),
            }
        }
    }
    merged
}

/// Returns the first index of each name.
fn indices<'a>(names: impl Iterator<Item = &'a Spanned<String>>) -> HashMap<String, usize> {
    let mut indices = HashMap::new();
    for (index, name) in names.enumerate() {
        indices.entry(name.value.clone()).or_insert(index);
    }
    indices
}

/// Checks the whole project; returns `None` after reporting errors.
pub(crate) fn check(context: &mut Context<'_>, raw: &RawProject, input: &Input<'_>) -> Option<Model> {
    let check_name = |name: &Spanned<String>| {
        ProjectName::new(name.value.as_str())
            .map_err(|reason| context.push(invalid_name(name, "project", &reason.to_string())))
            .ok()
    };
    let written = raw.name.as_ref().map(check_name);
    let project = match (input.project.clone(), written, input.default_project.clone()) {
        (Some(chosen), _, _) => Some(chosen),
        (None, Some(written), _) => written,
        (None, None, Some(default)) => Some(default),
        (None, None, None) => {
            let help = format!("add `{}` as the first line, or use -p", context.sample("project", &["shop"]));
            context.refuse(
                Diagnostic::error(Code::NoProjectName, Span::default(), "the project has no name")
                    .label("no name is given here, and the folder's name cannot be one")
                    .help(help),
            )
        }
    };
    if raw.sandboxes.is_empty() && context.is_clean() {
        let example = context
            .format
            .pick("sandbox \"web\" { image \"./image\" }", "sandboxes: { web: { image: ./image } }");
        context.push(
            Diagnostic::error(Code::NoSandboxes, Span::default(), "no sandbox is declared")
                .label("nothing to run in this file")
                .help(format!("add one: `{example}`, or start from `msb init`")),
        );
    }
    let volumes: Vec<_> =
        raw.volumes.iter().filter_map(|volume| values::check_volume(context, volume)).collect();
    let taken: HashSet<&str> = raw.sandboxes.iter().map(|sandbox| sandbox.name.value.as_str()).collect();
    let external: BTreeMap<_, _> =
        raw.volumes.iter().filter_map(|volume| values::check_external(context, volume)).collect();
    let declared: BTreeMap<&str, Declared> =
        raw.volumes.iter().map(|volume| (volume.name.value.as_str(), volume.declared())).collect();
    let dependencies = dependencies::check(context, &raw.sandboxes);
    let checked: Vec<_> = raw
        .sandboxes
        .iter()
        .zip(dependencies)
        .map(|(sandbox, depends_on)| sandbox::check(context, sandbox, depends_on, &taken, &declared))
        .collect();
    let checked: Option<Vec<Checked>> = checked.into_iter().collect();
    let checked = checked?;
    replicas::charge(context, &raw.sandboxes, &checked)?;
    replicas::check_names(context, &raw.sandboxes, &checked);
    reach::check(context, &raw.sandboxes, &checked);
    check_ports(context, &raw.sandboxes, &checked);
    check_writers(context, raw, &checked);
    check_memory(context, &raw.sandboxes, &checked, input.host_memory_mib);
    let project = project.filter(|_| context.is_clean())?;
    let model = Model::new(project, volumes.into_iter().collect(), replicas::expand(checked));
    Some(model.with_external(external))
}

/// Checks the ports of all sandboxes against each other.
fn check_ports(context: &mut Context<'_>, raw: &[RawSandbox], checked: &[Checked]) {
    let published: Vec<Published<'_>> = raw
        .iter()
        .zip(checked)
        .filter(|(_, checked)| !checked.definition.ports.is_empty())
        .map(|(raw, checked)| Published {
            name: checked.name.as_str(),
            ports: &raw.ports,
            replicas: (
                checked.declaration.replicas,
                raw.replicas.as_ref().map_or(raw.name.span, |count| count.span),
            ),
            profiles: &checked.declaration.profiles,
        })
        .collect();
    values::check_across(context, &published);
}

/// Warns when the sandboxes may use more memory together than the host has. This is no error: few guests use all their
/// memory, and not all of them run at the same time.
fn check_memory(context: &mut Context<'_>, raw: &[RawSandbox], checked: &[Checked], host_mib: Option<u64>) {
    let Some(host_mib) = host_mib else { return };
    let need = |checked: &Checked| {
        u64::from(checked.definition.memory_mib) * u64::from(checked.declaration.replicas)
    };
    let always = || raw.iter().zip(checked).filter(|(_, checked)| checked.declaration.profiles.is_empty());
    let sum: u64 = always().map(|(_, checked)| need(checked)).sum();
    let Some((largest, _)) = always().max_by_key(|(_, checked)| need(checked)) else { return };
    if sum > host_mib {
        let place = largest.memory_mib.as_ref().map_or(largest.name.span, |memory| memory.span);
        let (sum, host) = (format_size_mib(sum), format_size_mib(host_mib));
        let message = format!("the sandboxes may use {sum} of memory together, and this host has {host}");
        context.push(
            Diagnostic::warning(Code::TooMuchMemory, place, message)
                .label("the largest part")
                .help("give them less `memory`, or fewer `replicas`"),
        );
    }
}

fn check_same_role(context: &mut Context<'_>, over: &RawSandbox, base: &RawSandbox) {
    if over.role != base.role {
        let name = shorten(&over.name.value);
        let (here, there) = (sandbox::word(over.role), sandbox::word(base.role));
        let message = format!("`{name}` is a {here} here and a {there} in a lower layer");
        context.push(
            Diagnostic::error(Code::Conflict, over.name.span, message)
                .label(format!("a {here}"))
                .also(base.name.span, format!("a {there}"))
                .help("call one of them something else, or make both the same"),
        );
    }
}

fn check_duplicate_volumes(context: &mut Context<'_>, volumes: &[RawVolume]) {
    let mut first = BTreeMap::new();
    for RawVolume { name, .. } in volumes {
        if let Some(before) = given_before(&mut first, &name.value, name.span) {
            context.push(same_name("volumes", name, before));
        }
    }
}

fn check_duplicates(context: &mut Context<'_>, sandboxes: &[RawSandbox]) {
    let taken: HashSet<&str> = sandboxes.iter().map(|sandbox| sandbox.name.value.as_str()).collect();
    let mut first: HashMap<&str, &RawSandbox> = HashMap::new();
    for raw in sandboxes {
        let name = raw.name.value.as_str();
        let Some(before) = first.get(name) else {
            first.insert(name, raw);
            continue;
        };
        let kind = if raw.role == Role::Job { "jobs" } else { "sandboxes" };
        let mut diagnostic = same_name(kind, &raw.name, before.name.span);
        if before.role != raw.role {
            diagnostic.message = format!("a sandbox and a job are both called `{}`", shorten(name));
        }
        let free = format!("{name}-2");
        let is_free = suggest_name(&free).as_ref() == Some(&free) && !taken.contains(free.as_str());
        context.push(match is_free.then_some(free) {
            Some(free) => {
                diagnostic.help(format!("sandboxes and jobs share their names: call one of them `{free}`"))
            }
            None => diagnostic.help("sandboxes and jobs share their names: rename one of the two"),
        });
    }
}
