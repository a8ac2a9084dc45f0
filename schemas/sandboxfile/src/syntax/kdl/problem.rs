//! What is wrong with a KDL text, as data and in words.

use crate::diagnostics::{Code, Diagnostic, shorten};
use crate::syntax::Span;
use schemas::spec::limits;

/// Something that is wrong with a text in KDL.
pub(crate) type Problem = crate::syntax::Problem<ProblemKind>;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// A character that cannot stand where it stands; the span is empty.
    Misplaced,
    /// The text ends inside a node or a block.
    EndsEarly,
    /// A name that is none, such as a number.
    NotAName,
    /// A value that is none, such as `2x`.
    NotAValue,
    /// `true` for `#true`.
    BareKeyword,
    /// A `{` where a name is expected.
    NamelessBlock,
    /// `(name)`.
    Annotation {
        /// What is in the parentheses.
        name: String,
    },
    /// A string and, without a space, something else.
    Sticks,
    /// A string of one line without a closing quote.
    OpenString,
    /// A string of several lines without a closing `"""`.
    OpenLines,
    /// `"""` that is not followed by a line break, or a string that looks like it.
    LinesOnOneLine,
    /// `"""` after other text of a line.
    QuotesInLine,
    /// A line of a string that lacks the indentation of the closing `"""`.
    BadIndentation,
    /// An escape that does not exist.
    BadEscape,
    /// A comment that lacks its `*/`.
    OpenComment,
    /// A `}` that closes nothing.
    Stray,
    /// A `{` that lacks its `}`.
    Unclosed,
    /// Blocks, parentheses or comments inside others beyond the limit.
    TooDeep,
    /// More nodes and values than a Sandboxfile may have.
    TooComplex,
}

impl ProblemKind {
    /// Whether the items are what they would be without it, so that they can be checked as well.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Annotation { .. })
    }

    /// Whether nothing of the text can be read.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::OpenComment | Self::TooDeep)
    }
}

impl Problem {
    /// Returns it as the report shows it.
    pub fn diagnostic(&self, text: &str) -> Diagnostic {
        let span = self.span.clamp_to(text);
        let found = &text[span.start..span.end];
        let (message, label, help) = match &self.kind {
            ProblemKind::Misplaced => return misplaced(text, span.start),
            ProblemKind::Annotation { name } => {
                return Diagnostic::error(Code::WrongType, span, "type annotations have no meaning here")
                    .label("not known here")
                    .help(format!("remove `({})`", shorten(name)));
            }
            ProblemKind::EndsEarly => {
                return Diagnostic::error(Code::KdlSyntax, span, "the text ends too early").label("here");
            }
            ProblemKind::TooDeep => {
                return Diagnostic::error(Code::TooDeep, span, "blocks nest too deep")
                    .label(format!("this is level {}", limits::SANDBOXFILE_DEPTH_MAX + 1))
                    .help("a Sandboxfile needs three levels: a sandbox, a section, a property");
            }
            ProblemKind::TooComplex => {
                let most = limits::SANDBOXFILE_NODES_MAX;
                let message = "this file holds more than any Sandboxfile needs";
                return Diagnostic::error(Code::TooComplex, span, message)
                    .help(format!("it may hold {most} names and values: use several projects"));
            }
            ProblemKind::OpenComment => (
                "this comment is not closed".to_owned(),
                "opened here",
                "add a `*/` where the comment ends".to_owned(),
            ),
            ProblemKind::Stray => (
                "this `}` closes nothing".to_owned(),
                "no block is open here",
                "remove it, or look for a `{` that is missing above".to_owned(),
            ),
            ProblemKind::Unclosed => (
                "this block is not closed".to_owned(),
                "opened here",
                "add a `}` where the block ends".to_owned(),
            ),
            ProblemKind::BareKeyword => (
                format!("KDL writes `{found}` with a `#`"),
                "a bare keyword",
                format!("write `#{found}`, or \"{found}\" for the word"),
            ),
            ProblemKind::NotAName => (
                "this is not a name".to_owned(),
                "a name is expected here",
                "a line starts with the name of a property, such as `image`".to_owned(),
            ),
            ProblemKind::NotAValue => (
                "this is not a value".to_owned(),
                "neither a word, a string nor a number",
                not_a_value_help(found),
            ),
            ProblemKind::NamelessBlock => (
                "this block belongs to no name".to_owned(),
                "a name is expected here",
                "the `{` stands on the line of the name that it belongs to".to_owned(),
            ),
            ProblemKind::Sticks => (
                "something sticks to this string".to_owned(),
                "a space is missing after it",
                "spaces separate values; there are no commas".to_owned(),
            ),
            ProblemKind::OpenString => (
                "a string goes on past the end of its line".to_owned(),
                "the closing `\"` is missing",
                "text of several lines stands between two lines of `\"\"\"`".to_owned(),
            ),
            ProblemKind::OpenLines => (
                "a string of several lines is not closed".to_owned(),
                "opened here",
                "close it with `\"\"\"` on a line of its own".to_owned(),
            ),
            ProblemKind::LinesOnOneLine => (
                "`\"\"\"` begins a string of several lines".to_owned(),
                "its text starts on the next line",
                "write one `\"` on each side, or start a new line after `\"\"\"`".to_owned(),
            ),
            ProblemKind::QuotesInLine => (
                "`\"\"\"` closes a string on a line of its own only".to_owned(),
                "in this string",
                "put the closing `\"\"\"` on a new line, or write `\\\"\"\"` for three quotes".to_owned(),
            ),
            ProblemKind::BadIndentation => (
                "this line is indented less than the closing `\"\"\"`".to_owned(),
                "the same white space must stand at its start",
                "the indentation of the closing `\"\"\"` is removed from every line".to_owned(),
            ),
            ProblemKind::BadEscape => (
                "a string holds an escape that KDL does not know".to_owned(),
                "in this string",
                "the escapes are \\n \\r \\t \\\\ \\\" \\b \\f \\s \\u{…}; in #\"…\"# a `\\` is only a `\\`"
                    .to_owned(),
            ),
        };
        // A string of several lines is marked where it begins: the rest of it may fill the screen.
        let first_line = found.lines().next().unwrap_or_default().len();
        let span = Span::new(span.start, span.start + first_line);
        Diagnostic::error(Code::KdlSyntax, span, message).label(label).help(help)
    }
}

fn not_a_value_help(found: &str) -> String {
    if found.contains(['"', '#', '\\']) {
        "spaces separate values; text with signs in it stands in quotes".to_owned()
    } else {
        format!("put it in quotes: \"{}\"", shorten(found))
    }
}

/// Reading stops at a place.
fn misplaced(text: &str, at: usize) -> Diagnostic {
    let at = Span::new(at, at).clamp_to(text).start;
    let found = text[at..].chars().next();
    let span = Span::new(at, at + found.map_or(0, char::len_utf8));
    let message = match found {
        Some(found) if !found.is_control() => format!("`{found}` cannot stand here"),
        _ => "this cannot stand here".to_owned(),
    };
    let word: String =
        text[at..].chars().take_while(|c| !c.is_whitespace() && !";{}\"".contains(*c)).collect();
    let help = match found {
        Some('/') => format!("put it in quotes: \"{}\"", shorten(&word)),
        Some('=') => "a line in a block is `NAME value`; `name=value` follows a value".to_owned(),
        _ => "a new line or a `;` ends a node; text with signs in it stands in quotes".to_owned(),
    };
    Diagnostic::error(Code::KdlSyntax, span, message).label("reading ends here").help(help)
}
