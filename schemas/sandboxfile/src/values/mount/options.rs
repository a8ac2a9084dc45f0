//! Checks of the options of a mount against its source and against each other.

use super::{MountOptions, RawMount, Source};
use crate::FileKind;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::Span;
use schemas::spec::{HostPerms, StatVirt, VolumeKind};

/// Options that are words.
#[derive(Clone, Copy)]
pub(super) struct Words {
    pub stat_virt: StatVirt,
    pub kind: Option<VolumeKind>,
}

/// Reports options that have no meaning for a source or beside others.
pub(super) fn check(context: &mut Context<'_>, raw: &RawMount, source: &Source, words: Words) {
    match source {
        Source::Volume { name } | Source::External { name, volume: _ } => {
            check_volume(context, raw, name.as_str());
        }
        Source::Host { path: _, kind } => {
            if let Some(wanted) = words.kind
                && !check_kind(context, raw, *kind, wanted)
            {
                return;
            }
            if words.kind == Some(VolumeKind::Disk) {
                check_disk(context, raw);
            } else {
                check_host(context, raw, *kind, words.stat_virt);
            }
        }
    }
}

/// Reports a path that is not of the kind that is written.
fn check_kind(context: &mut Context<'_>, raw: &RawMount, found: FileKind, wanted: VolumeKind) -> bool {
    let (wanted, label, help) = match (wanted, found) {
        (VolumeKind::Disk, FileKind::Directory) => {
            ("disk", "a directory", "name a file with a file system, or remove `kind`")
        }
        (VolumeKind::Directory, FileKind::File) => {
            ("directory", "a file", "remove `kind`, or choose `disk` for a file with a file system")
        }
        (VolumeKind::Disk | VolumeKind::Directory, _) => return true,
    };
    let message = format!("`{}` is not a {wanted}", shorten(&raw.source.value));
    context
        .push(Diagnostic::error(Code::HostPathNotUsable, raw.source.span, message).label(label).help(help));
    false
}

fn check_disk(context: &mut Context<'_>, raw: &RawMount) {
    for (property, span) in given(&raw.options).filter(|(property, _)| *property != "kind") {
        let message = format!("`{}` has no meaning for a disk", context.spell_name(property));
        context.push(
            Diagnostic::error(Code::Conflict, span, message)
                .label("applies to files of the host")
                .help("remove it: the disk's own file system has a size, owners and modes"),
        );
    }
}

/// Returns the options that only some sources have, as far as they are given.
fn given(options: &MountOptions) -> impl Iterator<Item = (&'static str, Span)> {
    let MountOptions {
        readonly: _,
        noexec: _,
        nosuid: _,
        nodev: _,
        stat_virt,
        host_perms,
        size,
        uid,
        gid,
        kind,
    } = options;
    let options = [
        ("stat-virt", stat_virt.as_ref().map(|word| word.span)),
        ("host-perms", host_perms.as_ref().map(|word| word.span)),
        ("size", size.as_ref().map(|size| size.span)),
        ("uid", uid.as_ref().map(|id| id.span)),
        ("gid", gid.as_ref().map(|id| id.span)),
        ("kind", kind.as_ref().map(|word| word.span)),
    ];
    options.into_iter().filter_map(|(name, span)| Some((name, span?)))
}

fn check_volume(context: &mut Context<'_>, raw: &RawMount, name: &str) {
    for (property, span) in given(&raw.options) {
        let shown = context.spell_name(property);
        let (message, label, help) = match property {
            "size" | "kind" => (
                format!("`{shown}` is a property of the volume, not of the mount"),
                "not a property of a mount of it",
                "set it where the volume is declared",
            ),
            _ => (
                format!("`{shown}` has no meaning for a volume"),
                "applies to files of the host",
                "remove it: a volume keeps owners and modes as the sandbox sets them",
            ),
        };
        let diagnostic = Diagnostic::error(Code::Conflict, span, message).label(label).help(help);
        // In the short form both are one text.
        context.push(if span == raw.source.span {
            diagnostic
        } else {
            diagnostic.also(raw.source.span, format!("`{name}` is a volume"))
        });
    }
}

fn check_host(context: &mut Context<'_>, raw: &RawMount, kind: FileKind, stat_virt: StatVirt) {
    let MountOptions { readonly, host_perms, .. } = &raw.options;
    let is_off = stat_virt == StatVirt::Off;
    for (property, span) in given(&raw.options) {
        let (beside, label, help) = match property {
            "size" if *readonly => (
                "for a read-only mount".to_owned(),
                "nothing can be added to it",
                "remove it, or mount it writable",
            ),
            "size" if kind == FileKind::File => (
                "for a single file".to_owned(),
                "limits a directory",
                "remove it, or mount the directory that contains the file",
            ),
            "uid" | "gid" if is_off => (
                format!("where `{}` is `off`", context.spell_name("stat-virt")),
                "the sandbox sees the owners that the files have on the host",
                "remove it, or choose `strict` or `relaxed`",
            ),
            _ => continue,
        };
        let message = format!("`{}` has no meaning {beside}", context.spell_name(property));
        context.push(Diagnostic::error(Code::Conflict, span, message).label(label).help(help));
    }
    if let (true, Some(perms)) = (is_off, host_perms)
        && perms.value == HostPerms::Mirror.as_str()
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
