//! Checks that a directory has one writer, unless it is declared as shared.

use super::project::RawProject;
use super::sandbox::{Checked, RawSandbox};
use crate::Format;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::Span;
use crate::values::RawVolume;
use schemas::listing;
use schemas::spec::{MountSource, VolumeKind};
use std::collections::BTreeMap;

/// A sandbox that may write to a volume.
struct Writer<'a> {
    name: &'a str,
    replicas: u32,
    /// The place of its mount.
    mount: Span,
    /// The place of the number of its replicas, if it is written.
    count: Option<Span>,
}

/// Reports directories that several sandboxes may write to and that are not shared. Disks are the planner's matter: one
/// sandbox after another may have them.
pub(crate) fn check_writers(context: &mut Context<'_>, raw: &RawProject, checked: &[Checked]) {
    let is_unshared = |volume: &&RawVolume| {
        let is_own = volume.external_name().is_none();
        is_own && volume.kind() == VolumeKind::Directory && !volume.is_shared()
    };
    let unshared: Vec<&RawVolume> = raw.volumes.iter().filter(is_unshared).collect();
    if unshared.is_empty() {
        return;
    }
    let mut writers: BTreeMap<&str, Vec<Writer<'_>>> = BTreeMap::new();
    for (sandbox, raw) in checked.iter().zip(&raw.sandboxes) {
        for (volume, mount) in written(sandbox, raw) {
            writers.entry(volume).or_default().push(Writer {
                name: sandbox.name.as_str(),
                replicas: sandbox.declaration.replicas,
                mount,
                count: raw.replicas.as_ref().map(|count| count.span),
            });
        }
    }
    for volume in unshared {
        let name = volume.name.value.as_str();
        let Some(writers) = writers.get(name) else { continue };
        let all: u64 = writers.iter().map(|writer| u64::from(writer.replicas)).sum();
        if all > 1 {
            refuse(context, name, writers);
        }
    }
}

/// Returns the volumes that a sandbox may write to, each with the place of one such mount.
fn written<'a>(sandbox: &'a Checked, raw: &RawSandbox) -> BTreeMap<&'a str, Span> {
    let writable = sandbox.definition.mounts.iter().filter(|(_, mount)| !mount.readonly);
    let volumes = writable.filter_map(|(to, mount)| match &mount.source {
        MountSource::Volume { name } => {
            let typed = raw.mounts.iter().find(|typed| typed.to.value == *to);
            Some((name.as_str(), typed.map_or(raw.name.span, |typed| typed.source.span)))
        }
        MountSource::Host { .. } | MountSource::Disk { .. } | MountSource::External { .. } => None,
    });
    volumes.collect()
}

fn refuse(context: &mut Context<'_>, volume: &str, writers: &[Writer<'_>]) {
    let [first, others @ ..] = writers else { return };
    let last = others.last().unwrap_or(first);
    context.speak_as(last.mount);
    let shown = shorten(volume);
    let described = |writer: &Writer<'_>| match writer.replicas {
        1 => writer.name.to_owned(),
        replicas => format!("{} ({replicas} replicas)", writer.name),
    };
    let names = listing::names(writers.iter().map(described));
    let declaration = match context.format {
        Format::Kdl => format!("volume \"{shown}\" shared=#true"),
        Format::Yaml => format!("{shown}: {{ shared: true }}"),
    };
    let message = format!("several sandboxes can write to the volume `{shown}`: {names}");
    let mut diagnostic = Diagnostic::error(Code::VolumeNotShared, last.mount, message)
        .label("it is not declared as shared")
        .help(format!("make all mounts of it but one `readonly`, or declare it as `{declaration}`"));
    if last.mount != first.mount {
        diagnostic = diagnostic.also(first.mount, format!("{} can write to it", first.name));
    }
    if let Some(count) = last.count.filter(|_| last.replicas > 1) {
        diagnostic = diagnostic.also(count, "each replica mounts it");
    }
    context.push(diagnostic);
}
