//! JUnit XML: one test case per step, for the test page of a CI system.

use crate::apply::seconds;
use crate::progress::stream::Counts;
use crate::progress::{Ended, StepRecord};
use crate::report::RunOutcome;
use schemas::plan::StepId;
use std::collections::HashMap;
use std::time::Duration;

/// Formats the outcome of a command.
pub fn text(outcome: &RunOutcome<'_>) -> String {
    let mut first: HashMap<_, &StepId> = HashMap::new();
    for StepRecord { id, title, sandbox, took: _, ended: _ } in outcome.steps {
        let first = first.entry((sandbox.as_deref(), title.as_str())).or_insert(id);
        *first = id.min(first);
    }
    let name = |step: &StepRecord| match first.get(&(step.sandbox.as_deref(), step.title.as_str())) {
        // Test pages identify cases by class and name, and a sandbox may have two steps of one title.
        Some(first) if step.sandbox.is_some() && **first != step.id => {
            format!("{} ({})", step.title, step.id)
        }
        Some(_) | None => step.title.clone(),
    };
    let mut cases: Vec<String> = outcome.steps.iter().map(|step| case(outcome, step, &name(step))).collect();
    let Counts { failed: mut failures, interrupted, skipped, succeeded: _ } = Counts::of(outcome.steps);
    // A failure outside of the steps needs its own case, otherwise the page would show success.
    if let Some(error) = outcome.error.filter(|_| failures == 0) {
        failures += 1;
        let details: Vec<_> = error.causes.iter().cloned().chain(error.hint.clone()).collect();
        let mut body = details.join("\n");
        for finding in outcome.findings {
            let help = finding.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
            body.push_str(&format!("{}: {}{help}\n", finding.location(), finding.sentence()));
        }
        let failure = failure(&error.message, &body);
        cases.push(testcase("msb", &format!("msb {}", outcome.command), outcome.took, &failure));
    }
    let suite = outcome.project.unwrap_or("msb");
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        interrupted + skipped,
        time(outcome.took)
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"msb {}\" {counts}>\n  <testsuite \
         name=\"{}\" timestamp=\"{}\" {counts}>\n{}  </testsuite>\n</testsuites>\n",
        outcome.command,
        escape(suite),
        escape(outcome.began),
        cases.concat(),
    )
}

fn case(outcome: &RunOutcome<'_>, step: &StepRecord, name: &str) -> String {
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
            Some(because) => format!("because of {}", title_of(outcome, because)),
            None => "not started".to_owned(),
        }),
    };
    let about = sandbox.clone().unwrap_or_else(|| id.to_string());
    let class = format!("{}.{about}", outcome.project.unwrap_or("msb"));
    testcase(&class, name, *took, &body)
}

fn title_of(outcome: &RunOutcome<'_>, id: &StepId) -> String {
    outcome.steps.iter().find(|step| step.id == *id).map_or_else(|| id.to_string(), |step| step.title.clone())
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

/// Escapes text for an attribute or an element. Characters that XML 1.0 cannot represent are dropped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Literal ones become blanks in attributes.
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
    use crate::report::tests::with_outcome;

    #[test]
    fn characters_that_xml_cannot_represent_are_dropped() {
        assert_eq!(
            escape("a<b> & \"c\"\n\t\r\0\x1b[31m\u{FFFE}\u{FFFF}\u{10FFFF}ä"),
            "a&lt;b&gt; &amp; &quot;c&quot;&#10;&#9;&#13;[31m\u{10FFFF}ä"
        );
    }

    #[test]
    fn a_case_for_every_step() {
        with_outcome(|outcome| insta::assert_snapshot!(text(outcome)));
    }

    #[test]
    fn no_two_cases_have_the_same_name() {
        with_outcome(|outcome| {
            let first = outcome.steps.iter().find(|step| step.sandbox.is_some()).unwrap();
            let second = StepRecord { id: "wait/same/started".parse().unwrap(), ..first.clone() };
            let steps = [first.clone(), second];
            let shown = text(&RunOutcome { steps: &steps, ..*outcome });
            assert!(shown.contains(&format!("name=\"{}\"", first.title)), "{shown}");
            assert!(shown.contains(&format!("name=\"{} (wait/same/started)\"", first.title)), "{shown}");
        });
    }

    #[test]
    fn interrupted_steps_count_as_skipped() {
        with_outcome(|outcome| {
            let step = StepRecord { ended: Ended::Interrupted, ..outcome.steps[0].clone() };
            let shown = text(&RunOutcome { steps: &[step], ..*outcome });
            assert!(
                shown.contains("skipped=\"1\"") && shown.contains("<skipped message=\"interrupted\"/>"),
                "{shown}"
            );
        });
    }

    #[test]
    fn a_failure_before_any_step_is_a_case() {
        with_outcome(|outcome| {
            let outcome = RunOutcome { steps: &[], project: None, ..*outcome };
            let shown = text(&outcome);
            assert!(shown.contains("tests=\"1\" failures=\"1\""), "{shown}");
            assert!(shown.contains("<failure message=\"2 steps &lt;failed&gt;\">"), "{shown}");
        });
    }
}
