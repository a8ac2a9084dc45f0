//! A diagnostic: the problem, its place in the file, and the next step.

use super::Code;
use crate::syntax::Span;

/// The severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but probably does not mean what it says.
    Warning,
}

/// A remark on a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The span.
    pub span: Span,
    /// The text shown below the span; empty for none.
    pub text: String,
    /// Whether this is the span to change, rather than a related one.
    pub primary: bool,
}

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// The severity of a diagnostic.
    pub severity: Severity,
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The next step.
    pub help: Option<String>,
    /// The labels, the primary one first.
    pub labels: Vec<Label>,
}

impl Diagnostic {
    /// Returns an error at `span`.
    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        let label = Label { span, text: String::new(), primary: true };
        Self { code, severity: Severity::Error, message: message.into(), help: None, labels: vec![label] }
    }

    /// Returns a warning at `span`.
    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Sets the text below the primary span.
    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        self.labels[0].text = text.into();
        self
    }

    /// Adds a label on a related span.
    pub(crate) fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    /// Sets the next step.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Moves every label by `offset` bytes.
    pub(crate) fn moved_by(mut self, offset: usize) -> Self {
        self.labels.iter_mut().for_each(|label| label.span = label.span.moved_by(offset));
        self
    }

    /// Returns the primary span.
    pub fn span(&self) -> Span {
        self.labels.first().map(|label| label.span).unwrap_or_default()
    }
}
