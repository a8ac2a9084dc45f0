//! `env { PORT 8080 }` and `labels { tier "web" }`: maps of texts.

use super::read::{Fields, Takes, single, text_of};
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::schema;
use crate::print::{Item as PrintItem, Name, Node, Position, Printed};
use crate::syntax::{Item, Span, Spanned};
use std::collections::BTreeMap;

/// A map of texts as typed, in the order of the file.
pub(super) type RawPairs = Vec<(Spanned<String>, Spanned<String>)>;

/// Reads a map, or a list of `NAME=value`.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> RawPairs {
    // In compose a name alone passes on the host's variable; not so for labels.
    let is_env = item.own_name().value != "labels";
    let mut pairs = Vec::new();
    for argument in item.arguments.iter().filter(|argument| !argument.is_null()) {
        let takes = Takes { what: "texts of the form NAME=value", bare: false };
        let Some(text) = text_of(context, argument, &item.name.value, takes) else { continue };
        match text.value.split_once('=') {
            Some((key, value)) => pairs
                .push((Spanned::new(key.to_owned(), text.span), Spanned::new(value.to_owned(), text.span))),
            None => {
                let shown = shorten(&text.value);
                let message = format!("`{shown}` has no value");
                context.push(Diagnostic::error(Code::InvalidEnv, text.span, message).label("no `=`").help(
                    if is_env {
                        passed_on(&format!("{shown}="), &shown, "")
                    } else {
                        format!("write `{shown}=value`")
                    },
                ));
            }
        }
    }
    for entry in &item.items {
        let name = &entry.name.value;
        let help = |context: &Context<'_>| {
            let name = shorten(name);
            match (context.format, is_env) {
                (Format::Kdl, true) => passed_on(&format!("{name} "), &name, "\""),
                (Format::Yaml, true) => passed_on(&format!("{name}: "), &name, "\""),
                (Format::Kdl, false) => format!("write `{name} \"value\"`; an empty value is \"\""),
                (Format::Yaml, false) => format!("write `{name}: value`; an empty value is \"\""),
            }
        };
        let Some(argument) = single(context, entry, &help) else { continue };
        if let Some(value) = text_of(context, argument, name, Takes { what: "a text", bare: true }) {
            pairs.push((entry.own_name(), value));
        }
    }
    pairs
}

/// Returns the help for a variable without a value. `head` precedes a value, `quote` surrounds it.
fn passed_on(head: &str, name: &str, quote: &str) -> String {
    format!(
        "the host's variables are not passed on by name alone: write `{head}{quote}${{{name}:-}}{quote}` for the \
         host's value, `{head}{quote}{quote}` for an empty one"
    )
}

/// Returns why a text cannot be the name of a variable.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty");
    }
    name.chars().find_map(|c| match c {
        '=' => Some("cannot hold a `=`"),
        '\0' => Some("cannot hold a NUL character"),
        c if c.is_whitespace() => Some("cannot hold white space"),
        _ => None,
    })
}

/// Checks names and repetitions. `what` is one of them, for messages: `a variable`.
fn check(context: &mut Context<'_>, pairs: &RawPairs, what: &str) -> BTreeMap<String, String> {
    let mut checked = BTreeMap::new();
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for (key, value) in pairs {
        let name = key.value.as_str();
        if let Some(problem) = name_problem(name) {
            let message = format!("the name of {what} {problem}");
            context.push(Diagnostic::error(Code::InvalidEnv, key.span, message).label("not a name"));
            continue;
        }
        match first.get(name) {
            Some(&before) => {
                let message = format!("`{}` is given twice", shorten(name));
                context.push(
                    Diagnostic::error(Code::DuplicateProperty, key.span, message)
                        .label("given again")
                        .also(before, "first given here")
                        .help("keep one of the two"),
                );
            }
            None => {
                first.insert(name, key.span);
                checked.insert(name.to_owned(), value.value.clone());
            }
        }
    }
    checked
}

/// Variables of the environment.
pub(crate) struct Env;

impl Value for Env {
    type Raw = RawPairs;
    type Model = BTreeMap<String, String>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).map(|item| read(context, item)).unwrap_or_default()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        Some(check(context, raw, "a variable"))
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        print(model)
    }

    fn schema() -> serde_json::Value {
        schema::pairs()
    }
}

/// Labels.
pub(crate) struct Labels;

impl Value for Labels {
    type Raw = RawPairs;
    type Model = BTreeMap<String, String>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.one(property).map(|item| read(context, item)).unwrap_or_default()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, _scope: &Scope<'_>) -> Option<Self::Model> {
        Some(check(context, raw, "a label"))
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        print(model)
    }

    fn schema() -> serde_json::Value {
        schema::pairs()
    }
}

fn print(pairs: &BTreeMap<String, String>) -> Printed {
    if pairs.is_empty() {
        return Printed::Nothing;
    }
    let item = |(key, text): (&String, &String)| PrintItem {
        name: Name::Key(key.clone()),
        position: Position::Child,
        node: Node::text(text),
    };
    Printed::One(Node::block(pairs.iter().map(item).collect()))
}
