//! `mount "./src" to="/app" readonly=#true`: paths of the host and volumes inside a sandbox.

mod options;

use super::path;
use super::placement::{self, Options, RawPlacement, Words};
use super::read::{Fields, flag, integer, quantity};
use super::resources::check_limit;
use super::script::invalid_name;
use super::word::{check_word, read_word};
use super::{Declared, PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::language::{MOUNT, PropertyTable, schema};
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Spanned};
use crate::{FileKind, Format};
use rules::mount_text::{InvalidMountText, MountText};
use rules::unit::format_size_mib;
use schemas::name::VolumeName;
use schemas::spec::limits::{DISK_DEVICES_MAX, MOUNTS_PER_SANDBOX_MAX, disk_devices};
use schemas::spec::{DiskFormat, HostPerms, ID_MAX, Mount, MountSource, StatVirt, VolumeKind};
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
    size: Option<Spanned<String>>,
    uid: Option<Spanned<i128>>,
    gid: Option<Spanned<i128>>,
    kind: Option<Spanned<String>>,
}

impl Weight for MountOptions {
    fn weight(&self) -> usize {
        let Self {
            readonly: _,
            noexec: _,
            nosuid: _,
            nodev: _,
            stat_virt,
            host_perms,
            size,
            uid: _,
            gid: _,
            kind,
        } = self;
        stat_virt.weight() + host_perms.weight() + size.weight() + kind.weight()
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
        let size = fields.one("size").and_then(|item| quantity(context, item, "512M"));
        let uid = fields.one("uid").and_then(|item| integer(context, item, "1000"));
        let gid = fields.one("gid").and_then(|item| integer(context, item, "1000"));
        let kind = fields.one("kind").and_then(|item| read_word::<VolumeKind>(context, item));
        Self { readonly, noexec, nosuid, nodev, stat_virt, host_perms, size, uid, gid, kind }
    }

    const SHORT: Option<&'static str> = Some("./src:/app");

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
    let parsed = text.value.parse::<MountText>().map_err(invalid).ok()?;
    let MountText {
        source,
        to,
        readonly,
        noexec,
        nosuid,
        nodev,
        stat_virt,
        host_perms,
        size,
        uid,
        gid,
        kind,
    } = parsed;
    let here = |word: &str| Spanned::new(word.to_owned(), text.span);
    let number = |id: u32| Spanned::new(i128::from(id), text.span);
    let stat_virt = stat_virt.map(|word| here(word.as_str()));
    let host_perms = host_perms.map(|word| here(word.as_str()));
    let (size, kind) = (size.map(|size| here(&size)), kind.map(|word| here(word.as_str())));
    let (uid, gid) = (uid.map(number), gid.map(number));
    Some(RawMount {
        source: here(&source),
        to: here(&to),
        options: MountOptions {
            readonly,
            noexec,
            nosuid,
            nodev,
            stat_virt,
            host_perms,
            size,
            uid,
            gid,
            kind,
        },
    })
}

/// The project's volumes.
type Volumes<'a> = BTreeMap<&'a str, Declared>;

/// Checks a mount against the host's files and the project's volumes.
fn check(context: &mut Context<'_>, raw: &RawMount, volumes: &Volumes<'_>) -> Option<Mount> {
    let options = &raw.options;
    let &MountOptions { readonly, noexec, nosuid, nodev, .. } = options;
    let source = check_source(context, &raw.source, volumes);
    let stat_virt = check_word(context, options.stat_virt.as_ref(), "stat-virt");
    let host_perms = check_word(context, options.host_perms.as_ref(), "host-perms");
    let size_mib = optional(options.size.as_ref(), |size| check_limit(context, size, "the limit of a mount"));
    let uid = optional(options.uid.as_ref(), |uid| check_id(context, uid, "uid"));
    let gid = optional(options.gid.as_ref(), |gid| check_id(context, gid, "gid"));
    let kind = optional(options.kind.as_ref(), |kind| check_word(context, Some(kind), "kind"));
    let (source, stat_virt, host_perms, kind) = (source?, stat_virt?, host_perms?, kind?);
    options::check(context, raw, &source, options::Words { stat_virt, kind });
    let (size_mib, uid, gid) = (size_mib?, uid?, gid?);
    let source = match source {
        Source::Host { path, kind: _ } if kind == Some(VolumeKind::Disk) => MountSource::Disk { path },
        Source::Host { path, kind: _ } => MountSource::Host { path },
        Source::Volume { name } => MountSource::Volume { name },
        Source::External { name, volume } => MountSource::External { name, volume },
    };
    Some(Mount { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms, size_mib, uid, gid })
}

/// Checks a value unless it is missing; `None` when it is wrong.
pub(super) fn optional<T, M>(raw: Option<&T>, check: impl FnOnce(&T) -> Option<M>) -> Option<Option<M>> {
    raw.map_or(Some(None), |raw| check(raw).map(Some))
}

/// Checks the id of a user or a group.
pub(super) fn check_id(context: &mut Context<'_>, id: &Spanned<i128>, property: &str) -> Option<u32> {
    if let Some(id) = u32::try_from(id.value).ok().filter(|id| *id <= ID_MAX) {
        return Some(id);
    }
    let message = format!("`{property}` cannot be {}", id.value);
    context.refuse(
        Diagnostic::error(Code::OutOfRange, id.span, message)
            .label("not the id of a user or a group")
            .help(format!("give 0 to {ID_MAX}")),
    )
}

/// Checks the number of mounts.
fn check_count(context: &mut Context<'_>, mounts: &[RawMount]) {
    if let Some(mount) = mounts.get(MOUNTS_PER_SANDBOX_MAX) {
        let message = format!("a sandbox has at most {MOUNTS_PER_SANDBOX_MAX} mounts");
        context.push(
            Diagnostic::error(Code::TooManyMounts, mount.source.span, message)
                .label("one too many")
                .help("mount a folder that contains several of them"),
        );
    }
}

/// Checks the number of disks that must be devices of the virtual machine, as nothing else in a sandbox can read them.
fn check_devices(
    context: &mut Context<'_>,
    raw: &[RawMount],
    mounts: &BTreeMap<String, Mount>,
    volumes: &Volumes<'_>,
) {
    let (mut disks, mut is_shared) = (BTreeSet::new(), false);
    for Mount { source, .. } in mounts.values() {
        let is_disk = match source {
            MountSource::Host { path: _ } => false,
            MountSource::Disk { path: _ } => true,
            MountSource::Volume { name } => {
                matches!(volumes.get(name.as_str()), Some(Declared::Own(VolumeKind::Disk)))
            }
            // Its kind is not known here; the start counts them all.
            MountSource::External { .. } => continue,
        };
        if is_disk {
            disks.insert(source);
        } else {
            is_shared = true;
        }
    }
    let most = disk_devices(disks.len(), is_shared);
    let mut known = BTreeSet::new();
    for RawMount { source, to, options: _ } in raw {
        let Some(MountSource::Disk { path }) = mounts.get(&to.value).map(|mount| &mount.source) else {
            continue;
        };
        if DiskFormat::of_path(path) == DiskFormat::Qcow2 && known.insert(path) && known.len() > most {
            let beside = if most < DISK_DEVICES_MAX { " beside its other mounts" } else { "" };
            let message = format!("a sandbox has at most {most} qcow2 disks{beside}");
            context.push(
                Diagnostic::error(Code::TooManyMounts, source.span, message)
                    .label("one too many")
                    .help("convert it with `qemu-img convert -O raw`: raw disks can be as many as mounts"),
            );
            return;
        }
    }
}

/// The source of a mount, with the kind of a path.
enum Source {
    Host { path: String, kind: FileKind },
    Volume { name: VolumeName },
    External { name: VolumeName, volume: VolumeName },
}

fn check_source(
    context: &mut Context<'_>,
    source: &Spanned<String>,
    volumes: &Volumes<'_>,
) -> Option<Source> {
    let given = source.value.as_str();
    let shown = shorten(given);
    if path::is_local(given) {
        return host_path(context, source, "mounted").map(|(path, kind)| Source::Host { path, kind });
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
    match volumes.get(given) {
        Some(Declared::Own(_)) => return Some(Source::Volume { name }),
        Some(Declared::External(volume)) => {
            return volume.clone().map(|volume| Source::External { name, volume });
        }
        None => {}
    }
    let folder = Spanned::new(format!("./{given}"), source.span);
    let is_there = context.files.kind(&context.absolute(&folder)).is_some();
    let declare = match context.format {
        Format::Kdl => format!("volume \"{shown}\""),
        Format::Yaml => format!("volumes: {{ {shown}: {{}} }}"),
    };
    let help = match context.nearest(given, volumes.keys().copied()) {
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
        check_count(context, raw);
        check_devices(context, raw, &checked, scope.volumes);
        Some(checked)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::List(model.iter().map(print_one).collect())
    }

    fn schema() -> serde_json::Value {
        schema::list(&schema::any_of([schema::definition("Mount"), schema::mount_text()]), 0)
    }
}

/// Returns the path of the host, or the name of the volume in the Sandboxfile.
fn name_of(source: &MountSource) -> String {
    match source {
        MountSource::Host { path } | MountSource::Disk { path } => path.clone(),
        MountSource::Volume { name } | MountSource::External { name, volume: _ } => name.to_string(),
    }
}

fn print_one((to, mount): (&String, &Mount)) -> Node {
    let Mount { source, readonly, noexec, nosuid, nodev, stat_virt, host_perms, size_mib, uid, gid } = mount;
    let mut items = vec![
        PrintItem::argument("source", Scalar::text(name_of(source))),
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
    if matches!(source, MountSource::Disk { path: _ }) {
        items.push(PrintItem::property("kind", Scalar::text(VolumeKind::Disk.as_str())));
    }
    if *host_perms != HostPerms::default() {
        items.push(PrintItem::property("host-perms", Scalar::text(host_perms.as_str())));
    }
    if let Some(mib) = size_mib {
        items.push(PrintItem::property("size", Scalar::Quantity(format_size_mib((*mib).into()))));
    }
    for (id, name) in [(uid, "uid"), (gid, "gid")] {
        if let Some(id) = id {
            items.push(PrintItem::property(name, Scalar::Number(*id)));
        }
    }
    Node::flow(items)
}
