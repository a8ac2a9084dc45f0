//! What is wrong with a Sandboxfile, as plain data for programs: every place with its lines and columns.
//!
//! `validate --format json` prints these; annotations and reports are made from them.

use sandboxfile::{Diagnostic, Label, Report, Severity};
use serde::Serialize;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its stable code: `msb::sandboxfile::unknown_property`.
    pub code: &'static str,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The file that it is about, as the command line has it.
    pub file: String,
    /// Where; the place to change comes first. Empty when the file as a whole is meant.
    pub labels: Vec<Place>,
}

/// A place in a file. Lines and columns count from 1, columns in characters; ends are behind the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Which file.
    pub file: String,
    /// The line of the first character.
    pub line: usize,
    /// Its column.
    pub column: usize,
    /// The line of the end.
    pub end_line: usize,
    /// The column of the end, not included.
    pub end_column: usize,
    /// The first byte, counted from 0, and the one behind the last.
    pub bytes: [usize; 2],
    /// The remark on this place; empty when the message says it all.
    pub text: String,
    /// Whether this is the place to change, rather than the other half of the story.
    pub primary: bool,
}

impl Finding {
    /// The place to change.
    pub fn place(&self) -> Option<&Place> {
        self.labels.first()
    }

    /// Whether the file cannot be used because of it.
    pub fn is_error(&self) -> bool {
        self.severity == ERROR
    }

    /// The message, with the remark on the place to change.
    pub fn sentence(&self) -> String {
        match self.place() {
            Some(place) if !place.text.is_empty() => format!("{}: {}", self.message, place.text),
            _ => self.message.clone(),
        }
    }
}

const ERROR: &str = "error";
const WARNING: &str = "warning";

/// The findings of a report.
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
        labels: labels.iter().map(|label| place(report, label)).collect(),
    }
}

fn place(report: &Report, Label { span, text, primary }: &Label) -> Place {
    let sandboxfile::Place { file, line, column, end_line, end_column, bytes } = report.place(*span);
    Place {
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

    /// The findings of a text.
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
    fn places_count_characters_and_bytes() {
        let findings = of_text("sandbox \"web\" {\n    image \"./ä\"; enviroment { A \"ü\" }\n}\n");
        let [Finding { code, severity, help, labels, .. }] = findings.as_slice() else {
            panic!("one finding was due: {findings:?}")
        };
        assert_eq!((*code, *severity), ("msb::sandboxfile::unknown_property", "error"));
        assert!(help.as_ref().is_some_and(|help| help.contains("env")), "{help:?}");
        let Place { line, column, end_line, end_column, bytes, primary, .. } = &labels[0];
        assert_eq!((*line, *column, *end_line, *end_column, *primary), (2, 18, 2, 28, true));
        // The ä before it has two bytes.
        assert_eq!(*bytes, [34, 44]);
    }
}
