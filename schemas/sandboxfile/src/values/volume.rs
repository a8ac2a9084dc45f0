//! `volume "pgdata" size="2G"`: a directory or a disk that outlives the sandboxes that mount it, or
//! `volume "pgdata" external=#true`: one that exists already.

use super::read::{Entry, Fields, Takes, entries, flag, no_value, quantity, single, text_of};
use super::resources::{check_disk, check_limit};
use super::script::invalid_name;
use super::word::{check_word, read_word};
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::language::VOLUME;
use crate::syntax::{Item, Scalar, ScalarKind, Span, Spanned, Value};
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
    /// Whether it exists already.
    pub external: Option<Spanned<External>>,
}

/// The value of `external`.
#[derive(Clone, Debug)]
pub(crate) enum External {
    /// The project creates the volume.
    No,
    /// It exists already, under the name of the declaration.
    SameName,
    /// It exists already, under this name.
    Named(String),
}

/// What the mounts of a volume need to know of its declaration.
#[derive(Clone, Debug)]
pub(crate) enum Declared {
    /// A volume of the project, of this kind.
    Own(VolumeKind),
    /// One that exists already, with its full name; `None` for an invalid name, which is reported.
    External(Option<VolumeName>),
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
        self.shared.as_ref().is_some_and(|shared| shared.value)
    }

    /// Returns the full name of a volume that exists already; `None` if the project creates it.
    pub fn external_name(&self) -> Option<&str> {
        match &self.external.as_ref()?.value {
            External::No => None,
            External::SameName => Some(&self.name.value),
            External::Named(name) => Some(name),
        }
    }

    /// Returns what its mounts need to know.
    pub fn declared(&self) -> Declared {
        match self.external_name() {
            Some(name) => Declared::External(VolumeName::new(name).ok()),
            None => Declared::Own(self.kind()),
        }
    }

    /// Sets what another layer declares of it.
    pub fn override_with(&mut self, Self { name: _, kind, size, shared, external }: Self) {
        self.kind = kind.or(self.kind.take());
        self.size = size.or(self.size.take());
        self.shared = shared.or(self.shared.take());
        self.external = external.or(self.external.take());
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
    let external = fields.one("external").and_then(|item| read_external(context, item));
    RawVolume { name: entry.name, kind, size, shared, external }
}

/// Reads true, false, or the full name of another volume.
fn read_external(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<External>> {
    let help = |context: &Context<'_>| {
        let (flag, named) = (context.sample_flag("external"), context.sample("external", &["shop-data"]));
        format!("write `{flag}`, or the full name of the volume: `{named}`")
    };
    let argument = single(context, item, &help)?;
    if let Value::Scalar(Scalar { kind: ScalarKind::Bool(is_external), text: _ }) = &argument.value {
        let external = if *is_external { External::SameName } else { External::No };
        return Some(Spanned::new(external, argument.span));
    }
    let takes = Takes { what: "true or the full name of a volume", bare: false };
    let name = text_of(context, argument, &item.name.value, takes)?;
    Some(Spanned::new(External::Named(name.value), name.span))
}

/// Checks the name, and the full name if the volume exists already; `None` if the project creates it.
pub(crate) fn check_external(context: &mut Context<'_>, raw: &RawVolume) -> Option<(VolumeName, VolumeName)> {
    let full_name = raw.external_name()?;
    let external = raw.external.as_ref()?;
    context.speak_as(raw.name.span);
    let RawVolume { name: _, kind, size, shared, external: _ } = raw;
    let given = [
        ("kind", kind.as_ref().map(|kind| kind.span)),
        ("size", size.as_ref().map(|size| size.span)),
        ("shared", shared.as_ref().map(|shared| shared.span)),
    ];
    for (property, span) in given.into_iter().filter_map(|(property, span)| Some((property, span?))) {
        refuse_beside_external(context, property, span, external.span);
    }
    let name = check_name(context, &raw.name)?;
    // The same text, checked once.
    if full_name == raw.name.value {
        return Some((name.clone(), name));
    }
    let full_name = check_name(context, &Spanned::new(full_name.to_owned(), external.span))?;
    Some((name, full_name))
}

fn refuse_beside_external(context: &mut Context<'_>, property: &str, span: Span, external: Span) {
    let shown = context.spell_name(property);
    let message = format!("`{shown}` has no meaning for an external volume");
    context.push(
        Diagnostic::error(Code::Conflict, span, message)
            .label("set where the volume is created")
            .also(external, "the volume exists already")
            .help("remove it: beside `external` nothing is accepted; `msb volume create` takes the rest"),
    );
}

fn check_name(context: &mut Context<'_>, name: &Spanned<String>) -> Option<VolumeName> {
    VolumeName::new(name.value.as_str())
        .map_err(|reason| context.push(invalid_name(name, "volume", &reason.to_string())))
        .ok()
}

/// Checks name, kind, size and sharing of a volume that the project creates; `None` for all others.
pub(crate) fn check(context: &mut Context<'_>, raw: &RawVolume) -> Option<(VolumeName, VolumeSpec)> {
    if raw.external_name().is_some() {
        return None;
    }
    context.speak_as(raw.name.span);
    let name = check_name(context, &raw.name);
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
    let Some(shared) = &raw.shared else { return };
    let diagnostic = Diagnostic::error(Code::Conflict, shared.span, "a disk cannot be `shared`")
        .label("a disk has one writer")
        .help("declare it with `kind` directory, which can have a `size` too, or remove `shared`");
    let reason = raw.kind.as_ref().or(raw.size.as_ref()).map(|text| text.span);
    context.push(match reason {
        Some(span) => diagnostic.also(span, "this makes it a disk"),
        None => diagnostic,
    });
}
