//! JUnit XML: one test case a step, so that a CI's test page shows what came up and what did not.

use crate::apply::seconds;
use crate::progress::{Ended, StepRecord};
use crate::report::RunOutcome;
use schemas::plan::StepId;
use std::collections::HashMap;
use std::time::Duration;

/// The whole document.
pub fn text(told: &RunOutcome<'_>) -> String {
    let mut first: HashMap<_, &StepId> = HashMap::new();
    for StepRecord { id, title, sandbox, took: _, ended: _ } in told.steps {
        let first = first.entry((sandbox.as_deref(), title.as_str())).or_insert(id);
        *first = id.min(first);
    }
    let name = |step: &StepRecord| match first.get(&(step.sandbox.as_deref(), step.title.as_str())) {
        // Pages tell cases apart by class and name: to start a sandbox and to wait until it has are two steps.
        Some(first) if step.sandbox.is_some() && **first != step.id => {
            format!("{} ({})", step.title, step.id)
        }
        Some(_) | None => step.title.clone(),
    };
    let mut cases: Vec<String> = told.steps.iter().map(|step| case(told, step, &name(step))).collect();
    let mut failures = told.steps.iter().filter(|step| matches!(step.ended, Ended::Failed(_))).count();
    let skipped = told
        .steps
        .iter()
        .filter(|step| matches!(step.ended, Ended::Skipped { .. } | Ended::Interrupted))
        .count();
    // What failed before, or beside, the steps is a case of its own: else the page would be green.
    if let Some(error) = told.error.filter(|_| failures == 0) {
        failures += 1;
        let details: Vec<_> = error.causes.iter().cloned().chain(error.hint.clone()).collect();
        let mut body = details.join("\n");
        for finding in told.findings {
            let place = finding.place().map_or((1, 1), |place| (place.line, place.column));
            let help = finding.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
            let sentence = finding.sentence();
            body.push_str(&format!("{}:{}:{}: {sentence}{help}\n", finding.file, place.0, place.1));
        }
        let failure = failure(&error.message, &body);
        cases.push(testcase("msb", &format!("msb {}", told.command), told.took, &failure));
    }
    let suite = told.project.unwrap_or("msb");
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{}\"",
        cases.len(),
        time(told.took)
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"msb {}\" {counts}>\n  <testsuite \
         name=\"{}\" timestamp=\"{}\" {counts}>\n{}  </testsuite>\n</testsuites>\n",
        told.command,
        escape(suite),
        escape(told.began),
        cases.concat(),
    )
}

fn case(told: &RunOutcome<'_>, step: &StepRecord, name: &str) -> String {
    let StepRecord { id, title: _, sandbox, took, ended } = step;
    let body = match ended {
        Ended::Succeeded(_) => String::new(),
        Ended::Failed(problem) => {
            let mut lines = problem.details.clone();
            lines.extend(problem.hint.iter().map(|hint| format!("hint: {hint}")));
            lines.push(format!("after {}", seconds(*took)));
            failure(&problem.message, &lines.join("\n"))
        }
        Ended::Interrupted => skipped("interrupted"),
        Ended::Skipped { because } => skipped(&match because {
            Some(because) => format!("because of {}", title_of(told, because)),
            None => "not begun".to_owned(),
        }),
    };
    let about = sandbox.clone().unwrap_or_else(|| id.to_string());
    let class = format!("{}.{about}", told.project.unwrap_or("msb"));
    testcase(&class, name, *took, &body)
}

fn title_of(told: &RunOutcome<'_>, id: &StepId) -> String {
    told.steps.iter().find(|step| step.id == *id).map_or_else(|| id.to_string(), |step| step.title.clone())
}

fn testcase(class: &str, name: &str, took: Duration, body: &str) -> String {
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        escape(class),
        escape(name),
        time(took)
    );
    if body.is_empty() { format!("{head}/>\n") } else { format!("{head}>\n{body}    </testcase>\n") }
}

fn failure(message: &str, body: &str) -> String {
    format!("      <failure message=\"{}\">{}</failure>\n", escape(message), escape(body))
}

fn skipped(message: &str) -> String {
    format!("      <skipped message=\"{}\"/>\n", escape(message))
}

fn time(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// Text as it may stand in an attribute or an element. What XML 1.0 has no way to write is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // In an attribute a reader makes a blank of them.
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::told;

    #[test]
    fn what_xml_cannot_say_is_left_out() {
        assert_eq!(
            escape("a<b> & \"c\"\n\t\r\0\x1b[31m\u{FFFE}\u{FFFF}\u{10FFFF}ä"),
            "a&lt;b&gt; &amp; &quot;c&quot;&#10;&#9;&#13;[31m\u{10FFFF}ä"
        );
    }

    #[test]
    fn a_case_for_every_step() {
        told(|told| insta::assert_snapshot!(text(told)));
    }

    #[test]
    fn no_two_cases_have_the_same_name() {
        told(|told| {
            let first = told.steps.iter().find(|step| step.sandbox.is_some()).unwrap();
            let second = StepRecord { id: "wait/same/started".parse().unwrap(), ..first.clone() };
            let steps = [first.clone(), second];
            let shown = text(&RunOutcome { steps: &steps, ..*told });
            assert!(shown.contains(&format!("name=\"{}\"", first.title)), "{shown}");
            assert!(shown.contains(&format!("name=\"{} (wait/same/started)\"", first.title)), "{shown}");
        });
    }

    #[test]
    fn what_was_interrupted_counts_as_skipped() {
        told(|told| {
            let step = StepRecord { ended: Ended::Interrupted, ..told.steps[0].clone() };
            let shown = text(&RunOutcome { steps: &[step], ..*told });
            assert!(
                shown.contains("skipped=\"1\"") && shown.contains("<skipped message=\"interrupted\"/>"),
                "{shown}"
            );
        });
    }

    #[test]
    fn what_fails_before_any_step_is_a_case() {
        told(|told| {
            let told = RunOutcome { steps: &[], project: None, ..*told };
            let shown = text(&told);
            assert!(shown.contains("tests=\"1\" failures=\"1\""), "{shown}");
            assert!(shown.contains("<failure message=\"2 steps &lt;failed&gt;\">"), "{shown}");
        });
    }
}
