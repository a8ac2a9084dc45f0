//! `mount "./src" to="/app" readonly=#true`: paths of the host and volumes inside a sandbox.

use super::guest_path;
use super::path;
use super::read::{Element, Fields, Takes, boolean, elements, text, text_of};
use super::script::invalid_name;
use super::word::{check_word, read_word};
use super::{PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{MOUNT, schema};
use crate::merge::Keyed;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Argument, Item, Span, Spanned};
use crate::{FileKind, Format};
use rules::mount_text::MountText;
use schemas::name::VolumeName;
use schemas::spec::limits::VOLUMES_PER_SANDBOX_MAX;
use schemas::spec::{HostPerms, Mount, MountSource, StatVirt};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A mount as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawMount {
    /// What is mounted.
    pub source: Spanned<String>,
    /// Where, in the sandbox.
    pub to: Spanned<String>,
    readonly: bool,
    noexec: bool,
    nosuid: bool,
    nodev: bool,
    stat_virt: Option<Spanned<String>>,
    host_perms: Option<Spanned<String>>,
}

impl Weight for RawMount {
    fn weight(&self) -> usize {
        let Self { source, to, readonly: _, noexec: _, nosuid: _, nodev: _, stat_virt, host_perms } = self;
        source.weight() + to.weight() + stat_virt.weight() + host_perms.weight()
    }
}

impl Keyed for RawMount {
    fn key(&self) -> &str {
        &self.to.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.to.value, self.source.span);
    }
}

/// Reads one mount in KDL, all of them in YAML.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawMount> {
    let help = match context.format {
        Format::Kdl => "write `mount \"./src\" to=\"/app\"`",
        Format::Yaml => "write `- { source: ./src, to: /app }` beneath it",
    };
    let found = elements(context, item, &help);
    found.iter().filter_map(|element| read_one(context, item, element, help)).collect()
}

fn read_one(
    context: &mut Context<'_>,
    item: &Item<'_>,
    element: &Element<'_>,
    help: &str,
) -> Option<RawMount> {
    let takes = Takes { what: "a path or the name of a volume", bare: false };
    let fields = Fields::read(context, &MOUNT, element.items);
    let mut flag = |name: &str| {
        let item = fields.one(name)?;
        let help = |context: &Context<'_>| format!("write `{}`, or omit it", context.sample_flag(name));
        boolean(context, item, &help)
    };
    let (readonly, noexec) = (flag("readonly"), flag("noexec"));
    let (nosuid, nodev) = (flag("nosuid"), flag("nodev"));
    let stat_virt = fields.one("stat-virt").and_then(|item| read_word::<StatVirt>(context, item));
    let host_perms = fields.one("host-perms").and_then(|item| read_word::<HostPerms>(context, item));
    let direct: Vec<&Argument<'_>> =
        element.arguments.iter().filter(|argument| !argument.is_null()).collect();
    let source = match (direct.as_slice(), fields.one("source")) {
        ([argument], None) => text_of(context, argument, &item.name.value, takes)?,
        ([], Some(source)) => text(context, source, takes, &help)?,
        ([], None) if fields.is_meant("source") => return None,
        ([], None) => {
            context.push(
                Diagnostic::error(Code::MissingProperty, element.span, "nothing is mounted")
                    .label("the source is missing")
                    .help(help),
            );
            return None;
        }
        ([_, extra, ..], _) | ([extra], Some(_)) => {
            context.push(
                Diagnostic::error(Code::TooManyValues, extra.span, "a mount has one source")
                    .label("one too many")
                    .help(help),
            );
            return None;
        }
    };
    let is_set = |flag: Option<Spanned<bool>>| flag.is_some_and(|flag| flag.value);
    let to = match fields.one("to") {
        Some(to) => text(context, to, Takes { what: "a path", bare: false }, &help)?,
        None if fields.is_meant("to") => return None,
        None if element.items.is_empty() && source.value.contains(':') => {
            return read_short(context, &source);
        }
        None => {
            let message = format!("where is `{}` mounted?", shorten(&source.value));
            context.push(
                Diagnostic::error(Code::MissingProperty, source.span, message)
                    .label("`to` is missing")
                    .help(help),
            );
            return None;
        }
    };
    Some(RawMount {
        source,
        to,
        readonly: is_set(readonly),
        noexec: is_set(noexec),
        nosuid: is_set(nosuid),
        nodev: is_set(nodev),
        stat_virt,
        host_perms,
    })
}

/// `./src:/app:ro`.
fn read_short(context: &mut Context<'_>, text: &Spanned<String>) -> Option<RawMount> {
    let MountText { source, to, readonly, noexec, nosuid, nodev, stat_virt, host_perms } =
        match text.value.parse::<MountText>() {
            Ok(mount) => mount,
            Err(reason) => {
                let diagnostic =
                    Diagnostic::error(Code::InvalidMount, text.span, shorten_message(&reason.to_string()))
                        .label("not a mount");
                context.push(match reason.help() {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                });
                return None;
            }
        };
    let here = |word: &str| Spanned::new(word.to_owned(), text.span);
    Some(RawMount {
        source: Spanned::new(source, text.span),
        to: Spanned::new(to, text.span),
        readonly,
        noexec,
        nosuid,
        nodev,
        stat_virt: stat_virt.map(|one| here(one.as_str())),
        host_perms: host_perms.map(|one| here(one.as_str())),
    })
}

/// A message of a parser with a part of the file in it.
pub(super) fn shorten_message(message: &str) -> String {
    const SHOWN_MAX: usize = 160;
    let shown: String = message
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if schemas::terminal::steers(c) { '\u{FFFD}' } else { c })
        .collect();
    if message.chars().count() > SHOWN_MAX { format!("{shown}…") } else { shown }
}

/// Checks all mounts of a sandbox against the host's files and the project's volumes.
fn check(
    context: &mut Context<'_>,
    mounts: &[RawMount],
    volumes: &BTreeSet<&str>,
) -> BTreeMap<String, Mount> {
    let mut checked = BTreeMap::new();
    let mut first: HashMap<&str, Span> = HashMap::new();
    for raw in mounts {
        let to = guest_path::check(context, &raw.to, "/app");
        let source = check_source(context, &raw.source, volumes);
        let stat_virt = check_word(context, raw.stat_virt.as_ref(), "stat-virt");
        let host_perms = check_word(context, raw.host_perms.as_ref(), "host-perms");
        if let Some(&before) = first.get(raw.to.value.as_str()) {
            let message = format!("two things are mounted at `{}`", shorten(&raw.to.value));
            context.push(
                Diagnostic::error(Code::Conflict, raw.to.span, message)
                    .label("the same path again")
                    .also(before, "first given here")
                    .help("keep one of the two, or mount one of them elsewhere"),
            );
            continue;
        }
        first.insert(&raw.to.value, raw.to.span);
        let (Some(to), Some(source), Some(stat_virt), Some(host_perms)) = (to, source, stat_virt, host_perms)
        else {
            continue;
        };
        check_options(context, raw, &source, stat_virt);
        let &RawMount { readonly, noexec, nosuid, nodev, .. } = raw;
        checked.insert(to, Mount { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms });
    }
    check_count(context, mounts, volumes);
    checked
}

/// Each volume is a disk of the virtual machine, however often it is mounted, and there are places for a few.
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
    if given.starts_with('~') {
        let message = format!("`{shown}` is neither a path nor the name of a volume");
        context.push(
            Diagnostic::error(Code::InvalidPath, source.span, message)
                .label("only a shell knows what `~` is")
                .help(format!("write it as \"${{HOME}}{}\"", shorten(given.trim_start_matches('~')))),
        );
        return None;
    }
    let name = match VolumeName::new(given) {
        Ok(name) => name,
        Err(reason) if given.contains('/') || given.contains('.') => {
            let message = format!("`{shown}` is neither a path nor the name of a volume");
            context.push(
                Diagnostic::error(Code::InvalidPath, source.span, message)
                    .label(reason.to_string())
                    .help(format!("a path begins with `/`, `./` or `../`: did you mean \"./{shown}\"?")),
            );
            return None;
        }
        Err(reason) => {
            context.push(invalid_name(source, "volume", &reason.to_string()));
            return None;
        }
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
    context.push(
        Diagnostic::error(Code::UnknownVolume, source.span, format!("there is no volume `{shown}`"))
            .label("not declared in this project")
            .help(help),
    );
    None
}

/// A path of the host that has to be there. `what` is done with it, for messages: `mounted`.
pub(super) fn host_path(
    context: &mut Context<'_>,
    source: &Spanned<String>,
    what: &str,
) -> Option<(String, FileKind)> {
    let absolute = context.absolute(source);
    let shown = shorten(&source.value);
    match context.files.kind(&absolute) {
        Some(kind @ (FileKind::Directory | FileKind::File)) => return Some((absolute, kind)),
        Some(FileKind::Other) => context.push(
            Diagnostic::error(Code::HostPathNotUsable, source.span, format!("`{shown}` cannot be {what}"))
                .label("a socket, a pipe or a device")
                .help("name a file or a folder"),
        ),
        None => context.push(
            Diagnostic::error(
                Code::HostPathNotFound,
                source.span,
                format!("there is no `{shown}` that could be {what}"),
            )
            .label("no such file or directory")
            .help(format!("looked for {}", shorten_message(&absolute))),
        ),
    }
    None
}

/// Options that mean nothing beside others.
fn check_options(context: &mut Context<'_>, raw: &RawMount, source: &MountSource, stat_virt: StatVirt) {
    let options = [("stat-virt", &raw.stat_virt), ("host-perms", &raw.host_perms)];
    if let MountSource::Volume { name } = source {
        for (property, given) in options {
            let Some(given) = given else { continue };
            let property = context.spell_name(property);
            context.push(
                Diagnostic::error(
                    Code::Conflict,
                    given.span,
                    format!("`{property}` has no meaning for a volume"),
                )
                .label("speaks of the host's files")
                .also(raw.source.span, format!("`{name}` is a disk of its own"))
                .help("remove it: a volume keeps owners and modes as the sandbox sets them"),
            );
        }
    }
    if let (StatVirt::Off, Some(perms)) = (stat_virt, &raw.host_perms)
        && perms.value == HostPerms::Mirror.as_str()
        && matches!(source, MountSource::Host { .. })
    {
        let (perms_name, stat_name) = (context.spell_name("host-perms"), context.spell_name("stat-virt"));
        context.push(
            Diagnostic::warning(
                Code::NoEffect,
                perms.span,
                format!("`{perms_name}` changes nothing where `{stat_name}` is `off`"),
            )
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

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.all(property).flat_map(|item| read(context, item)).collect()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, scope: &Scope<'_>) -> Option<Self::Model> {
        Some(check(context, raw, scope.volumes))
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
