//! Everything that is wrong with one source text, sorted by place.

use super::context::steers_a_terminal;
use super::diagnostic::Diagnostic;
use miette::NamedSource;
use std::fmt;

/// So many findings are kept; a file with more of them is not read to its end by anybody.
pub const DIAGNOSTICS_MAX: usize = 100;

/// All findings about one source text, together with that text.
#[derive(Debug)]
pub struct Report {
    source: NamedSource<String>,
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
}

impl Report {
    /// Sorts the findings by place and keeps the first [`DIAGNOSTICS_MAX`] of them.
    pub(crate) fn new(name: &str, text: &str, mut diagnostics: Vec<Diagnostic>) -> Self {
        for diagnostic in &mut diagnostics {
            for label in &mut diagnostic.labels {
                label.span = label.span.clamp_to(text);
            }
        }
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span().start, diagnostic.code));
        // An anchor that is used in several places is wrong only once.
        diagnostics.dedup();
        let omitted = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
        diagnostics.truncate(DIAGNOSTICS_MAX);
        Self { source: NamedSource::new(name, harmless(text)), diagnostics, omitted }
    }

    /// The name of the source, as messages show it.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// The source text, safe to print: what would steer a terminal is replaced, byte for byte.
    pub fn text(&self) -> &str {
        self.source.inner()
    }

    /// The findings, sorted by place.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many findings there are beyond those that are kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Each finding with the source text, ready for a miette report handler.
    pub fn located(&self) -> impl Iterator<Item = Located<'_>> {
        self.diagnostics.iter().map(|diagnostic| Located { diagnostic, report: self })
    }

    /// The line and the column of a byte, both from 1; the column counts characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text()[..offset.min(self.text().len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A Sandboxfile may come from anybody. Characters that move the cursor or turn text around are shown as
/// others of the same length, so that all places stay right.
fn harmless(text: &str) -> String {
    let mut rest = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        let is_text = matches!(c, '\n' | '\t') || (c == '\r' && rest.peek() == Some(&'\n'));
        out.push(match c.len_utf8() {
            _ if is_text || !steers_a_terminal(c) => c,
            1 => '?',
            2 => '¿',
            _ => '\u{FFFD}',
        });
    }
    out
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.diagnostics.len() + self.omitted {
            1 => write!(f, "{} has an error", self.name()),
            count => write!(f, "{} has {count} errors", self.name()),
        }
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(self.diagnostics.iter().map(|diagnostic| diagnostic as &dyn miette::Diagnostic)))
    }
}

/// One finding together with the source text that its labels point into.
#[derive(Debug)]
pub struct Located<'a> {
    diagnostic: &'a Diagnostic,
    report: &'a Report,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.diagnostic, f)
    }
}

impl std::error::Error for Located<'_> {}

impl miette::Diagnostic for Located<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.code()
    }

    fn severity(&self) -> Option<miette::Severity> {
        self.diagnostic.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        self.diagnostic.labels()
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.report.source)
    }
}
