//! YAML text → items.
//!
//! The parser gives a place for every node. Its own guesses about plain scalars (`1e3` is a number) are
//! undone by reading the source text at that place.

use super::code::Code;
use super::context::Context;
use super::diagnostic::Diagnostic;
use super::span::{Span, Spanned};
use super::tree::{Argument, Item, Scalar, Value};
use super::yaml_node::{self, Node, NodeValue};
use super::yaml_reader::{self, Stop};
use schemas::spec::limits::{SANDBOXFILE_BYTES_MAX, UNUSUAL_BYTES_MAX};
use serde_yaml::Error;

/// The general YAML parser reads so many times as fast as the one for KDL: it may have a whole file.
const SPEED: usize = SANDBOXFILE_BYTES_MAX / UNUSUAL_BYTES_MAX;

/// The items of the whole text, or `None` when it is not YAML; then the context holds the errors.
pub(crate) fn parse<'t>(context: &mut Context<'_>, text: &'t str) -> Option<Vec<Item<'t>>> {
    match yaml_reader::read(text) {
        Ok(items) => Some(items),
        Err(Stop::GaveUp) => parse_by_crate(context, text),
        Err(Stop::TooComplex(span)) => {
            context.push(too_complex(span));
            None
        }
    }
}

/// The same for any text, and what is wrong with it.
fn parse_by_crate<'t>(context: &mut Context<'_>, text: &'t str) -> Option<Vec<Item<'t>>> {
    context.charge_unusual(text.len() / SPEED, Span::default())?;
    match yaml_node::read(text) {
        Err(error) => {
            context.push(syntax_error(text, &error));
            None
        }
        Ok(node) => match node.value {
            NodeValue::Map(entries) => Some(items_of(context, entries)),
            NodeValue::Scalar(scalar) if Argument::scalar(scalar.clone(), node.span).is_null() => {
                Some(Vec::new())
            }
            other => {
                let found = other.describe();
                context.push(
                    Diagnostic::error(
                        Code::WrongType,
                        node.span,
                        format!("a Sandboxfile is a map, not {found}"),
                    )
                    .label(found)
                    .help(match text[node.span.start..node.span.end].contains('{') {
                        true => "this looks like KDL: name the file Sandboxfile or Sandboxfile.kdl",
                        false => "start with a line such as `sandboxes:`",
                    }),
                );
                None
            }
        },
    }
}

fn items_of<'t>(context: &mut Context<'_>, entries: Vec<(Node<'t>, Node<'t>)>) -> Vec<Item<'t>> {
    entries.into_iter().filter_map(|(key, value)| item_of(context, key, value)).collect()
}

fn item_of<'t>(context: &mut Context<'_>, key: Node<'t>, value: Node<'t>) -> Option<Item<'t>> {
    let NodeValue::Scalar(Scalar { text, .. }) = key.value else {
        let found = key.value.describe();
        let message = format!("a key is a word, not {found}");
        context.push(Diagnostic::error(Code::WrongType, key.span, message).label(found));
        return None;
    };
    Some(argument_of(context, value).named(Spanned::new(text, key.span)))
}

fn argument_of<'t>(context: &mut Context<'_>, node: Node<'t>) -> Argument<'t> {
    let value = match node.value {
        NodeValue::Scalar(scalar) => Value::Scalar(scalar),
        NodeValue::List(elements) => {
            Value::List(elements.into_iter().map(|element| argument_of(context, element)).collect())
        }
        NodeValue::Map(entries) => Value::Map(items_of(context, entries)),
    };
    Argument { value, span: node.span }
}

const TOO_COMPLEX: &str = "this file holds more than any Sandboxfile needs";
const TOO_COMPLEX_HELP: &str = "what an alias repeats counts each time: write fewer of them";

fn too_complex(span: Span) -> Diagnostic {
    Diagnostic::error(Code::TooComplex, span, TOO_COMPLEX).help(TOO_COMPLEX_HELP)
}

fn syntax_error(text: &str, error: &Error) -> Diagnostic {
    let mut span = error.location().map(|location| place(text, location)).unwrap_or_default().clamp_to(text);
    let (code, message, help) = match error.without_snippet() {
        Error::MultipleDocuments { .. } => {
            let start = text[..span.start].rfind("---").unwrap_or(span.start);
            span = Span::new(start, start + 3);
            let help = "remove this line and what follows it";
            (Code::YamlSyntax, "a Sandboxfile is a single YAML document".to_owned(), Some(help.to_owned()))
        }
        other if other.to_string().contains("unknown anchor") => unknown_anchor(text, &mut span),
        // The parser wraps some of these, and tells them apart by its message only.
        other => describe(text, span, &other.to_string()),
    };
    let diagnostic = Diagnostic::error(code, span, message);
    Diagnostic { help, ..diagnostic }
}

/// The scanner names one character of the alias; the whole word is `*base`.
fn unknown_anchor(text: &str, span: &mut Span) -> (Code, String, Option<String>) {
    let rest = text[span.start..].trim_start_matches('*');
    let name: String =
        rest.chars().take_while(|c| !c.is_whitespace() && !",[]{}:".contains(*c)).take(40).collect();
    let star = text.len() - rest.len() - span.start;
    *span = Span::new(span.start, span.start + star + name.len());
    let help = format!("mark what is to be repeated with `&{name}`, above this line");
    (Code::YamlSyntax, format!("there is no anchor `{name}`"), Some(help))
}

fn describe(text: &str, span: Span, message: &str) -> (Code, String, Option<String>) {
    // The parser names the place at the end of its message; the label shows it already.
    let message = message.split(" at line ").next().unwrap_or(message).to_owned();
    if ["recursion limit", "nesting", "Depth"].iter().any(|word| message.contains(word)) {
        let help = "a Sandboxfile needs four levels at most";
        return (Code::TooDeep, "collections nest too deep".to_owned(), Some(help.to_owned()));
    }
    if message.contains("budget breached") || message.contains("alias replay") {
        return (Code::TooComplex, TOO_COMPLEX.to_owned(), Some(TOO_COMPLEX_HELP.to_owned()));
    }
    let line = text[..span.clamp_to(text).start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line..].lines().next().unwrap_or_default();
    let help =
        if line.starts_with(|c: char| c.is_whitespace()) && line.trim_start_matches(' ').starts_with('\t') {
            Some("indent with spaces: YAML takes no tabs".to_owned())
        } else if line.trim_end().ends_with('{') && !line.contains(':') {
            Some("this looks like KDL: name the file Sandboxfile or Sandboxfile.kdl".to_owned())
        } else if message.contains("mapping values are not allowed") {
            Some("quote a value that holds `: `, and indent nested keys".to_owned())
        } else {
            None
        };
    (Code::YamlSyntax, message, help)
}

/// The place of an error; the scanner knows it in characters only.
fn place(text: &str, location: serde_yaml::Location) -> Span {
    yaml_node::span_of(location).unwrap_or_else(|| {
        let byte = |character: u64| {
            let found = text.char_indices().nth(usize::try_from(character).unwrap_or(usize::MAX));
            found.map_or(text.len(), |(byte, _)| byte)
        };
        let (start, length) = (location.span().offset(), location.span().len());
        Span::new(byte(start), byte(start.saturating_add(length)))
    })
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
