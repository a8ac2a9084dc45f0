//! Reports for GitLab: terraform reports of plans, code quality reports of findings.

use super::findings::Finding;
use schemas::digest::Digest;
use schemas::report::{Action, Report};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Returns the terraform report of a plan. As in terraform, a replacement is a creation and a deletion.
pub fn terraform(report: Option<&Report>) -> Value {
    let all: Vec<Action> = report.map_or_else(Vec::new, |report| {
        let Report { changes, volumes, blocked: _ } = report;
        let sandboxes = changes.iter().map(|change| change.action);
        sandboxes.chain(volumes.iter().map(|change| change.action)).collect()
    });
    let count = |actions: &[Action]| all.iter().filter(|action| actions.contains(action)).count();
    json!({
        "create": count(&[Action::Create, Action::Replace]),
        "update": count(&[Action::Live, Action::Start, Action::Restart]),
        "delete": count(&[Action::Remove, Action::Replace]),
    })
}

/// Returns the code quality report of findings. `path` converts a file to a path in the repository.
pub fn code_quality(findings: &[Finding], path: &dyn Fn(&str) -> String) -> Value {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    findings.iter().map(|finding| issue(finding, path, &mut seen)).collect()
}

fn issue(finding: &Finding, path: &dyn Fn(&str) -> String, seen: &mut BTreeMap<String, usize>) -> Value {
    let range = finding.range();
    let path = path(range.map_or(&finding.file, |range| &range.file));
    let mut description = finding.sentence();
    if let Some(help) = &finding.help {
        description.push_str(&format!(" (help: {help})"));
    }
    // Independent of lines, so that a finding keeps its fingerprint when lines are added above it.
    let about = format!("{}\0{path}\0{}", finding.code, finding.message);
    let nth = seen.entry(about.clone()).or_default();
    *nth += 1;
    let fingerprint = Digest::of_bytes(format!("{about}\0{nth}").as_bytes());
    json!({
        "description": description,
        "check_name": finding.code,
        "fingerprint": fingerprint.hex(),
        "severity": if finding.is_error() { "blocker" } else { "minor" },
        "location": {
            "path": path,
            "lines": { "begin": range.map_or(1, |range| range.line), "end": range.map_or(1, |range| range.end_line) },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::plan::tests::sample;
    use crate::report::findings::tests::of_text;

    #[test]
    fn a_replacement_counts_twice() {
        assert_eq!(terraform(Some(&sample())), json!({ "create": 2, "update": 3, "delete": 2 }));
        assert_eq!(terraform(None), json!({ "create": 0, "update": 0, "delete": 0 }));
    }

    #[test]
    fn fingerprints_are_unique_and_do_not_depend_on_the_line() {
        let wrong = "sandbox \"a\" { image \"./a\"; memory 5 }\nsandbox \"b\" { image \"./a\"; memory 5 }\n";
        let prints = |text: &str| -> Vec<String> {
            let report = code_quality(&of_text(text), &str::to_owned);
            let issues = report.as_array().cloned().unwrap_or_default();
            issues.iter().map(|issue| issue["fingerprint"].to_string()).collect()
        };
        let before = prints(wrong);
        assert_eq!(before.len(), 2);
        assert_ne!(before[0], before[1]);
        assert_eq!(before, prints(&format!("// a comment\n\n{wrong}")));
    }

    #[test]
    fn issues_have_the_fields_that_gitlab_requires() {
        let path = |file: &str| format!("sub/{file}");
        let findings = of_text("sandbox \"web\" {\n    image \"./a\"; memory 512\n}\n");
        insta::assert_json_snapshot!(code_quality(&findings, &path));
        let warning = Finding { severity: "warning", ..findings[0].clone() };
        assert_eq!(code_quality(&[warning], &path)[0]["severity"], "minor");
    }
}
