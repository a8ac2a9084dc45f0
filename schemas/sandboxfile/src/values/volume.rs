//! `volume "pgdata" size="2G"`: a disk that outlives the sandboxes that mount it.

use super::read::{Entry, Fields, entries, quantity};
use super::resources::check_disk;
use super::script::invalid_name;
use crate::diagnostics::{Code, Context, Diagnostic};
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
    if let Some(argument) = entry.arguments.iter().find(|argument| !argument.is_null()) {
        let help = format!("write `{}` inside it", context.sample("size", &["2G"]));
        context.push(
            Diagnostic::error(Code::WrongType, argument.span, "a volume takes properties, not a value")
                .label(argument.describe())
                .help(help),
        );
    }
    let fields = Fields::read(context, &VOLUME, entry.items);
    let size = fields.one("size").and_then(|item| {
        let help =
            |context: &Context<'_>| format!("write it with its unit: `{}`", context.sample("size", &["2G"]));
        quantity(context, item, &help)
    });
    RawVolume { name: entry.name, size }
}

/// Checks name and size.
pub(crate) fn check(context: &mut Context<'_>, raw: &RawVolume) -> Option<(VolumeName, VolumeSpec)> {
    context.speak_as(raw.name.span);
    let name = match VolumeName::new(raw.name.value.as_str()) {
        Ok(name) => Some(name),
        Err(reason) => {
            context.push(invalid_name(&raw.name, "volume", &reason.to_string()));
            None
        }
    };
    let size = raw.size.as_ref();
    let size_mib = size.map_or(Some(defaults::VOLUME_MIB), |size| check_disk(context, size, "a volume"));
    Some((name?, VolumeSpec { size_mib: size_mib? }))
}
