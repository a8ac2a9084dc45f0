//! KDL text → items.

use super::code::Code;
use super::context::Context;
use super::diagnostic::Diagnostic;
use super::kdl_depth::too_deep;
use super::span::{Span, Spanned};
use super::tree::{Argument, Item, Scalar, ScalarKind, Value};
use crate::spec::limits;
use ::kdl::{KdlDiagnostic, KdlDocument, KdlEntry, KdlIdentifier, KdlNode, KdlValue};

/// The items of the whole text, or `None` when it is not KDL; then the context holds the errors.
pub(crate) fn parse(context: &mut Context<'_>, text: &str) -> Option<Vec<Item>> {
    if let Some(span) = too_deep(text, limits::SANDBOXFILE_DEPTH_MAX) {
        context.push(
            Diagnostic::error(Code::TooDeep, span, "blocks nest too deep")
                .label(format!("this is level {}", limits::SANDBOXFILE_DEPTH_MAX + 1))
                .help("a Sandboxfile needs three levels: a sandbox, a section, a property"),
        );
        return None;
    }
    match KdlDocument::parse_v2(text) {
        Ok(document) if !is_yaml_that_parses(&document) => Some(items_of(context, &document)),
        Ok(_) => {
            context.push(not_kdl(text));
            None
        }
        Err(_) if looks_like_yaml(text) => {
            context.push(not_kdl(text));
            None
        }
        Err(error) => {
            syntax_errors(context, text, &error.diagnostics);
            None
        }
    }
}

fn span(span: miette::SourceSpan) -> Span {
    Span::new(span.offset(), span.offset() + span.len())
}

fn items_of(context: &mut Context<'_>, document: &KdlDocument) -> Vec<Item> {
    document.nodes().iter().map(|node| item_of(context, node)).collect()
}

fn item_of(context: &mut Context<'_>, node: &KdlNode) -> Item {
    refuse_annotation(context, node.ty());
    let mut arguments = Vec::new();
    let mut items = Vec::new();
    for entry in node.entries() {
        refuse_annotation(context, entry.ty());
        let whole = span(entry.span());
        match entry.name() {
            None => arguments.push(argument_of(entry, whole)),
            Some(name) => {
                let name = spanned_name(name);
                // The span of `max=5` covers all of it; its value is what stands behind the `=`.
                let value = Span::new((name.span.end + 1).min(whole.end), whole.end);
                let arguments = vec![argument_of(entry, value)];
                items.push(Item { name, arguments, items: Vec::new() });
            }
        }
    }
    if let Some(children) = node.children() {
        items.extend(items_of(context, children));
    }
    Item { name: spanned_name(node.name()), arguments, items }
}

fn spanned_name(name: &KdlIdentifier) -> Spanned<String> {
    Spanned::new(name.value().to_owned(), span(name.span()))
}

fn argument_of(entry: &KdlEntry, span: Span) -> Argument {
    let written = || entry.format().map(|format| format.value_repr.clone()).unwrap_or_default();
    let (kind, text) = match entry.value() {
        KdlValue::String(text) => (ScalarKind::Text, text.clone()),
        KdlValue::Bool(value) => (ScalarKind::Bool(*value), value.to_string()),
        KdlValue::Integer(value) => (ScalarKind::Integer(*value), written()),
        KdlValue::Float(_) => (ScalarKind::Float, written()),
        KdlValue::Null => (ScalarKind::Null, String::new()),
    };
    Argument { value: Value::Scalar(Scalar { kind, text }), span }
}

fn refuse_annotation(context: &mut Context<'_>, annotation: Option<&KdlIdentifier>) {
    if let Some(name) = annotation {
        context.push(
            Diagnostic::error(Code::WrongType, span(name.span()), "type annotations have no meaning here")
                .label("not known here")
                .help(format!("remove `({})`", name.value())),
        );
    }
}

fn syntax_errors(context: &mut Context<'_>, text: &str, findings: &[KdlDiagnostic]) {
    // Behind a string or a block that is not closed, the parser finds braces that do not match. Those
    // are echoes of the first error, and only worth their lines when there is nothing else.
    let echo = |finding: &KdlDiagnostic| {
        let message = finding.message.as_deref().unwrap_or_default();
        message.starts_with("Expected end of document") || message.starts_with("Closing '}' was not found")
    };
    let all_echo = findings.iter().all(echo);
    for finding in findings.iter().filter(|finding| all_echo || !echo(finding)) {
        context.push(syntax_error(text, finding));
    }
}

fn syntax_error(text: &str, finding: &KdlDiagnostic) -> Diagnostic {
    let span = span(finding.span).clamp_to(text);
    let found = &text[span.start..span.end];
    let given = finding.message.as_deref().unwrap_or("this cannot be read");
    let (message, label, help) = match (found, given) {
        ("true" | "false" | "null", _) => (
            format!("KDL writes `{found}` with a `#`"),
            "a bare keyword".to_owned(),
            Some(format!("write `#{found}`, or \"{found}\" for the word")),
        ),
        (_, "Expected end of document") => (
            "this `}` closes nothing".to_owned(),
            "no block is open here".to_owned(),
            Some("remove it, or look for a `{` that is missing above".to_owned()),
        ),
        (_, message) if message.starts_with("No closing '}'") => (
            "this block is not closed".to_owned(),
            "opened here".to_owned(),
            Some("add the `}` that is missing, for this block or for one inside it".to_owned()),
        ),
        (_, message) if message.starts_with("Unexpected newline in single-line") => (
            "a string goes on past the end of its line".to_owned(),
            "the closing `\"` is missing".to_owned(),
            Some("text of several lines stands between two lines of `\"\"\"`".to_owned()),
        ),
        (string, "Expected quoted string") if string.contains('\\') => (
            "a string holds an escape that KDL does not know".to_owned(),
            "in this string".to_owned(),
            Some("the escapes are \\n \\r \\t \\\\ \\\" \\b \\f \\s \\u{…}; in #\"…\"# a `\\` is only a `\\`".to_owned()),
        ),
        _ => {
            let label = finding.label.as_deref().unwrap_or("here");
            (lower_first(given), label.to_owned(), finding.help.clone())
        }
    };
    let diagnostic = Diagnostic::error(Code::KdlSyntax, span, message).label(label);
    Diagnostic { help, ..diagnostic }
}

/// A short YAML file can be KDL by chance, with node names that end in a colon.
fn is_yaml_that_parses(document: &KdlDocument) -> bool {
    document.nodes().first().is_some_and(|node| node.name().value().ends_with(':'))
}

fn not_kdl(text: &str) -> Diagnostic {
    let line = text.lines().find(|line| says_something(line)).unwrap_or_default();
    let start = text.find(line).unwrap_or_default();
    Diagnostic::error(Code::KdlSyntax, Span::new(start, start + line.len()), "this file is YAML, but its name says KDL")
        .label("a line of YAML")
        .help("name it Sandboxfile.yaml")
}

fn says_something(line: &&str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// Whether the first line that says anything reads `word:`, or starts a YAML document.
fn looks_like_yaml(text: &str) -> bool {
    let first = text.lines().find(says_something).map(str::trim);
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    first.is_some_and(|line| line == "---" || line.split_once(':').is_some_and(|(key, _)| word(key)))
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}
