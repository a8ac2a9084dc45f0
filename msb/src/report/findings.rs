//! Findings in a Sandboxfile as data, with lines and columns.
//!
//! `validate --format json` prints them; annotations and reports are derived from them.

use sandboxfile::{Diagnostic, Label, Report, Severity};
use serde::Serialize;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct Finding {
    /// Its stable code: `msb::sandboxfile::unknown_property`.
    pub code: &'static str,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
    /// The file, as on the command line.
    pub file: String,
    /// Source ranges, the one to change first. Empty if the finding is about the whole file.
    pub labels: Vec<SourceRange>,
}

/// A range of a file. Lines and columns count from 1, columns in characters; ends are exclusive.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct SourceRange {
    /// The file.
    pub file: String,
    /// The line of the start.
    pub line: usize,
    /// The column of the start.
    pub column: usize,
    /// The line of the end.
    pub end_line: usize,
    /// The column of the end.
    pub end_column: usize,
    /// Start and end in bytes, from 0.
    pub bytes: [usize; 2],
    /// A remark on this range; may be empty.
    pub text: String,
    /// Whether this is the range to change, rather than a related one.
    pub primary: bool,
}

impl Finding {
    /// Returns the range to change.
    pub fn range(&self) -> Option<&SourceRange> {
        self.labels.first()
    }

    /// Formats the start of the range to change: `FILE:LINE:COLUMN`.
    pub fn location(&self) -> String {
        let (line, column) = self.range().map_or((1, 1), |range| (range.line, range.column));
        format!("{}:{line}:{column}", self.file)
    }

    /// Returns whether it prevents the use of the file.
    pub fn is_error(&self) -> bool {
        self.severity == ERROR
    }

    /// Returns the message with the remark on the range to change.
    pub fn sentence(&self) -> String {
        match self.range() {
            Some(range) if !range.text.is_empty() => format!("{}: {}", self.message, range.text),
            _ => self.message.clone(),
        }
    }
}

const ERROR: &str = "error";
const WARNING: &str = "warning";

/// Returns the findings of a report.
pub fn of(report: &Report) -> Vec<Finding> {
    report.diagnostics().iter().map(|diagnostic| finding(report, diagnostic)).collect()
}

fn finding(report: &Report, diagnostic: &Diagnostic) -> Finding {
    let Diagnostic { code, severity, message, help, labels } = diagnostic;
    Finding {
        code: code.as_str(),
        severity: match severity {
            Severity::Error => ERROR,
            Severity::Warning => WARNING,
        },
        message: message.clone(),
        help: help.clone(),
        file: report.place(diagnostic.span()).file.to_owned(),
        labels: labels.iter().map(|label| range(report, label)).collect(),
    }
}

fn range(report: &Report, Label { span, text, primary }: &Label) -> SourceRange {
    let sandboxfile::SourceRange { file, line, column, end_line, end_column, bytes } = report.place(*span);
    SourceRange {
        file: file.to_owned(),
        line,
        column,
        end_line,
        end_column,
        bytes: [bytes.start, bytes.end],
        text: text.clone(),
        primary: *primary,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use sandboxfile::{AssumePresent, Format, Input, Source, load};

    /// Returns the findings of a text.
    pub fn of_text(text: &str) -> Vec<Finding> {
        let source = Source {
            name: "a,b/Sandboxfile",
            path: None,
            bytes: text.as_bytes(),
            format: Format::Kdl,
            folder: "/srv",
        };
        let default_project = schemas::name::ProjectName::new("shop").ok();
        let input = Input { default_project, ..Input::of(source) };
        of(&load(&input, &AssumePresent).expect_err("the text is wrong"))
    }

    #[test]
    fn ranges_count_characters_and_bytes() {
        let findings = of_text("sandbox \"web\" {\n    image \"./ä\"; enviroment { A \"ü\" }\n}\n");
        let [Finding { code, severity, help, labels, .. }] = findings.as_slice() else {
            panic!("expected one finding: {findings:?}")
        };
        assert_eq!((*code, *severity), ("msb::sandboxfile::unknown_property", "error"));
        assert!(help.as_ref().is_some_and(|help| help.contains("env")), "{help:?}");
        let SourceRange { line, column, end_line, end_column, bytes, primary, .. } = &labels[0];
        assert_eq!((*line, *column, *end_line, *end_column, *primary), (2, 18, 2, 28, true));
        // The ä before it has two bytes.
        assert_eq!(*bytes, [34, 44]);
    }
}
