//! `sync "./src" to="/app" { ignore "target" }`: host folders that `msb up --watch` copies into a sandbox.

use super::guest_path;
use super::mount::host_path;
use super::path;
use super::read::{Element, Fields, Takes, elements, text, text_of, words};
use super::{PrintScope, Scope, Value};
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{SYNC, schema};
use crate::merge::Keyed;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Argument, Item, Span, Spanned};
use crate::{FileKind, Format};
use schemas::spec::Sync;
use std::collections::{BTreeMap, HashMap};

/// A folder that is kept in step, as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawSync {
    /// The folder of the host.
    pub source: Spanned<String>,
    /// The path in the sandbox.
    pub to: Spanned<String>,
    ignore: Vec<Spanned<String>>,
}

impl Weight for RawSync {
    fn weight(&self) -> usize {
        let Self { source, to, ignore } = self;
        source.weight() + to.weight() + ignore.weight()
    }
}

impl Keyed for RawSync {
    fn key(&self) -> &str {
        &self.to.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.to.value, self.source.span);
    }
}

/// Reads one of them in KDL, all of them in YAML.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawSync> {
    let help = match context.format {
        Format::Kdl => "write `sync \"./src\" to=\"/app\"`",
        Format::Yaml => "write `- { source: ./src, to: /app }` beneath it",
    };
    let found = elements(context, item, &help);
    found.iter().filter_map(|element| read_one(context, item, element, help)).collect()
}

fn read_one(
    context: &mut Context<'_>,
    item: &Item<'_>,
    element: &Element<'_>,
    help: &str,
) -> Option<RawSync> {
    let takes = Takes { what: "a path", bare: false };
    let fields = Fields::read(context, &SYNC, element.items);
    let ignore = fields.one("ignore").and_then(|item| {
        let help = |context: &Context<'_>| {
            format!("name patterns: `{}`", context.sample_list("ignore", &["target"]))
        };
        words(context, item, &help)
    });
    let direct: Vec<&Argument<'_>> =
        element.arguments.iter().filter(|argument| !argument.is_null()).collect();
    let source = match (direct.as_slice(), fields.one("source")) {
        ([argument], None) => text_of(context, argument, &item.name.value, takes)?,
        ([], Some(source)) => text(context, source, takes, &help)?,
        ([], None) if fields.is_meant("source") => return None,
        ([], None) => {
            context.push(
                Diagnostic::error(Code::MissingProperty, element.span, "nothing is copied")
                    .label("the source is missing")
                    .help(help),
            );
            return None;
        }
        ([_, extra, ..], _) | ([extra], Some(_)) => {
            context.push(
                Diagnostic::error(Code::TooManyValues, extra.span, "`sync` copies one folder")
                    .label("one too many")
                    .help(help),
            );
            return None;
        }
    };
    let Some(to) = fields.one("to") else {
        if !fields.is_meant("to") {
            let message = format!("where is `{}` copied to?", shorten(&source.value));
            context.push(
                Diagnostic::error(Code::MissingProperty, source.span, message)
                    .label("`to` is missing")
                    .help(help),
            );
        }
        return None;
    };
    let to = text(context, to, takes, &help)?;
    Some(RawSync { source, to, ignore: ignore.unwrap_or_default() })
}

/// Checks paths and patterns.
fn check(context: &mut Context<'_>, syncs: &[RawSync]) -> BTreeMap<String, Sync> {
    let mut first: HashMap<&str, Span> = HashMap::new();
    let mut checked = BTreeMap::new();
    for raw in syncs {
        let to = guest_path::check(context, &raw.to, "/app");
        let source = check_source(context, &raw.source);
        let ignore = check_ignore(context, &raw.ignore);
        if let Some(&before) = first.get(raw.to.value.as_str()) {
            let message = format!("two folders are copied to `{}`", shorten(&raw.to.value));
            context.push(
                Diagnostic::error(Code::Conflict, raw.to.span, message)
                    .label("the same path again")
                    .also(before, "first given here")
                    .help("copy one of them elsewhere"),
            );
            continue;
        }
        first.insert(&raw.to.value, raw.to.span);
        if let (Some(to), Some(source), Some(ignore)) = (to, source, ignore) {
            checked.insert(to, Sync { source, ignore });
        }
    }
    checked
}

fn check_source(context: &mut Context<'_>, source: &Spanned<String>) -> Option<String> {
    let shown = shorten(&source.value);
    if !path::is_local(&source.value) {
        let diagnostic =
            Diagnostic::error(Code::InvalidPath, source.span, format!("`{shown}` is not a path"))
                .label("does not begin with `/`, `./` or `../`");
        context.push(match source.value.is_empty() || source.value.starts_with('~') {
            true => diagnostic.help("name a folder, such as \"./src\""),
            false => diagnostic.help(format!("did you mean \"./{shown}\"?")),
        });
        return None;
    }
    let (path, kind) = host_path(context, source, "copied")?;
    if kind == FileKind::File {
        context.push(
            Diagnostic::error(Code::HostPathNotUsable, source.span, format!("`{shown}` is not a folder"))
                .label("a file")
                .help("name the folder that it is in; `ignore` leaves the others out"),
        );
        return None;
    }
    Some(path)
}

fn check_ignore(context: &mut Context<'_>, patterns: &[Spanned<String>]) -> Option<Vec<String>> {
    let mut is_sound = true;
    for pattern in patterns {
        let text = pattern.value.trim();
        let problem = if text.is_empty() {
            "is empty"
        } else if text.contains(['\n', '\r']) {
            "holds a line break"
        } else {
            continue;
        };
        let message = format!("a pattern of `ignore` {problem}");
        context.push(
            Diagnostic::error(Code::InvalidText, pattern.span, message)
                .label("not a pattern")
                .help("a pattern is written as in a .gitignore: \"target\", \"*.tmp\" or \"/build/\""),
        );
        is_sound = false;
    }
    is_sound.then(|| patterns.iter().map(|pattern| pattern.value.clone()).collect())
}

/// Copied folders by their paths in the sandbox.
pub(crate) struct Syncs;

impl Value for Syncs {
    type Raw = Vec<RawSync>;
    type Model = BTreeMap<String, Sync>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.all(property).flat_map(|item| read(context, item)).collect()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        Some(check(context, raw))
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::List(model.iter().map(print_one).collect())
    }

    fn schema() -> serde_json::Value {
        schema::list(&schema::definition("SyncFolder"), 0)
    }
}

fn print_one((to, Sync { source, ignore }): (&String, &Sync)) -> Node {
    let mut items = vec![
        PrintItem::argument("source", Scalar::text(source)),
        PrintItem::property("to", Scalar::text(to)),
    ];
    if !ignore.is_empty() {
        items.push(PrintItem::child("ignore", Node::words(ignore)));
    }
    Node::flow(items)
}
