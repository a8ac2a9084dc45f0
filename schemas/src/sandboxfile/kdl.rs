//! KDL text → items.

use super::code::Code;
use super::context::{Context, shorten, steers_a_terminal};
use super::diagnostic::Diagnostic;
use super::kdl_blocks::{Blocks, scan};
use super::report::DIAGNOSTICS_MAX;
use super::span::{Span, Spanned};
use super::tree::{Argument, Item, Scalar, ScalarKind, Value};
use crate::spec::limits;
use ::kdl::{KdlDiagnostic, KdlDocument, KdlEntry, KdlIdentifier, KdlNode, KdlValue};

/// What stands around the text while it is parsed; see [`parse`].
const HEAD: &str = "n {\n";
const TAIL: &str = "\n}";

/// The items of the whole text, or `None` when it is not KDL; then the context holds the errors.
///
/// The text is parsed as the block of a node. Parsed as a document, it would be parsed anew behind each
/// token that cannot stand where it does, each time on top of the last one: a few thousand of them use up
/// the stack. As a block, parsing ends at the first such token.
pub(crate) fn parse(context: &mut Context<'_>, text: &str) -> Option<Vec<Item>> {
    let blocks = scan(text, limits::SANDBOXFILE_DEPTH_MAX);
    if let Some(span) = blocks.too_deep {
        context.push(
            Diagnostic::error(Code::TooDeep, span, "blocks nest too deep")
                .label(format!("this is level {}", limits::SANDBOXFILE_DEPTH_MAX + 1))
                .help("a Sandboxfile needs three levels: a sandbox, a section, a property"),
        );
        return None;
    }
    if report_banned_characters(context, text) {
        return None;
    }
    let body = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let places = Places { shift: HEAD.len() - (text.len() - body.len()) };
    let parsed = KdlNode::parse(&format!("{HEAD}{body}{TAIL}"));
    if looks_like_yaml(text) {
        // A short YAML file can be KDL by chance, with node names that end in a colon.
        context.push(not_kdl(text));
        return None;
    }
    match parsed {
        Ok(node) if blocks == Blocks::default() => {
            Some(node.children().map(|document| places.items_of(context, document)).unwrap_or_default())
        }
        Ok(_) => {
            report_blocks(context, &blocks);
            None
        }
        Err(error) => {
            report_blocks(context, &blocks);
            places.report_syntax(context, text, &error.diagnostics);
            None
        }
    }
}

/// Characters that KDL bans from a text, because no reader would see them.
fn report_banned_characters(context: &mut Context<'_>, text: &str) -> bool {
    let banned = |at: usize, c: char| match c {
        '\u{FEFF}' => at > 0,
        '\t'..='\r' | '\u{80}'..='\u{9F}' => false,
        c => steers_a_terminal(c),
    };
    let mut found = false;
    for (at, c) in text.char_indices().filter(|&(at, c)| banned(at, c)).take(DIAGNOSTICS_MAX) {
        let code = format!("{:04X}", u32::from(c));
        context.push(
            Diagnostic::error(
                Code::KdlSyntax,
                Span::new(at, at + c.len_utf8()),
                format!("U+{code} is a character that nobody sees"),
            )
            .label("here")
            .help(format!("remove it; if it is meant, write `\\u{{{code}}}` in a string in quotes")),
        );
        found = true;
    }
    found
}

fn report_blocks(context: &mut Context<'_>, blocks: &Blocks) {
    if let Some(span) = blocks.stray {
        context.push(
            Diagnostic::error(Code::KdlSyntax, span, "this `}` closes nothing")
                .label("no block is open here")
                .help("remove it, or look for a `{` that is missing above"),
        );
    }
    if let Some(span) = blocks.unclosed {
        context.push(
            Diagnostic::error(Code::KdlSyntax, span, "this block is not closed")
                .label("opened here")
                .help("add a `}` where the block ends"),
        );
    }
}

/// Turns the parser's places into those of the text.
#[derive(Clone, Copy)]
struct Places {
    shift: usize,
}

impl Places {
    fn span(self, span: miette::SourceSpan) -> Span {
        let start = span.offset().saturating_sub(self.shift);
        Span::new(start, (span.offset() + span.len()).saturating_sub(self.shift))
    }

    fn items_of(self, context: &mut Context<'_>, document: &KdlDocument) -> Vec<Item> {
        document.nodes().iter().map(|node| self.item_of(context, node)).collect()
    }

    fn item_of(self, context: &mut Context<'_>, node: &KdlNode) -> Item {
        self.refuse_annotation(context, node.ty());
        let mut arguments = Vec::new();
        let mut items = Vec::new();
        for entry in node.entries() {
            self.refuse_annotation(context, entry.ty());
            let whole = self.span(entry.span());
            match entry.name() {
                None => arguments.push(argument_of(entry, whole)),
                Some(name) => {
                    let name = self.spanned_name(name);
                    // The span of `max=5` covers all of it; its value is what stands behind the `=`.
                    let value = Span::new((name.span.end + 1).min(whole.end), whole.end);
                    let arguments = vec![argument_of(entry, value)];
                    items.push(Item { name, arguments, items: Vec::new() });
                }
            }
        }
        if let Some(children) = node.children() {
            items.extend(self.items_of(context, children));
        }
        Item { name: self.spanned_name(node.name()), arguments, items }
    }

    fn spanned_name(self, name: &KdlIdentifier) -> Spanned<String> {
        Spanned::new(name.value().to_owned(), self.span(name.span()))
    }

    fn refuse_annotation(self, context: &mut Context<'_>, annotation: Option<&KdlIdentifier>) {
        if let Some(name) = annotation {
            context.push(
                Diagnostic::error(
                    Code::WrongType,
                    self.span(name.span()),
                    "type annotations have no meaning here",
                )
                .label("not known here")
                .help(format!("remove `({})`", name.value())),
            );
        }
    }

    fn report_syntax(self, context: &mut Context<'_>, text: &str, findings: &[KdlDiagnostic]) {
        let clean = context.is_clean();
        for finding in findings {
            let message = finding.message.as_deref().unwrap_or_default();
            // Braces are accounted for; where one is missing, the parser stumbles over all that follow.
            if message.starts_with("No closing '}'") || message.starts_with("Closing '}' was not found") {
                continue;
            }
            let span = self.span(finding.span).clamp_to(text);
            if finding.message.is_some() {
                context.push(syntax_error(text, span, finding));
            } else if clean {
                context.push(misplaced(text, span));
            }
        }
        if context.is_clean() {
            let end = Span::new(text.len(), text.len());
            context.push(Diagnostic::error(Code::KdlSyntax, end, "the text ends too early").label("here"));
        }
    }
}

/// The parser gives up at the start of `rest`.
fn misplaced(text: &str, rest: Span) -> Diagnostic {
    let found = text[rest.start..].chars().next();
    let span = Span::new(rest.start, rest.start + found.map_or(0, char::len_utf8));
    let message = match found {
        Some(found) if !found.is_control() => format!("`{found}` cannot stand here"),
        _ => "this cannot stand here".to_owned(),
    };
    let word: String =
        text[rest.start..].chars().take_while(|c| !c.is_whitespace() && !";{}\"".contains(*c)).collect();
    let help = match found {
        Some('/') => format!("put it in quotes: \"{}\"", shorten(&word)),
        Some('=') => "a line in a block is `NAME value`; `name=value` stands behind a value".to_owned(),
        _ => "a new line or a `;` ends a node; text with signs in it stands in quotes".to_owned(),
    };
    Diagnostic::error(Code::KdlSyntax, span, message).label("reading ends here").help(help)
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

fn syntax_error(text: &str, span: Span, finding: &KdlDiagnostic) -> Diagnostic {
    let found = &text[span.start..span.end];
    let given = finding.message.as_deref().unwrap_or("this cannot be read");
    let (message, label, help) = match (found, given) {
        ("true" | "false" | "null", _) => (
            format!("KDL writes `{found}` with a `#`"),
            "a bare keyword".to_owned(),
            Some(format!("write `#{found}`, or \"{found}\" for the word")),
        ),
        (_, message) if message.starts_with("Unexpected newline in single-line") => (
            "a string goes on past the end of its line".to_owned(),
            "the closing `\"` is missing".to_owned(),
            Some("text of several lines stands between two lines of `\"\"\"`".to_owned()),
        ),
        (string, "Expected quoted string") if string.contains('\\') => (
            "a string holds an escape that KDL does not know".to_owned(),
            "in this string".to_owned(),
            Some(
                "the escapes are \\n \\r \\t \\\\ \\\" \\b \\f \\s \\u{…}; in #\"…\"# a `\\` is only a `\\`"
                    .to_owned(),
            ),
        ),
        (_, "Expected quoted string") => (
            "something sticks to this string".to_owned(),
            "a space is missing behind it".to_owned(),
            Some("spaces separate values; there are no commas".to_owned()),
        ),
        (_, "Expected identifier string") => (
            "this is not a value".to_owned(),
            "neither a word, a string nor a number".to_owned(),
            Some("spaces separate values; text with signs in it stands in quotes".to_owned()),
        ),
        (_, "Found invalid node name") => (
            "this is not a name".to_owned(),
            "a name is expected here".to_owned(),
            Some("a line starts with the name of a property, such as `image`".to_owned()),
        ),
        (_, "Found child block instead of node name") => (
            "this block belongs to no name".to_owned(),
            "a name is expected here".to_owned(),
            Some("the `{` stands on the line of the name that it belongs to".to_owned()),
        ),
        _ => (lower_first(given), String::new(), finding.help.clone()),
    };
    let diagnostic = Diagnostic::error(Code::KdlSyntax, span, message).label(label);
    Diagnostic { help, ..diagnostic }
}

fn not_kdl(text: &str) -> Diagnostic {
    let line = text.lines().find(says_something).unwrap_or_default();
    let start = text.find(line).unwrap_or_default();
    Diagnostic::error(
        Code::KdlSyntax,
        Span::new(start, start + line.len()),
        "this file is YAML, but its name says KDL",
    )
    .label("a line of YAML")
    .help("name it Sandboxfile.yaml")
}

fn says_something(line: &&str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// Whether the first line that says anything reads `word:`, or starts a YAML document.
pub(crate) fn looks_like_yaml(text: &str) -> bool {
    let first = text.trim_start_matches('\u{FEFF}').lines().find(says_something).map(str::trim);
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    first.is_some_and(|line| line == "---" || line.split_once(':').is_some_and(|(key, _)| word(key)))
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}
