//! `mount "./src" to="/app" readonly=#true`: paths of the host and volumes inside a sandbox.

use super::path;
use super::placement::{self, Options, RawPlacement, Words};
use super::read::{Fields, flag};
use super::script::invalid_name;
use super::word::{check_word, read_word};
use super::{PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::language::{MOUNT, PropertyTable, schema};
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Spanned};
use crate::{FileKind, Format};
use rules::mount_text::{InvalidMountText, MountText};
use schemas::name::VolumeName;
use schemas::spec::limits::VOLUMES_PER_SANDBOX_MAX;
use schemas::spec::{HostPerms, Mount, MountSource, StatVirt};
use std::collections::{BTreeMap, BTreeSet};

/// A mount as typed.
pub(crate) type RawMount = RawPlacement<MountOptions>;

/// The options of a mount as typed.
#[derive(Clone, Debug)]
pub(crate) struct MountOptions {
    readonly: bool,
    noexec: bool,
    nosuid: bool,
    nodev: bool,
    stat_virt: Option<Spanned<String>>,
    host_perms: Option<Spanned<String>>,
}

impl Weight for MountOptions {
    fn weight(&self) -> usize {
        let Self { readonly: _, noexec: _, nosuid: _, nodev: _, stat_virt, host_perms } = self;
        stat_virt.weight() + host_perms.weight()
    }
}

impl Options for MountOptions {
    const WORDS: Words = Words {
        node: "mount",
        source: "a path or the name of a volume",
        verb: "mounted",
        placed: "mounted",
        too_many: "a mount has one source",
        twice: ("two things are mounted at", "keep one of the two, or mount one of them elsewhere"),
    };

    const TABLE: &'static PropertyTable = &MOUNT;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>) -> Self {
        let mut is_set = |name: &str| {
            let item = fields.one(name);
            item.and_then(|item| flag(context, item)).is_some_and(|flag| flag.value)
        };
        let (readonly, noexec) = (is_set("readonly"), is_set("noexec"));
        let (nosuid, nodev) = (is_set("nosuid"), is_set("nodev"));
        let stat_virt = fields.one("stat-virt").and_then(|item| read_word::<StatVirt>(context, item));
        let host_perms = fields.one("host-perms").and_then(|item| read_word::<HostPerms>(context, item));
        Self { readonly, noexec, nosuid, nodev, stat_virt, host_perms }
    }

    /// Reads `./src:/app:ro`.
    fn read_short(context: &mut Context<'_>, text: &Spanned<String>) -> Option<Option<RawMount>> {
        text.value.contains(':').then(|| read_text(context, text))
    }
}

fn read_text(context: &mut Context<'_>, text: &Spanned<String>) -> Option<RawMount> {
    let invalid = |reason: InvalidMountText| {
        let message = shorten_message(&reason.to_string());
        let diagnostic = Diagnostic::error(Code::InvalidMount, text.span, message).label("not a mount");
        context.push(match reason.help() {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
    };
    let MountText { source, to, readonly, noexec, nosuid, nodev, stat_virt, host_perms } =
        text.value.parse::<MountText>().map_err(invalid).ok()?;
    let here = |word: &str| Spanned::new(word.to_owned(), text.span);
    let stat_virt = stat_virt.map(|word| here(word.as_str()));
    let host_perms = host_perms.map(|word| here(word.as_str()));
    Some(RawMount {
        source: here(&source),
        to: here(&to),
        options: MountOptions { readonly, noexec, nosuid, nodev, stat_virt, host_perms },
    })
}

/// Checks a mount against the host's files and the project's volumes.
fn check(context: &mut Context<'_>, raw: &RawMount, volumes: &BTreeSet<&str>) -> Option<Mount> {
    let &MountOptions { readonly, noexec, nosuid, nodev, ref stat_virt, ref host_perms } = &raw.options;
    let source = check_source(context, &raw.source, volumes);
    let stat_virt = check_word(context, stat_virt.as_ref(), "stat-virt");
    let host_perms = check_word(context, host_perms.as_ref(), "host-perms");
    let (source, stat_virt, host_perms) = (source?, stat_virt?, host_perms?);
    check_options(context, raw, &source, stat_virt);
    Some(Mount { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms })
}

/// Checks the number of volumes: each is one disk of the virtual machine, however often it is mounted.
fn check_count(context: &mut Context<'_>, mounts: &[RawMount], volumes: &BTreeSet<&str>) {
    let mut known: Vec<&Spanned<String>> = Vec::new();
    for RawMount { source, .. } in mounts {
        let is_new = !known.iter().any(|one| one.value == source.value);
        if !volumes.contains(source.value.as_str()) || !is_new {
            continue;
        }
        if known.len() == VOLUMES_PER_SANDBOX_MAX {
            let message = format!("a sandbox has at most {VOLUMES_PER_SANDBOX_MAX} volumes");
            let diagnostic = Diagnostic::error(Code::TooManyVolumes, source.span, message)
                .label(format!("`{}` is one too many", shorten(&source.value)))
                .help("keep more than one thing in a volume, each in a folder of its own");
            let others = known.iter().zip(1..);
            context.push(others.fold(diagnostic, |diagnostic, (one, number)| {
                diagnostic.also(one.span, format!("volume {number}"))
            }));
            return;
        }
        known.push(source);
    }
}

fn check_source(
    context: &mut Context<'_>,
    source: &Spanned<String>,
    volumes: &BTreeSet<&str>,
) -> Option<MountSource> {
    let given = source.value.as_str();
    let shown = shorten(given);
    if path::is_local(given) {
        return host_path(context, source, "mounted").map(|(path, _)| MountSource::Host { path });
    }
    let neither = |label: &str, help: String| {
        let message = format!("`{shown}` is neither a path nor the name of a volume");
        Diagnostic::error(Code::InvalidPath, source.span, message).label(label).help(help)
    };
    if let Some(rest) = given.strip_prefix('~') {
        let help = format!("write it as \"${{HOME}}{}\"", shorten(rest.trim_start_matches('~')));
        return context.refuse(neither("only a shell knows what `~` is", help));
    }
    let name = match VolumeName::new(given) {
        Ok(name) => name,
        Err(reason) if given.contains(['/', '.']) => {
            let help = format!("a path begins with `/`, `./` or `../`: did you mean \"./{shown}\"?");
            return context.refuse(neither(&reason.to_string(), help));
        }
        Err(reason) => return context.refuse(invalid_name(source, "volume", &reason.to_string())),
    };
    if volumes.contains(given) {
        return Some(MountSource::Volume { name });
    }
    let folder = Spanned::new(format!("./{given}"), source.span);
    let is_there = context.files.kind(&context.absolute(&folder)).is_some();
    let declare = match context.format {
        Format::Kdl => format!("volume \"{shown}\" size=\"2G\""),
        Format::Yaml => format!("volumes: {{ {shown}: {{ size: 2G }} }}"),
    };
    let help = match context.nearest(given, volumes.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if is_there => format!("for the folder of this name, write \"./{shown}\""),
        None => format!("declare it at the top of the file: `{declare}`"),
    };
    context.refuse(
        Diagnostic::error(Code::UnknownVolume, source.span, format!("there is no volume `{shown}`"))
            .label("not declared in this project")
            .help(help),
    )
}

/// Checks that a path of the host exists. `what` is done with it, for messages: `mounted`.
pub(super) fn host_path(
    context: &mut Context<'_>,
    source: &Spanned<String>,
    what: &str,
) -> Option<(String, FileKind)> {
    let absolute = context.absolute(source);
    let shown = shorten(&source.value);
    let (code, message, label, help) = match context.files.kind(&absolute) {
        Some(kind @ (FileKind::Directory | FileKind::File)) => return Some((absolute, kind)),
        Some(FileKind::Other) => {
            let message = format!("`{shown}` cannot be {what}");
            let help = "name a file or a folder".to_owned();
            (Code::HostPathNotUsable, message, "a socket, a pipe or a device", help)
        }
        None => {
            let message = format!("there is no `{shown}` that could be {what}");
            let help = format!("looked for {}", shorten_message(&absolute));
            (Code::HostPathNotFound, message, "no such file or directory", help)
        }
    };
    context.refuse(Diagnostic::error(code, source.span, message).label(label).help(help))
}

/// Reports options that have no effect beside others.
fn check_options(context: &mut Context<'_>, raw: &RawMount, source: &MountSource, stat_virt: StatVirt) {
    let MountOptions { stat_virt: raw_stat_virt, host_perms, .. } = &raw.options;
    let options = [("stat-virt", raw_stat_virt), ("host-perms", host_perms)];
    if let MountSource::Volume { name } = source {
        for (property, given) in options {
            let Some(given) = given else { continue };
            let property = context.spell_name(property);
            let message = format!("`{property}` has no meaning for a volume");
            context.push(
                Diagnostic::error(Code::Conflict, given.span, message)
                    .label("applies to files of the host")
                    .also(raw.source.span, format!("`{name}` is a disk of its own"))
                    .help("remove it: a volume keeps owners and modes as the sandbox sets them"),
            );
        }
    }
    if let (StatVirt::Off, Some(perms)) = (stat_virt, host_perms)
        && perms.value == HostPerms::Mirror.as_str()
        && matches!(source, MountSource::Host { .. })
    {
        let (perms_name, stat_name) = (context.spell_name("host-perms"), context.spell_name("stat-virt"));
        let message = format!("`{perms_name}` changes nothing where `{stat_name}` is `off`");
        context.push(
            Diagnostic::warning(Code::NoEffect, perms.span, message)
                .label("the host's own modes are used already")
                .help("remove it"),
        );
    }
}

/// Mounts by their paths in the sandbox.
pub(crate) struct Mounts;

impl Value for Mounts {
    type Raw = Vec<RawMount>;
    type Model = BTreeMap<String, Mount>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        placement::read(context, item)
    }

    fn check(context: &mut Context<'_>, raw: &[RawMount], scope: &Scope<'_>) -> Option<Self::Model> {
        let checked = placement::check(context, raw, |context, mount| check(context, mount, scope.volumes));
        check_count(context, raw, scope.volumes);
        Some(checked)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::List(model.iter().map(print_one).collect())
    }

    fn schema() -> serde_json::Value {
        schema::list(&schema::any_of([schema::definition("Mount"), schema::mount_text()]), 0)
    }
}

fn print_one((to, mount): (&String, &Mount)) -> Node {
    let Mount { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms } = mount;
    let mut items = vec![
        PrintItem::argument("source", Scalar::text(source.to_string())),
        PrintItem::property("to", Scalar::text(to)),
    ];
    for (is_set, name) in [(readonly, "readonly"), (noexec, "noexec"), (nosuid, "nosuid"), (nodev, "nodev")] {
        if *is_set {
            items.push(PrintItem::property(name, Scalar::Flag(true)));
        }
    }
    if *stat_virt != StatVirt::default() {
        items.push(PrintItem::property("stat-virt", Scalar::text(stat_virt.as_str())));
    }
    if *host_perms != HostPerms::default() {
        items.push(PrintItem::property("host-perms", Scalar::text(host_perms.as_str())));
    }
    Node::flow(items)
}
