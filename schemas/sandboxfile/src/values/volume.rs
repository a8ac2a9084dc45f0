//! `volume "pgdata" size="2G"`: a disk that outlives the sandboxes that mount it.

use super::BlockValue;
use super::block::{block, block_values};
use super::read::{Entry, Fields, entries, no_value, quantity};
use super::resources::{check_disk, disk_schema, print_mib};
use super::script::invalid_name;
use crate::check::Weight;
use crate::diagnostics::Context;
use crate::language::Instead::Say;
use crate::merge::Layer;
use crate::print::{Name, Node, Position};
use crate::syntax::{Item, Span, Spanned};
use schemas::name::VolumeName;
use schemas::spec::{VolumeSpec, defaults};

schemas::volume_properties! { block {
    /// Beside the name of a volume.
    VOLUME {
        what: "a volume",
        definition: "Volume",
        doc: "A disk that outlives the sandboxes that mount it.",
        required: &[],
        foreign: &[
            ("driver", Say("a volume is a disk of its own: remove it")),
            ("driver_opts", Say("a volume is a disk of its own: remove it")),
            ("external", Say("a volume belongs to its project: remove it")),
            ("name", Say("the name in the heading is the volume's name: remove it")),
            ("labels", Say("a volume has no labels: remove it")),
        ],
    }
    more: [],
    /// The properties of a volume as typed.
    RawProperties => VolumeSpec
} }

block_values! {
    /// The size of a volume in MiB.
    VolumeSize: Spanned<String> => u32 {
        read: quantity, check: check_size, print: print_mib, schema: disk_schema,
    }
}

fn check_size(context: &mut Context<'_>, size: &Spanned<String>, _property: &str) -> Option<u32> {
    check_disk(context, size, "a volume")
}

/// A volume as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawVolume {
    /// Its name.
    pub name: Spanned<String>,
    properties: RawProperties,
}

impl Layer for RawVolume {
    fn overlay(self, base: Self) -> Self {
        Self { name: base.name, properties: self.properties.overlay(base.properties) }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        self.properties.origins(found);
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
    RawVolume { properties: RawProperties::read(context, &fields), name: entry.name }
}

/// Checks the name and the properties.
pub(crate) fn check(context: &mut Context<'_>, raw: &RawVolume) -> Option<(VolumeName, VolumeSpec)> {
    context.speak_as(raw.name.span);
    let name = VolumeName::new(raw.name.value.as_str())
        .map_err(|reason| context.push(invalid_name(&raw.name, "volume", &reason.to_string())))
        .ok();
    let spec = raw.properties.check(context);
    Some((name?, spec?))
}

/// Returns a volume as a Sandboxfile declares it.
pub(crate) fn print((name, spec): (&VolumeName, &VolumeSpec)) -> (Name, Node) {
    let mut items = RawProperties::print(spec);
    items.iter_mut().for_each(|item| item.position = Position::Property);
    (Name::Key(name.to_string()), Node::flow(items))
}
