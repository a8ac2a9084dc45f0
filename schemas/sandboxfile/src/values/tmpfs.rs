//! `tmpfs "/run/cache" size="64M" mode="1777"`: directories in the memory of a sandbox.

use super::mount::{check_id, optional};
use super::read::{
    Element, Fields, Help, MainValue, Takes, elements, flag, integer, quantity, text, text_of,
};
use super::repeats::given_before;
use super::resources::check_limit;
use super::{PrintScope, Reading, Scope, Value, guest_path};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::language::{TMPFS, schema};
use crate::merge::Keyed;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::mount_text::InvalidMountText;
use rules::tmpfs_text::{TmpfsText, parse_mode};
use rules::unit::{format_size_mib, parse_size_bytes};
use schemas::spec::limits::MOUNTS_PER_SANDBOX_MAX;
use schemas::spec::{Tmpfs, defaults};
use std::collections::BTreeMap;

/// A directory in memory as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawTmpfs {
    /// The path in the sandbox.
    to: Spanned<String>,
    options: TmpfsOptions,
}

#[derive(Clone, Debug)]
struct TmpfsOptions {
    readonly: bool,
    noexec: bool,
    nosuid: bool,
    nodev: bool,
    size: Option<Spanned<String>>,
    mode: Option<Spanned<String>>,
    uid: Option<Spanned<i128>>,
    gid: Option<Spanned<i128>>,
}

impl Weight for RawTmpfs {
    fn weight(&self) -> usize {
        let Self { to, options } = self;
        let TmpfsOptions { readonly: _, noexec: _, nosuid: _, nodev: _, size, mode, uid: _, gid: _ } =
            options;
        to.weight() + size.weight() + mode.weight()
    }
}

impl Keyed for RawTmpfs {
    fn key(&self) -> &str {
        &self.to.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.to.value, self.to.span);
    }
}

fn read_one(
    context: &mut Context<'_>,
    item: &Item<'_>,
    element: &Element<'_>,
    help: &dyn Help,
) -> Option<RawTmpfs> {
    let fields = Fields::read(context, &TMPFS, element.items);
    let options = read_options(context, &fields);
    let missing = || {
        Diagnostic::error(Code::MissingProperty, element.span, "a directory in memory has no path")
            .label("the path is missing")
    };
    let too_many = "a directory in memory has one path";
    let main = MainValue { property: "to", missing: &missing, too_many, help, too_many_help: None };
    let (argument, name) = main.find(context, element.arguments, &fields)?;
    let takes = Takes { what: "a path", bare: false };
    let to = text_of(context, argument, name.unwrap_or(&item.name.value), takes)?;
    // As a property, a path can contain a colon.
    if name.is_some() || !to.value.contains(':') {
        return Some(RawTmpfs { to, options });
    }
    if let Some(beside) = element.items.first() {
        let message = format!("`{}` has options of its own", shorten(&to.value));
        return context.refuse(
            Diagnostic::error(Code::Conflict, beside.name.span, message)
                .label("an option beside it")
                .help("write all options after the colon, or all as properties"),
        );
    }
    read_text(context, &to)
}

fn read_options(context: &mut Context<'_>, fields: &Fields<'_>) -> TmpfsOptions {
    let mut is_set = |name: &str| {
        let item = fields.one(name);
        item.and_then(|item| flag(context, item)).is_some_and(|flag| flag.value)
    };
    let (readonly, noexec) = (is_set("readonly"), is_set("noexec"));
    let (nosuid, nodev) = (is_set("nosuid"), is_set("nodev"));
    let size = fields.one("size").and_then(|item| quantity(context, item, "64M"));
    let mode = fields.one("mode").and_then(|item| {
        let help = |context: &Context<'_>| format!("write `{}`", context.sample("mode", &["1777"]));
        text(context, item, Takes { what: "an octal number", bare: true }, &help)
    });
    let uid = fields.one("uid").and_then(|item| integer(context, item, "1000"));
    let gid = fields.one("gid").and_then(|item| integer(context, item, "1000"));
    TmpfsOptions { readonly, noexec, nosuid, nodev, size, mode, uid, gid }
}

/// Reads `/run/cache:size=64M,mode=1777`.
fn read_text(context: &mut Context<'_>, given: &Spanned<String>) -> Option<RawTmpfs> {
    let invalid = |reason: InvalidMountText| {
        let message = shorten_message(&reason.to_string());
        let diagnostic =
            Diagnostic::error(Code::InvalidMount, given.span, message).label("not a directory in memory");
        context.push(match reason.help() {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
    };
    let parsed = given.value.parse::<TmpfsText>().map_err(invalid).ok()?;
    let TmpfsText { to, readonly, noexec, nosuid, nodev, size, mode, uid, gid } = parsed;
    let here = |text: String| Spanned::new(text, given.span);
    let number = |id: u32| Spanned::new(i128::from(id), given.span);
    let mode = mode.map(|mode| here(format!("{mode:o}")));
    let (size, uid, gid) = (size.map(here), uid.map(number), gid.map(number));
    let options = TmpfsOptions { readonly, noexec, nosuid, nodev, size, mode, uid, gid };
    Some(RawTmpfs { to: here(to), options })
}

fn check(context: &mut Context<'_>, options: &TmpfsOptions, memory_mib: u32) -> Option<Tmpfs> {
    let &TmpfsOptions { readonly, noexec, nosuid, nodev, .. } = options;
    let size_mib = optional(options.size.as_ref(), |size| check_size(context, size, memory_mib));
    let mode = options.mode.as_ref().map_or(Some(Tmpfs::MODE), |mode| check_mode(context, mode));
    let uid = optional(options.uid.as_ref(), |uid| check_id(context, uid, "uid"));
    let gid = optional(options.gid.as_ref(), |gid| check_id(context, gid, "gid"));
    Some(Tmpfs { size_mib: size_mib?, mode: mode?, uid: uid?, gid: gid?, readonly, noexec, nosuid, nodev })
}

fn check_size(context: &mut Context<'_>, size: &Spanned<String>, memory_mib: u32) -> Option<u32> {
    let mib = check_limit(context, size, "a directory in memory")?;
    if mib <= memory_mib {
        return Some(mib);
    }
    let memory = format_size_mib(memory_mib.into());
    let message = "a directory in memory cannot be larger than the memory";
    context.refuse(
        Diagnostic::error(Code::OutOfRange, size.span, message)
            .label(format!("the sandbox has {memory}"))
            .help(format!("give at most {memory}, or raise `memory`")),
    )
}

fn check_mode(context: &mut Context<'_>, mode: &Spanned<String>) -> Option<u32> {
    let parsed = parse_mode(&mode.value);
    if parsed.is_none() {
        let message = format!("`{}` is not a mode", shorten(&mode.value));
        context.push(
            Diagnostic::error(Code::InvalidText, mode.span, message)
                .label("not an octal number up to 7777")
                .help("a mode is written like 1777 or 0755"),
        );
    }
    parsed
}

/// Returns the memory of a sandbox in MiB; an invalid one, which is reported, is the default.
fn memory_mib(scope: &Scope<'_>) -> u32 {
    let bytes = scope.sandbox.memory_mib.written().and_then(|memory| parse_size_bytes(&memory.value).ok());
    bytes.map_or(defaults::MEMORY_MIB, |bytes| u32::try_from(bytes >> 20).unwrap_or(u32::MAX))
}

/// Directories in memory by their paths in the sandbox.
pub(crate) struct TmpfsMounts;

impl Value for TmpfsMounts {
    type Raw = Vec<RawTmpfs>;
    type Model = BTreeMap<String, Tmpfs>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = |context: &Context<'_>| match context.format {
            Format::Kdl => "write `tmpfs \"/run/cache\" size=\"64M\"`".to_owned(),
            Format::Yaml => "write `- /run/cache:size=64M` on a line below it".to_owned(),
        };
        let found = elements(context, item, &help);
        found.iter().filter_map(|element| read_one(context, item, element, &help)).collect()
    }

    fn check(context: &mut Context<'_>, raw: &[RawTmpfs], scope: &Scope<'_>) -> Option<Self::Model> {
        if let Some(one) = raw.get(MOUNTS_PER_SANDBOX_MAX) {
            let message = format!("a sandbox has at most {MOUNTS_PER_SANDBOX_MAX} directories in memory");
            return context.refuse(
                Diagnostic::error(Code::TooManyMounts, one.to.span, message)
                    .label("one too many")
                    .help("use a directory that contains several of them"),
            );
        }
        let mut first = BTreeMap::new();
        for mount in scope.sandbox.mounts.written().into_iter().flatten() {
            given_before(&mut first, mount.to.value.as_str(), mount.to.span);
        }
        let memory_mib = memory_mib(scope);
        let mut checked = BTreeMap::new();
        for RawTmpfs { to, options } in raw {
            let path = guest_path::check(context, to, "/run/cache");
            let tmpfs = check(context, options, memory_mib);
            if let Some(before) = given_before(&mut first, to.value.as_str(), to.span) {
                let message = format!("two things are mounted at `{}`", shorten(&to.value));
                context.push(
                    Diagnostic::error(Code::Conflict, to.span, message)
                        .label("the same path again")
                        .also(before, "first given here")
                        .help("keep one of the two, or choose another path"),
                );
                continue;
            }
            if let (Some(path), Some(tmpfs)) = (path, tmpfs) {
                checked.insert(path, tmpfs);
            }
        }
        Some(checked)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::List(model.iter().map(print_one).collect())
    }

    fn schema() -> serde_json::Value {
        let short = schema::tmpfs_text();
        schema::any_of([
            schema::list(&schema::any_of([schema::definition(TMPFS.definition), short.clone()]), 0),
            short,
        ])
    }
}

fn print_one((to, tmpfs): (&String, &Tmpfs)) -> Node {
    let Tmpfs { size_mib, mode, uid, gid, readonly, noexec, nosuid, nodev } = tmpfs;
    let path = Scalar::text(to);
    // After a colon, options are expected.
    let is_plain = !to.contains(':');
    let mut items =
        vec![if is_plain { PrintItem::argument("to", path) } else { PrintItem::property("to", path) }];
    if let Some(mib) = size_mib {
        items.push(PrintItem::property("size", Scalar::Quantity(format_size_mib((*mib).into()))));
    }
    if *mode != Tmpfs::MODE {
        items.push(PrintItem::property("mode", Scalar::text(format!("{mode:o}"))));
    }
    for (id, name) in [(uid, "uid"), (gid, "gid")] {
        if let Some(id) = id {
            items.push(PrintItem::property(name, Scalar::Number(*id)));
        }
    }
    for (is_set, name) in [(readonly, "readonly"), (noexec, "noexec"), (nosuid, "nosuid"), (nodev, "nodev")] {
        if *is_set {
            items.push(PrintItem::property(name, Scalar::Flag(true)));
        }
    }
    Node::flow(items)
}
