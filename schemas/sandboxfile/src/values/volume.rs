//! `volume "pgdata" size="2G"`: a directory or a disk that outlives the sandboxes that mount it.

use super::read::{Entry, Fields, entries, flag, no_value, quantity};
use super::resources::{check_disk, check_limit};
use super::script::invalid_name;
use super::word::{check_word, read_word};
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::language::VOLUME;
use crate::syntax::{Item, Spanned};
use schemas::name::VolumeName;
use schemas::spec::{VolumeKind, VolumeSpec, defaults};

/// A volume as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawVolume {
    /// Its name.
    pub name: Spanned<String>,
    /// Its kind.
    pub kind: Option<Spanned<String>>,
    /// Its size.
    pub size: Option<Spanned<String>>,
    /// Whether several sandboxes may write to it.
    pub shared: Option<Spanned<bool>>,
}

impl RawVolume {
    /// Returns its kind, which follows from its size unless it is written; an unknown kind, which is reported, counts as
    /// unwritten.
    pub fn kind(&self) -> VolumeKind {
        let written = self.kind.as_ref().and_then(|kind| VolumeKind::from_word(&kind.value));
        written.unwrap_or(if self.size.is_some() { VolumeKind::Disk } else { VolumeKind::Directory })
    }

    /// Returns whether several sandboxes may write to it at the same time.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some_and(|shared| shared.value)
    }

    /// Sets what another layer declares of it.
    pub fn override_with(&mut self, Self { name: _, kind, size, shared }: Self) {
        self.kind = kind.or(self.kind.take());
        self.size = size.or(self.size.take());
        self.shared = shared.or(self.shared.take());
    }
}

/// Reads one volume in KDL, all of them in YAML.
pub(crate) fn read(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawVolume> {
    let found = entries(context, item, "data");
    found.into_iter().map(|entry| read_one(context, entry)).collect()
}

fn read_one(context: &mut Context<'_>, entry: Entry<'_>) -> RawVolume {
    let help = |context: &Context<'_>| format!("write `{}` inside it", context.sample("size", &["2G"]));
    no_value(context, entry.arguments, &"a volume takes properties, not a value", &help);
    let fields = Fields::read(context, &VOLUME, entry.items);
    let kind = fields.one("kind").and_then(|item| read_word::<VolumeKind>(context, item));
    let size = fields.one("size").and_then(|item| quantity(context, item, "2G"));
    let shared = fields.one("shared").and_then(|item| flag(context, item));
    RawVolume { name: entry.name, kind, size, shared }
}

/// Checks name, kind, size and sharing.
pub(crate) fn check(context: &mut Context<'_>, raw: &RawVolume) -> Option<(VolumeName, VolumeSpec)> {
    context.speak_as(raw.name.span);
    let name = VolumeName::new(raw.name.value.as_str())
        .map_err(|reason| context.push(invalid_name(&raw.name, "volume", &reason.to_string())))
        .ok();
    let kind = raw.kind.as_ref().map_or(Some(raw.kind()), |kind| check_word(context, Some(kind), "kind"));
    let size = raw.size.as_ref();
    let spec = match raw.kind() {
        VolumeKind::Disk => {
            let mib = size.map_or(Some(defaults::VOLUME_MIB), |size| check_disk(context, size, "a disk"));
            mib.map(VolumeSpec::disk)
        }
        VolumeKind::Directory => {
            let limit = size.map_or(Some(None), |size| check_limit(context, size, "a directory").map(Some));
            limit.map(|limit| VolumeSpec { shared: raw.is_shared(), ..VolumeSpec::directory(limit) })
        }
    };
    if raw.kind() == VolumeKind::Disk && raw.is_shared() {
        refuse_shared_disk(context, raw);
    }
    kind?;
    Some((name?, spec?))
}

fn refuse_shared_disk(context: &mut Context<'_>, raw: &RawVolume) {
    let Some(shared) = raw.shared else { return };
    let diagnostic = Diagnostic::error(Code::Conflict, shared.span, "a disk cannot be `shared`")
        .label("one sandbox at a time uses a disk")
        .help("declare it with `kind` directory, which can have a `size` too, or remove `shared`");
    let reason = raw.kind.as_ref().or(raw.size.as_ref()).map(|text| text.span);
    context.push(match reason {
        Some(span) => diagnostic.also(span, "this makes it a disk"),
        None => diagnostic,
    });
}
