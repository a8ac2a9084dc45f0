//! The error of a failed `msb`: from the JSON on the last line of its standard error, or else from its text.

use crate::error::{Error, Report};
use serde::Deserialize;
use serde_json::Value;

/// The longest text of an error without a report, in characters.
const TEXT_CHARS_MAX: usize = 2000;

#[derive(Deserialize)]
struct Document {
    error: ReportedError,
    #[serde(default)]
    findings: Vec<Value>,
}

/// The `error` in the documents of `msb`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ReportedError {
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub causes: Vec<String>,
    #[serde(default)]
    pub hint: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
}

impl From<ReportedError> for Error {
    fn from(error: ReportedError) -> Self {
        let ReportedError { code, message, causes, hint, name } = error;
        Self::from_report(Report { code, message, causes, hint, name, ..Report::default() })
    }
}

/// Returns the error of a run of `msb` about something of this name.
pub(crate) fn failure(exit_code: i32, stderr: &[u8], name: Option<&str>) -> Error {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    let (above, last) = text.rsplit_once('\n').unwrap_or(("", text));
    let document: Option<Document> = serde_json::from_str(last).ok();
    let (mut report, is_too_broad) = match document {
        Some(Document { error, findings }) => reported(error, &findings),
        None => (unreported(text, exit_code), false),
    };
    if is_too_broad || text.contains("suffix_too_broad") || report.code == "suffix-too-broad" {
        report.code = "suffix-too-broad".to_owned();
        report.raw = broad_suffix(&report.message).or_else(|| broad_suffix(above));
    } else if matches!(report.code.as_str(), "failed" | "usage") {
        let texts: Vec<&str> =
            std::iter::once(&report.message).chain(&report.causes).map(String::as_str).collect();
        let dropped = texts.iter().find_map(|text| missing_segment(text));
        if let Some(code) = code_of_text(&texts) {
            report.code = code.to_owned();
            report.dropped_from_offset = dropped;
        }
    }
    report.exit_code = Some(exit_code);
    report.name = report.name.or_else(|| name.map(str::to_owned));
    Error::from_report(report)
}

/// Returns a report, whose text is that of the first finding about a Sandboxfile or a command line.
fn reported(error: ReportedError, findings: &[Value]) -> (Report, bool) {
    let ReportedError { code, mut message, causes, mut hint, name } = error;
    let first = findings.first();
    if let Some(found) = first.and_then(|finding| finding["message"].as_str()) {
        message = found.to_owned();
        let help = first.and_then(|finding| finding["help"].as_str());
        hint = hint.or_else(|| help.map(str::to_owned));
    }
    let is_too_broad = first.is_some_and(|finding| finding.to_string().contains("suffix_too_broad"));
    (Report { code, message, causes, hint, name, ..Report::default() }, is_too_broad)
}

/// Reads the error of an `msb` that prints no JSON, which ended before it knew its options.
fn unreported(text: &str, exit_code: i32) -> Report {
    let hint = text.lines().rev().find_map(|line| line.strip_prefix("hint: ")).map(str::to_owned);
    let error = text.lines().find_map(|line| line.strip_prefix("error: "));
    let message = match error {
        Some(message) => message.to_owned(),
        None if text.is_empty() => format!("msb ended with exit code {exit_code}"),
        None => text.lines().filter(|line| !line.starts_with("hint: ")).collect::<Vec<_>>().join("\n"),
    };
    let message = message.chars().take(TEXT_CHARS_MAX).collect();
    let code = match exit_code {
        3 => "mismatch",
        4 => "timed-out",
        5 => "locked",
        64 => "usage",
        130 => "interrupted",
        143 => "terminated",
        _ => "failed",
    };
    Report { code: code.to_owned(), message, hint, ..Report::default() }
}

/// Returns the code of errors that `msb` has no code for.
fn code_of_text(texts: &[&str]) -> Option<&'static str> {
    const CODES: [(&str, &str); 6] = [
        ("missed a rotation", "missed-rotation"),
        ("is not a cursor", "invalid-cursor"),
        ("does not belong to this", "invalid-cursor"),
        ("there is no job ", "job-not-found"),
        ("does not run", "sandbox-not-running"),
        ("is not running", "sandbox-not-running"),
    ];
    CODES.into_iter().find(|(part, _)| texts.iter().any(|text| text.contains(part))).map(|(_, code)| code)
}

/// Returns the number in "the next file 3 of exec.log was removed", which msb says in its texts only.
fn missing_segment(text: &str) -> Option<u64> {
    let (_, after) = text.split_once("the next file ")?;
    after.split_once(" of ")?.0.parse().ok()
}

/// Returns the suffix in "`*.com` matches …".
fn broad_suffix(text: &str) -> Option<String> {
    let (before, _) = text.split_once("` matches")?;
    let (_, suffix) = before.rsplit_once('`')?;
    (!suffix.contains(char::is_whitespace)).then(|| suffix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(exit_code: i32, stderr: &str) -> Error {
        failure(exit_code, stderr.as_bytes(), Some("web"))
    }

    #[test]
    fn a_report_on_the_last_line_is_the_error() {
        let stderr = "  ✓ image built\nerror: …\n{\"version\":1,\"error\":{\"code\":\"sandbox-exists\",\"message\":\"m\",\
                      \"causes\":[\"c\"],\"hint\":\"h\",\"name\":\"a\"}}\n";
        let error = error(7, stderr);
        assert!(matches!(error, Error::SandboxExists(_)), "{error:?}");
        assert_eq!((error.name(), error.hint(), error.exit_code()), (Some("a"), Some("h"), Some(7)));
        assert_eq!(error.to_string(), "m: c (hint: h)");
    }

    #[test]
    fn an_unknown_code_is_kept() {
        let error =
            error(1, r#"{"error":{"code":"moon-phase","message":"not tonight","causes":[],"hint":null}}"#);
        assert!(matches!(error, Error::Failed(_)));
        assert_eq!((error.code(), error.name()), ("moon-phase", Some("web")));
    }

    #[test]
    fn a_text_without_a_report_is_the_message() {
        let usage = error(64, "error: unexpected argument\nhint: try --help\n");
        assert_eq!((usage.code(), usage.message().as_str()), ("usage", "unexpected argument"));
        assert_eq!(usage.hint(), Some("try --help"));
        assert_eq!(error(5, "").code(), "locked");
        let rotated = error(1, "error: web: missed a rotation: the next file 3 of exec.log was removed");
        assert!(matches!(rotated, Error::MissedRotation(report) if report.dropped_from_offset == Some(3)));
        assert_eq!(error(1, "error: \"bad\" is not a cursor").code(), "invalid-cursor");
    }

    #[test]
    fn a_public_suffix_is_named() {
        let error = error(64, "suffix_too_broad\n  × `*.com` matches every name below a public suffix");
        assert!(
            matches!(&error, Error::SuffixTooBroad(report) if report.raw.as_deref() == Some("*.com")),
            "{error:?}"
        );
    }
}
