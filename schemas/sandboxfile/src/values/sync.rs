//! `sync "./src" to="/app" { ignore "target" }`: host folders that `msb up --watch` copies into a sandbox.

use super::mount::host_path;
use super::path;
use super::placement::{self, Options, RawPlacement, Words};
use super::read::{Fields, words};
use super::{PrintScope, Scope, Value};
use crate::FileKind;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{PropertyTable, SYNC, schema};
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Spanned};
use schemas::spec::Sync;
use std::collections::BTreeMap;

/// A copied folder as typed.
pub(crate) type RawSync = RawPlacement<Vec<Spanned<String>>>;

/// The patterns of what is not copied.
impl Options for Vec<Spanned<String>> {
    const WORDS: Words = Words {
        node: "sync",
        source: "a path",
        verb: "copied",
        placed: "copied to",
        too_many: "`sync` copies one folder",
        twice: ("two folders are copied to", "copy one of them elsewhere"),
    };

    const TABLE: &'static PropertyTable = &SYNC;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>) -> Self {
        let help = |context: &Context<'_>| {
            format!("name patterns: `{}`", context.sample_list("ignore", &["target"]))
        };
        fields.one("ignore").and_then(|item| words(context, item, &help)).unwrap_or_default()
    }
}

/// Checks source and patterns.
fn check(context: &mut Context<'_>, raw: &RawSync) -> Option<Sync> {
    let source = check_source(context, &raw.source);
    let ignore = check_ignore(context, &raw.options);
    Some(Sync { source: source?, ignore: ignore? })
}

fn check_source(context: &mut Context<'_>, source: &Spanned<String>) -> Option<String> {
    let shown = shorten(&source.value);
    if !path::is_local(&source.value) {
        let diagnostic =
            Diagnostic::error(Code::InvalidPath, source.span, format!("`{shown}` is not a path"))
                .label("does not begin with `/`, `./` or `../`");
        return context.refuse(if source.value.is_empty() || source.value.starts_with('~') {
            diagnostic.help("name a folder, such as \"./src\"")
        } else {
            diagnostic.help(format!("did you mean \"./{shown}\"?"))
        });
    }
    let (path, kind) = host_path(context, source, "copied")?;
    if kind == FileKind::File {
        return context.refuse(
            Diagnostic::error(Code::HostPathNotUsable, source.span, format!("`{shown}` is not a folder"))
                .label("a file")
                .help("name the folder that it is in; `ignore` leaves the others out"),
        );
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

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        placement::read(context, item)
    }

    fn check(context: &mut Context<'_>, raw: &[RawSync], _scope: &Scope<'_>) -> Option<Self::Model> {
        Some(placement::check(context, raw, check))
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
