//! `file "/etc/app.conf" { from "./app.conf" }`: files that are written into a sandbox at each start.

use super::guest_path;
use super::mount::{check_id, host_path, optional};
use super::path;
use super::read::{Entry, Fields, Takes, entries, integer, single, text, text_of};
use super::repeats::{given_before, same_name};
use super::{PrintScope, Scope, Value};
use crate::FileKind;
use crate::Format;
use crate::check::{Growth, Weight};
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::language::{FILE, schema};
use crate::merge::Keyed;
use crate::print::{Item as PrintItem, Name, Node, Printed, Scalar};
use crate::syntax::{Argument, Item, Span, Spanned};
use crate::variables::interpolate::escape;
use rules::tmpfs_text::parse_mode;
use schemas::spec::limits::{FILE_BYTES_MAX, FILES_BYTES_MAX, FILES_PER_SANDBOX_MAX};
use schemas::spec::{Contents, GuestFile, defaults};
use std::collections::BTreeMap;

/// The highest mode of a file: set-user-id, set-group-id and sticky bits would have no effect.
const MODE_MAX: u32 = 0o777;

/// A file as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawFile {
    path: Spanned<String>,
    source: RawSource,
    mode: Option<Spanned<String>>,
    uid: Option<Spanned<i128>>,
    gid: Option<Spanned<i128>>,
}

/// The source of the contents, as typed.
#[derive(Clone, Debug)]
enum RawSource {
    /// A file of the host.
    From(Spanned<String>),
    /// The contents themselves.
    Content(Spanned<String>),
}

impl RawSource {
    fn text(&self) -> &Spanned<String> {
        match self {
            Self::From(text) | Self::Content(text) => text,
        }
    }
}

impl Weight for RawFile {
    fn weight(&self) -> usize {
        let Self { path, source, mode, uid: _, gid: _ } = self;
        path.weight() + source.text().weight() + mode.weight()
    }
}

impl Keyed for RawFile {
    fn key(&self) -> &str {
        &self.path.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.path.value, self.source.text().span);
    }
}

fn read_one(context: &mut Context<'_>, entry: Entry<'_>) -> Option<RawFile> {
    let fields = Fields::read(context, &FILE, entry.items);
    let mode_help = |context: &Context<'_>| format!("write `{}`", context.sample("mode", &["0600"]));
    let takes = Takes { what: "permissions in octal", bare: true };
    let mode = fields.one("mode").and_then(|item| text(context, item, takes, &mode_help));
    let uid = fields.one("uid").and_then(|item| integer(context, item, "1000"));
    let gid = fields.one("gid").and_then(|item| integer(context, item, "1000"));
    let source = read_source(context, &entry, &fields)?;
    Some(RawFile { path: entry.name, source, mode, uid, gid })
}

/// Reads `from` or `content`; a value directly after the path is `from`.
fn read_source(context: &mut Context<'_>, entry: &Entry<'_>, fields: &Fields<'_>) -> Option<RawSource> {
    let shown = shorten(&entry.name.value);
    let help = |context: &Context<'_>| match context.format {
        Format::Kdl => format!("write `file \"{shown}\" {{ from \"./file\" }}`, or give its `content`"),
        Format::Yaml => format!("write `{shown}: {{ from: ./file }}`, or give its `content`"),
    };
    let direct: Vec<&Argument<'_>> = entry.arguments.iter().filter(|argument| !argument.is_null()).collect();
    if let [_, extra, ..] = direct.as_slice() {
        let message = format!("the file `{shown}` has one source");
        return context.refuse(
            Diagnostic::error(Code::TooManyValues, extra.span, message)
                .label("one too many")
                .help(help(context)),
        );
    }
    let (from, content) = (fields.one("from"), fields.one("content"));
    let places = direct.first().map(|argument| argument.span).into_iter();
    let places: Vec<Span> =
        places.chain([from, content].into_iter().flatten().map(|item| item.name.span)).collect();
    if let [first, second, ..] = places.as_slice() {
        let message = format!("the contents of `{shown}` are given twice");
        return context.refuse(
            Diagnostic::error(Code::Conflict, *second, message)
                .label("given again")
                .also(*first, "first given here")
                .help("keep one of the two"),
        );
    }
    let path = Takes { what: "a path", bare: false };
    match (direct.first(), from, content) {
        (Some(argument), _, _) => text_of(context, argument, "file", path).map(RawSource::From),
        (None, Some(item), _) => text(context, item, path, &help).map(RawSource::From),
        (None, None, Some(item)) => {
            let argument = single(context, item, &help)?;
            let takes = Takes { what: "a text", bare: false };
            text_of(context, argument, "content", takes).map(RawSource::Content)
        }
        (None, None, None) => {
            if ["from", "content"].iter().any(|name| fields.has_misspelling_of(name)) {
                return None;
            }
            let message = format!("the file `{shown}` has no contents");
            context.refuse(
                Diagnostic::error(Code::MissingProperty, entry.name.span, message)
                    .label("neither `from` nor `content`")
                    .help(help(context)),
            )
        }
    }
}

fn check_one(context: &mut Context<'_>, raw: &RawFile) -> Option<(String, GuestFile)> {
    let RawFile { path, source, mode, uid, gid } = raw;
    let shown = path.value.as_str();
    let path = guest_path::check(context, path, "/etc/app.conf");
    let mode = optional(mode.as_ref(), |mode| check_mode(context, mode));
    let uid = optional(uid.as_ref(), |uid| check_id(context, uid, "uid"));
    let gid = optional(gid.as_ref(), |gid| check_id(context, gid, "gid"));
    // Nothing more is read once the budget is spent.
    context.charge(Growth::Files, 0, source.text().span)?;
    let (from, bytes) = match source {
        RawSource::From(from) => {
            read_host_file(context, from, shown).map(|(path, bytes)| (Some(path), bytes))?
        }
        RawSource::Content(text) => (None, text.value.clone().into_bytes()),
    };
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file `{}` is larger than {} KiB", shorten(shown), FILE_BYTES_MAX / 1024);
        return context.refuse(
            Diagnostic::error(Code::TooLarge, source.text().span, message)
                .label("these contents")
                .help("mount it, or put it into the image"),
        );
    }
    context.charge(Growth::Files, bytes.len(), source.text().span)?;
    let mode = mode?.unwrap_or(defaults::FILE_MODE);
    let file = GuestFile {
        from,
        contents: Contents::new(bytes),
        mode,
        uid: uid?.unwrap_or_default(),
        gid: gid?.unwrap_or_default(),
    };
    Some((path?, file))
}

fn check_mode(context: &mut Context<'_>, mode: &Spanned<String>) -> Option<u32> {
    let parsed = parse_mode(&mode.value);
    if let Some(mode) = parsed.filter(|mode| *mode <= MODE_MAX) {
        return Some(mode);
    }
    let label = match parsed {
        Some(_) => "set-user-id, set-group-id and sticky bits have no effect on such a file",
        None => "not permissions in octal",
    };
    let message = format!("`mode` cannot be `{}`", shorten(&mode.value));
    context.refuse(
        Diagnostic::error(Code::OutOfRange, mode.span, message)
            .label(label)
            .help(format!("give 0000 to 0777, as `chmod` takes it: `{}`", context.sample("mode", &["0600"]))),
    )
}

/// Reads a file of the host; returns its absolute path and at most one byte more than a file may have.
fn read_host_file(context: &mut Context<'_>, from: &Spanned<String>, to: &str) -> Option<(String, Vec<u8>)> {
    let shown = shorten(&from.value);
    if !path::is_local(&from.value) {
        let diagnostic = Diagnostic::error(Code::InvalidPath, from.span, format!("`{shown}` is not a path"))
            .label("does not begin with `/`, `./` or `../`");
        return context.refuse(if from.value.is_empty() || from.value.starts_with('~') {
            diagnostic.help("name a file, such as \"./app.conf\"")
        } else {
            diagnostic.help(format!("did you mean \"./{shown}\"?"))
        });
    }
    let (path, kind) = host_path(context, from, "copied")?;
    if kind == FileKind::Directory {
        let mount = match context.format {
            Format::Kdl => format!("mount \"{shown}\" to=\"{}\"", shorten(to)),
            Format::Yaml => format!("mounts: [{{ source: {shown}, to: {} }}]", shorten(to)),
        };
        return context.refuse(
            Diagnostic::error(Code::HostPathNotUsable, from.span, format!("`{shown}` is not a file"))
                .label("a folder")
                .help(format!("name a file in it, or mount the folder: `{mount}`")),
        );
    }
    match context.files.read(&path, FILE_BYTES_MAX) {
        Ok(bytes) => Some((path, bytes)),
        Err(reason) => context.refuse(
            Diagnostic::error(Code::HostPathNotUsable, from.span, format!("`{shown}` cannot be read"))
                .label(shorten(&reason))
                .help(format!("looked for {}", shorten_message(&path))),
        ),
    }
}

/// Checks the number of files.
fn check_count(context: &mut Context<'_>, raw: &[RawFile]) -> Option<()> {
    let Some(file) = raw.get(FILES_PER_SANDBOX_MAX) else { return Some(()) };
    let message = format!("a sandbox has at most {FILES_PER_SANDBOX_MAX} files");
    context.refuse(
        Diagnostic::error(Code::TooManyFiles, file.path.span, message)
            .label("one too many")
            .help("mount a folder that contains several of them, or put them into the image"),
    )
}

/// Checks the size of all files together.
fn check_total(context: &mut Context<'_>, raw: &[RawFile], checked: &BTreeMap<String, GuestFile>) {
    let mut total = 0;
    for file in raw {
        total += checked.get(&file.path.value).map_or(0, |file| file.contents.bytes().len());
        if total > FILES_BYTES_MAX {
            let message =
                format!("the files of a sandbox have at most {} MiB together", FILES_BYTES_MAX >> 20);
            context.push(
                Diagnostic::error(Code::TooLarge, file.path.span, message)
                    .label("the limit is reached here")
                    .help("mount some of them, or put them into the image"),
            );
            return;
        }
    }
}

/// Reports mounts at the path of a file or below it, and files below it.
fn check_overlap(context: &mut Context<'_>, raw: &RawFile, others: &[RawFile], scope: &Scope<'_>) {
    let path = raw.path.value.as_str();
    let shown = shorten(path);
    let is_below = |other: &str| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    let mounts = scope.sandbox.mounts.iter().map(|mount| (&mount.to, "mounted"));
    let files = others.iter().map(|file| (&file.path, "written"));
    for (other, verb) in mounts.chain(files) {
        let message = if other.value == path && verb == "mounted" {
            format!("a file is written to `{shown}`, and something is mounted there")
        } else if is_below(&other.value) {
            format!("`{shown}` is a file, and `{}` is {verb} below it", shorten(&other.value))
        } else {
            continue;
        };
        context.push(
            Diagnostic::error(Code::Conflict, raw.path.span, message)
                .label("this file")
                .also(other.span, format!("{verb} here"))
                .help("choose another path for one of the two"),
        );
    }
}

/// Files by their paths in the sandbox.
pub(crate) struct Files;

impl Value for Files {
    type Raw = Vec<RawFile>;
    type Model = BTreeMap<String, GuestFile>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let found = entries(context, item, "/etc/app.conf");
        found.into_iter().filter_map(|entry| read_one(context, entry)).collect()
    }

    fn check(context: &mut Context<'_>, raw: &[RawFile], scope: &Scope<'_>) -> Option<Self::Model> {
        check_count(context, raw)?;
        let (mut first, mut checked) = (BTreeMap::new(), BTreeMap::new());
        for file in raw {
            if let Some(before) = given_before(&mut first, file.path.value.as_str(), file.path.span) {
                context.push(same_name("files", &file.path, before));
                continue;
            }
            check_overlap(context, file, raw, scope);
            checked.extend(check_one(context, file));
        }
        check_total(context, raw, &checked);
        Some(checked)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::Named(model.iter().map(print_one).collect())
    }

    fn schema() -> serde_json::Value {
        schema::named(
            schema::GUEST_PATH,
            &schema::any_of([schema::host_file(), schema::definition(FILE.definition)]),
        )
    }
}

fn print_one((path, file): (&String, &GuestFile)) -> (Name, Node) {
    let GuestFile { from, contents, mode, uid, gid } = file;
    let source = match from {
        Some(from) => PrintItem::child("from", Node::text(from)),
        // Written as text in a Sandboxfile, where it has variables.
        None => {
            let text = escape(&String::from_utf8_lossy(contents.bytes()));
            PrintItem::child("content", Node::Scalar(Scalar::Script(text)))
        }
    };
    let mut items = vec![source];
    if *mode != defaults::FILE_MODE {
        items.push(PrintItem::child("mode", Node::text(format!("{mode:04o}"))));
    }
    for (id, name) in [(uid, "uid"), (gid, "gid")] {
        if *id != 0 {
            items.push(PrintItem::child(name, Node::number(id)));
        }
    }
    (Name::Key(path.clone()), Node::block(items))
}
