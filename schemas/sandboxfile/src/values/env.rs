//! `env { PORT 8080 }` and `labels { tier "web" }`: maps of texts.

use super::read::{Takes, single, text_of};
use super::repeats::{given_before, given_twice};
use super::{Named, PrintScope, Scope, Value};
use crate::Format;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::schema;
use crate::print::{Item as PrintItem, Name, Node, Position, Printed};
use crate::syntax::{Item, Spanned};
use std::collections::BTreeMap;

/// A name and its text as typed.
type RawPair = Named<Spanned<String>>;

/// Returns the host's variable of a name that is given without a value; `None` if it is not set, and the sandbox has none
/// then.
fn passed_on(context: &Context<'_>, name: Spanned<String>) -> Option<RawPair> {
    let value = context.variables.get(&name.value)?.value.to_owned();
    let value = Spanned::new(value, name.span);
    Some(Named { name, value })
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

/// Variables of the environment.
pub(crate) type Env = Pairs<true>;

/// Labels.
pub(crate) type Labels = Pairs<false>;

/// A map of texts: variables of the environment, or labels.
pub(crate) struct Pairs<const IS_ENV: bool>;

impl<const IS_ENV: bool> Value for Pairs<IS_ENV> {
    type Raw = Vec<RawPair>;
    type Model = BTreeMap<String, String>;

    /// Reads a map, or a list of `NAME=value`. The name of a variable alone passes on that of the host.
    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let mut pairs = Vec::new();
        for argument in item.arguments.iter().filter(|argument| !argument.is_null()) {
            let takes = Takes { what: "texts of the form NAME=value", bare: false };
            let Some(text) = text_of(context, argument, &item.name.value, takes) else { continue };
            match text.value.split_once('=') {
                Some((name, value)) => {
                    let here = |part: &str| Spanned::new(part.to_owned(), text.span);
                    pairs.push(Named { name: here(name), value: here(value) });
                }
                None if IS_ENV => pairs.extend(passed_on(context, text)),
                None => {
                    let shown = shorten(&text.value);
                    let message = format!("`{shown}` has no value");
                    context.push(
                        Diagnostic::error(Code::InvalidEnv, text.span, message)
                            .label("no `=`")
                            .help(format!("write `{shown}=value`")),
                    );
                }
            }
        }
        for entry in &item.items {
            let name = &entry.name.value;
            let help = |context: &Context<'_>| {
                let name = shorten(name);
                match context.format {
                    Format::Kdl => format!("write `{name} \"value\"`; an empty value is \"\""),
                    Format::Yaml => format!("write `{name}: value`; an empty value is \"\""),
                }
            };
            if IS_ENV && entry.items.is_empty() && entry.arguments.iter().all(|argument| argument.is_null()) {
                pairs.extend(passed_on(context, entry.own_name()));
                continue;
            }
            let Some(argument) = single(context, entry, &help) else { continue };
            if let Some(value) = text_of(context, argument, name, Takes { what: "a text", bare: true }) {
                pairs.push(Named { name: entry.own_name(), value });
            }
        }
        pairs
    }

    /// Checks names and repetitions.
    fn check(context: &mut Context<'_>, pairs: &[RawPair], _scope: &Scope<'_>) -> Option<Self::Model> {
        let what = if IS_ENV { "a variable" } else { "a label" };
        let mut checked = BTreeMap::new();
        let mut first = BTreeMap::new();
        for Named { name: key, value } in pairs {
            let name = key.value.as_str();
            if let Some(problem) = name_problem(name) {
                let message = format!("the name of {what} {problem}");
                context.push(Diagnostic::error(Code::InvalidEnv, key.span, message).label("not a name"));
                continue;
            }
            match given_before(&mut first, name, key.span) {
                Some(before) => context.push(given_twice(name, key.span, before)),
                None => _ = checked.insert(name.to_owned(), value.value.clone()),
            }
        }
        Some(checked)
    }

    fn print(pairs: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
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

    fn schema() -> serde_json::Value {
        schema::pairs()
    }
}
