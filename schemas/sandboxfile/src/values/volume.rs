//! `volume "pgdata" size="2G"`: a disk that outlives the sandboxes that mount it.

use super::read::{Entry, Fields, entries, no_value, quantity};
use super::resources::check_disk;
use super::script::invalid_name;
use crate::diagnostics::Context;
use crate::language::VOLUME;
use crate::syntax::{Item, Spanned};
use schemas::name::VolumeName;
use schemas::spec::{VolumeSpec, defaults};

/// A volume as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawVolume {
    /// Its name.
    pub name: Spanned<String>,
    /// Its size.
    pub size: Option<Spanned<String>>,
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
    let size = fields.one("size").and_then(|item| quantity(context, item, "2G"));
    RawVolume { name: entry.name, size }
}

/// Checks name and size.
pub(crate) fn check(context: &mut Context<'_>, raw: &RawVolume) -> Option<(VolumeName, VolumeSpec)> {
    context.speak_as(raw.name.span);
    let name = VolumeName::new(raw.name.value.as_str())
        .map_err(|reason| context.push(invalid_name(&raw.name, "volume", &reason.to_string())))
        .ok();
    let size = raw.size.as_ref();
    let size_mib = size.map_or(Some(defaults::VOLUME_MIB), |size| check_disk(context, size, "a volume"));
    Some((name?, VolumeSpec { size_mib: size_mib? }))
}
