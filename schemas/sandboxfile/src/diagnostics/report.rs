//! The diagnostics about the files of a project, sorted by place.

use super::{Diagnostic, Label, Severity};
use crate::syntax::{Indexed, Sources, Span};
use miette::LabeledSpan;
use schemas::excerpt::excerpt;
use std::fmt;

/// The most diagnostics that a report keeps.
pub const DIAGNOSTICS_MAX: usize = 100;

/// The most characters of a message, a label or a help, whatever it quotes.
const MESSAGE_MAX: usize = 1_000;
/// The most bytes of the text that one label shows.
const LABEL_BYTES_MAX: usize = 8 * 1024;

/// The diagnostics about the files of a project, together with the source texts.
#[derive(Debug)]
pub struct Report {
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
}

/// A range of a file, in the lines and columns that editors show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The line of the end, from 1.
    pub end_line: usize,
    /// The column after the last character, from 1.
    pub end_column: usize,
    /// The bytes in the file.
    pub bytes: Span,
}

impl Report {
    /// Sorts the diagnostics by place and keeps the first [`DIAGNOSTICS_MAX`] of them.
    pub(crate) fn new(sources: &Sources, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span().start, diagnostic.code));
        // An anchor that is used in several places is wrong only once.
        diagnostics.dedup();
        let omitted = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
        diagnostics.truncate(DIAGNOSTICS_MAX);
        // Whatever of the text a message quotes is as safe to print as the text itself.
        for Diagnostic { message, labels, help, .. } in &mut diagnostics {
            for text in labels.iter_mut().map(|label| &mut label.text).chain([message]).chain(help) {
                *text = excerpt(&harmless(text), MESSAGE_MAX).into_owned();
            }
        }
        Self { sources: sources.map_texts(harmless), diagnostics, omitted }
    }

    /// Returns the name of the first file, as messages show it.
    pub fn name(&self) -> &str {
        self.sources.files().first().map_or("", |file| file.text.name.as_str())
    }

    /// Returns the text of the first file, in which characters that would steer a terminal are replaced, byte for byte.
    pub fn text(&self) -> &str {
        self.sources.files().first().map_or("", |file| file.text.text.as_str())
    }

    /// Returns the diagnostics, sorted by place.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Returns the number of diagnostics beyond those that are kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Returns each diagnostic with its source text, for a miette report handler.
    pub fn located(&self) -> impl Iterator<Item = Located<'_>> {
        self.diagnostics.iter().map(|diagnostic| Located::new(diagnostic, self))
    }

    /// Returns whether there is an error, rather than only warnings.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Returns the file and the lines of a label.
    pub fn place(&self, span: Span) -> SourceRange<'_> {
        let Some(file) = self.sources.file_at(span.start) else {
            return SourceRange {
                file: "",
                line: 1,
                column: 1,
                end_line: 1,
                end_column: 1,
                bytes: Span::default(),
            };
        };
        let (bytes, file) = (file.local(span), &file.text);
        let ((line, column), (end_line, end_column)) = (file.position(bytes.start), file.position(bytes.end));
        SourceRange { file: &file.name, line, column, end_line, end_column, bytes }
    }

    /// Returns the line and the column of an offset in its file, both from 1; the column counts characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let SourceRange { line, column, .. } = self.place(Span::new(offset, offset));
        (line, column)
    }
}

/// Replaces characters that move the cursor or change the direction of text by others of the same length, which keeps
/// all offsets valid: a Sandboxfile is untrusted.
fn harmless(text: &str) -> String {
    let mut rest = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        let is_text = matches!(c, '\n' | '\t') || (c == '\r' && rest.peek() == Some(&'\n'));
        out.push(match c.len_utf8() {
            _ if is_text || !schemas::terminal::steers(c) => c,
            1 => '?',
            2 => '¿',
            _ => '\u{FFFD}',
        });
    }
    out
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.has_errors() { "error" } else { "warning" };
        match self.diagnostics.len() + self.omitted {
            1 if word == "error" => write!(f, "{} has an error", self.name()),
            1 => write!(f, "{} has a warning", self.name()),
            count => write!(f, "{} has {count} {word}s", self.name()),
        }
    }
}

impl std::error::Error for Report {}

/// A diagnostic together with the source text of its labels; labels in other files become related diagnostics.
#[derive(Debug)]
pub struct Located<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<&'a Indexed>,
    labels: Vec<LabeledSpan>,
    elsewhere: Vec<Elsewhere<'a>>,
}

impl<'a> Located<'a> {
    fn new(diagnostic: &'a Diagnostic, report: &'a Report) -> Self {
        let own = report.sources.file_at(diagnostic.span().start);
        let source = own.map(|file| &*file.text);
        let mut located = Self { diagnostic, source, labels: Vec::new(), elsewhere: Vec::new() };
        for Label { span, text, primary } in &diagnostic.labels {
            let Some(file) = report.sources.file_at(span.start) else { continue };
            let end = span.end.min(span.start.saturating_add(LABEL_BYTES_MAX));
            let bytes = file.local(Span::new(span.start, end));
            let text = (!text.is_empty()).then(|| text.clone());
            if own.is_some_and(|own| own.start == file.start) {
                located.labels.push(if *primary {
                    LabeledSpan::new_primary_with_span(text, bytes)
                } else {
                    LabeledSpan::new_with_span(text, bytes)
                });
            } else {
                let label = LabeledSpan::new_primary_with_span(None, bytes);
                located.elsewhere.push(Elsewhere {
                    text: text.unwrap_or_default(),
                    source: &file.text,
                    label,
                });
            }
        }
        located
    }
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Located<'_> {}

impl miette::Diagnostic for Located<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.map(|source| source as &dyn miette::SourceCode)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let related = self.elsewhere.iter().map(|remark| remark as &dyn miette::Diagnostic);
        (!self.elsewhere.is_empty()).then(|| Box::new(related) as Box<dyn Iterator<Item = _>>)
    }
}

/// The labels of a diagnostic in another file.
#[derive(Debug)]
struct Elsewhere<'a> {
    text: String,
    source: &'a Indexed,
    label: LabeledSpan,
}

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Elsewhere<'_> {}

impl miette::Diagnostic for Elsewhere<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.label.clone())))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(self.source)
    }
}
