//! `script "serve" "…"`: programs in text form on the PATH of a sandbox.

use super::read::{Entry, Fields, MainValue, Takes, entries, flag, raw_text_of};
use super::repeats::{given_before, same_name};
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{SCRIPT, schema};
use crate::merge::Keyed;
use crate::print::{Item as PrintItem, Name, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use schemas::name::{SandboxName, suggest_name};
use schemas::spec::defaults;
use schemas::spec::limits::SCRIPT_BYTES_MAX;
use std::collections::BTreeMap;

/// A script as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawScript {
    /// Its name.
    pub name: Spanned<String>,
    /// Its text.
    pub body: Spanned<String>,
    /// Whether the text is the whole script, first line included.
    pub raw: bool,
}

impl Weight for RawScript {
    fn weight(&self) -> usize {
        let Self { name, body, raw: _ } = self;
        name.weight() + body.weight()
    }
}

impl Keyed for RawScript {
    fn key(&self) -> &str {
        &self.name.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.name.value, self.body.span);
    }
}

fn read_one(context: &mut Context<'_>, entry: Entry<'_>) -> Option<RawScript> {
    let name = || shorten(&entry.name.value);
    let help = |context: &Context<'_>| match context.format {
        Format::Kdl => format!("write `script \"{}\" \"echo hello\"`", name()),
        Format::Yaml => format!("write `{}: echo hello`", name()),
    };
    let fields = Fields::read(context, &SCRIPT, entry.items);
    let raw = fields.one("raw").and_then(|item| flag(context, item));
    let missing = || {
        Diagnostic::error(Code::EmptyScript, entry.name.span, format!("the script `{}` has no body", name()))
            .label("no body follows")
    };
    let body = MainValue {
        property: "body",
        missing: &missing,
        too_many: &format!("the script `{}` takes one body", name()),
        help: &help,
        too_many_help: Some(
            &"several lines make one text: put them between two lines of `\"\"\"` in KDL, after `|` in YAML",
        ),
    };
    let (body, _) = body.find(context, entry.arguments, &fields)?;
    // The dollar signs in a script are the shell's.
    let body = raw_text_of(context, body, "script", Takes { what: "a text", bare: false })?;
    Some(RawScript { name: entry.name, body, raw: raw.is_some_and(|raw| raw.value) })
}

/// Returns the contents of the file of a script.
fn whole_text(script: &RawScript, shell: &str) -> String {
    if script.raw {
        return script.body.value.clone();
    }
    let body = &script.body.value;
    let end = if body.ends_with('\n') { "" } else { "\n" };
    format!("{}{body}{end}", first_line(shell))
}

/// Returns the first line of a wrapped script.
pub(super) fn first_line(shell: &str) -> String {
    if shell.contains('/') { format!("#!{shell}\n") } else { format!("#!/usr/bin/env {shell}\n") }
}

/// Returns the diagnostic about a text that cannot be a name.
pub(crate) fn invalid_name(name: &Spanned<String>, what: &str, reason: &str) -> Diagnostic {
    let message = format!("`{}` cannot be the name of a {what}", shorten(&name.value));
    let diagnostic = Diagnostic::error(Code::InvalidName, name.span, message).label(reason);
    match suggest_name(&name.value) {
        Some(suggestion) => diagnostic.help(format!("did you mean `{suggestion}`?")),
        None => diagnostic.help("a name is made of a-z, 0-9, `-` and `_`, such as `web`"),
    }
}

/// A script as it was probably written.
enum Unwrapped<'a> {
    /// The body alone; the shell makes its first line.
    Body(&'a str),
    /// The whole text.
    Raw(&'a str),
}

/// Removes what wrapping adds, if wrapping restores the same text.
fn unwrap<'a>(text: &'a str, shell: &str) -> Unwrapped<'a> {
    let body = text.strip_prefix(first_line(shell).as_str()).and_then(|rest| rest.strip_suffix('\n'));
    match body {
        // Another line break at the end would be taken for the final one.
        Some(body) if !body.trim().is_empty() && !body.ends_with('\n') => Unwrapped::Body(body),
        _ => Unwrapped::Raw(text),
    }
}

/// Scripts by their names.
pub(crate) struct Scripts;

impl Value for Scripts {
    type Raw = Vec<RawScript>;
    type Model = BTreeMap<String, String>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let found = entries(context, item, "serve");
        found.into_iter().filter_map(|entry| read_one(context, entry)).collect()
    }

    fn check(context: &mut Context<'_>, scripts: &[RawScript], scope: &Scope<'_>) -> Option<Self::Model> {
        let shell = scope.sandbox.shell.as_ref().map_or(defaults::SHELL, |shell| &shell.value);
        let mut checked = BTreeMap::new();
        let mut first = BTreeMap::new();
        for script in scripts {
            let name = script.name.value.as_str();
            if let Err(reason) = SandboxName::new(name) {
                context.push(invalid_name(&script.name, "script", &reason.to_string()));
                continue;
            }
            if let Some(before) = given_before(&mut first, name, script.name.span) {
                context.push(same_name("scripts", &script.name, before));
                continue;
            }
            if script.body.value.trim().is_empty() {
                let message = format!("the script `{name}` is empty");
                context.push(
                    Diagnostic::error(Code::EmptyScript, script.body.span, message)
                        .label("nothing to run")
                        .help("write its text, or remove it"),
                );
                continue;
            }
            let text = whole_text(script, shell);
            if text.len() > SCRIPT_BYTES_MAX {
                let message = format!("the script `{name}` is larger than {} KiB", SCRIPT_BYTES_MAX / 1024);
                context.push(
                    Diagnostic::error(Code::TooLarge, script.name.span, message)
                        .label("this script")
                        .help("put the file into the image"),
                );
                continue;
            }
            checked.insert(name.to_owned(), text);
        }
        Some(checked)
    }

    fn print(model: &Self::Model, scope: &PrintScope<'_>) -> Printed {
        let script = |(name, text): (&String, &String)| {
            let body = |text: &str| PrintItem::argument("body", Scalar::Script(text.to_owned()));
            let items = match unwrap(text, &scope.definition.shell) {
                Unwrapped::Body(text) => vec![body(text)],
                Unwrapped::Raw(text) => vec![PrintItem::property("raw", Scalar::Flag(true)), body(text)],
            };
            (Name::Key(name.clone()), Node::block(items))
        };
        Printed::Named(model.iter().map(script).collect())
    }

    fn schema() -> serde_json::Value {
        schema::named(schema::NAME, &schema::any_of([schema::script(), schema::definition("ScriptMap")]))
    }
}
