//! What is wrong with a YAML text, as data and in words.

use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;

/// Something that is wrong with a text in YAML.
pub(crate) type Problem = crate::syntax::Problem<ProblemKind>;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// It is not YAML, for the parser's reason.
    Syntax {
        /// The reason.
        message: String,
    },
    /// `*name` without a `&name` above it.
    UnknownAnchor,
    /// `*name` inside of what `&name` marks.
    AnchorInItself,
    /// A second document in the same file.
    SecondDocument,
    /// The document is no map.
    NotAMap {
        /// What it is.
        found: &'static str,
    },
    /// A key that is a list or a map.
    KeyIsNoWord {
        /// What it is.
        found: &'static str,
    },
    /// `<<` with something else than maps.
    NothingToMerge {
        /// What it is.
        found: &'static str,
    },
    /// `!name`.
    Tag {
        /// As the parser writes it.
        name: String,
    },
    /// Collections in collections, more than the limit.
    TooDeep,
    /// More nodes than the limit, each alias with what it repeats.
    TooComplex,
}

impl ProblemKind {
    /// Whether the items are what they would be without it, so that they can be checked as well.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Tag { .. } | Self::KeyIsNoWord { .. } | Self::NothingToMerge { .. })
    }
}

impl Problem {
    /// Returns it as the report shows it.
    pub fn diagnostic(&self, text: &str) -> Diagnostic {
        let span = self.span.clamp_to(text);
        match &self.kind {
            ProblemKind::Syntax { message } => {
                let diagnostic = Diagnostic::error(Code::YamlSyntax, span, message.clone());
                Diagnostic { help: syntax_help(text, span, message), ..diagnostic }
            }
            ProblemKind::UnknownAnchor => unknown_anchor(text, span),
            ProblemKind::AnchorInItself => {
                Diagnostic::error(Code::YamlSyntax, span, "an anchor cannot contain itself")
                    .label("repeats what it is a part of")
                    .help("repeat it after the end of what `&` marks")
            }
            ProblemKind::SecondDocument => {
                let start = text[..span.end].rfind("---").unwrap_or(span.start);
                let end = (start + 3).min(text.len());
                Diagnostic::error(
                    Code::YamlSyntax,
                    Span::new(start, end),
                    "a Sandboxfile is a single YAML document",
                )
                .help("remove this line and what follows it")
            }
            ProblemKind::NotAMap { found } => {
                let help = if text[span.start..span.end].contains('{') {
                    "this looks like KDL: name the file Sandboxfile or Sandboxfile.kdl"
                } else {
                    "start with a line such as `sandboxes:`"
                };
                Diagnostic::error(Code::WrongType, span, format!("a Sandboxfile is a map, not {found}"))
                    .label(*found)
                    .help(help)
            }
            ProblemKind::KeyIsNoWord { found } => {
                Diagnostic::error(Code::WrongType, span, format!("a key is a word, not {found}"))
                    .label(*found)
            }
            ProblemKind::NothingToMerge { found } => Diagnostic::error(
                Code::WrongType,
                span,
                format!("`<<` takes over the entries of a map, not {found}"),
            )
            .label(*found)
            .help("write `<<: *name`, where `&name` marks a map"),
            ProblemKind::Tag { name } => {
                Diagnostic::error(Code::WrongType, span, "tags have no meaning here")
                    .label("not known here")
                    .help(format!("remove `{name}`"))
            }
            ProblemKind::TooDeep => Diagnostic::error(Code::TooDeep, span, "collections nest too deep")
                .help("a Sandboxfile needs four levels at most"),
            ProblemKind::TooComplex => {
                Diagnostic::error(Code::TooComplex, span, "this file holds more than any Sandboxfile needs")
                    .help("what an alias repeats counts each time: write fewer of them")
            }
        }
    }
}

/// The scanner names one character of the alias; the whole word is `*base`.
fn unknown_anchor(text: &str, span: Span) -> Diagnostic {
    let rest = text[span.start..].trim_start_matches('*');
    let name: String =
        rest.chars().take_while(|c| !c.is_whitespace() && !",[]{}:".contains(*c)).take(40).collect();
    let star = text.len() - rest.len() - span.start;
    let span = Span::new(span.start, span.start + star + name.len());
    Diagnostic::error(Code::YamlSyntax, span, format!("there is no anchor `{name}`"))
        .help(format!("mark what is to be repeated with `&{name}`, above this line"))
}

fn syntax_help(text: &str, span: Span, message: &str) -> Option<String> {
    let line = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line..].lines().next().unwrap_or_default();
    let help = if line.starts_with(char::is_whitespace) && line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces: YAML takes no tabs"
    } else if line.trim_end().ends_with('{') && !line.contains(':') {
        "this looks like KDL: name the file Sandboxfile or Sandboxfile.kdl"
    } else if message.contains("mapping values are not allowed") {
        "quote a value that holds `: `, and indent nested keys"
    } else {
        return None;
    };
    Some(help.to_owned())
}
