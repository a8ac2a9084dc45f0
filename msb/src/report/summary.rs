//! Plan and outcome as Markdown, for the job summary on GitHub.

use crate::apply::seconds;
use crate::output::escape_controls;
use crate::output::plan::verb;
use crate::output::words;
use crate::progress::{Ended, StepRecord};
use crate::report::RunOutcome;
use executor::apply::Outcome;
use schemas::excerpt::excerpt;
use schemas::report::{Action, Blocked, FieldChange, Report, SandboxChange, VolumeChange};

/// Maximum rows of a table; GitHub accepts 1 MiB for the whole page.
const ROWS_MAX: usize = 200;
/// Maximum characters of a cell.
const CELL_MAX: usize = 200;
/// Maximum lines of a failure.
const DETAILS_MAX: usize = 50;

/// Formats the outcome of a command.
pub fn text(outcome: &RunOutcome<'_>) -> String {
    let mut text = format!("### msb {}", outcome.command);
    if let Some(project) = outcome.project {
        text.push_str(&format!(": {}", cell(project)));
    }
    let sign = if outcome.error.is_some() { "❌ failed" } else { "✅ done" };
    text.push_str(&format!("\n\n{sign} in {}\n", seconds(outcome.took)));
    if let Some(report) = outcome.report {
        push_changes(&mut text, report);
    }
    push_steps(&mut text, outcome.steps);
    for StepRecord { title, ended, .. } in outcome.steps {
        if let Ended::Failed(failure) = ended {
            text.push_str(&format!("\n**{}**: {}\n", cell(title), cell(&failure.message)));
            push_block(&mut text, &failure.details);
            if let Some(hint) = &failure.hint {
                text.push_str(&format!("\nhint: {}\n", cell(hint)));
            }
        }
    }
    if let Some(error) = outcome.error {
        text.push_str(&format!("\n**error**: {}\n", cell(&error.message)));
        push_block(&mut text, &error.causes);
        if let Some(hint) = &error.hint {
            text.push_str(&format!("\nhint: {}\n", cell(hint)));
        }
    }
    if !outcome.findings.is_empty() {
        text.push_str("\n| place | what | help |\n| --- | --- | --- |\n");
        for finding in outcome.findings.iter().take(ROWS_MAX) {
            let help = finding.help.as_deref().unwrap_or_default();
            text.push_str(&format!(
                "| {} | {} | {} |\n",
                cell(&finding.location()),
                cell(&finding.sentence()),
                cell(help)
            ));
        }
    }
    text.push('\n');
    text
}

fn push_changes(text: &mut String, report: &Report) {
    let Report { changes, volumes, blocked } = report;
    let mut rows: Vec<String> = Vec::new();
    for SandboxChange { name, action, reason, drift, fields } in changes {
        let fields: Vec<_> = fields.iter().map(field).collect();
        let mut why = cell(&words::reason(reason));
        if let Some(drift) = drift {
            why.push_str(&format!("<br>{}", cell(&words::drift(drift))));
        }
        rows.extend(row(*action, name.as_str(), &why, &fields.join("<br>")));
    }
    for VolumeChange { name, action, reason } in volumes {
        rows.extend(row(*action, &format!("volume {name}"), &cell(&words::volume_reason(reason)), ""));
    }
    for Blocked { name, reason } in blocked {
        rows.push(format!(
            "| blocked | {} | {} | |\n",
            cell(name.as_str()),
            cell(&words::block_reason(reason))
        ));
    }
    let unchanged = report.unchanged();
    if rows.is_empty() {
        text.push_str(&format!("\nNo changes; {unchanged} as declared.\n"));
        return;
    }
    text.push_str("\n| change | what | why | fields |\n| --- | --- | --- | --- |\n");
    rows.iter().take(ROWS_MAX).for_each(|row| text.push_str(row));
    push_more(text, rows.len());
    let losses = report.losses().len();
    if losses > 0 {
        text.push_str(&format!("\n⚠️ This destroys data: {losses} with what was written to it.\n"));
    }
    if unchanged > 0 {
        text.push_str(&format!("\n{unchanged} unchanged.\n"));
    }
}

/// Returns a row of the table of changes; `None` for unchanged ones.
fn row(action: Action, what: &str, why: &str, fields: &str) -> Option<String> {
    let sign = if action.loses_the_disk() { "⚠️ " } else { "" };
    (action != Action::Unchanged)
        .then(|| format!("| {sign}{} | {} | {why} | {fields} |\n", verb(action), cell(what)))
}

fn field(FieldChange { field, old, new, kind: _ }: &FieldChange) -> String {
    let value = |value: &Option<String>| value.as_ref().map_or("not set".to_owned(), |value| cell(value));
    format!("{}: {} → {}", cell(field), value(old), value(new))
}

fn push_steps(text: &mut String, steps: &[StepRecord]) {
    if steps.is_empty() {
        return;
    }
    text.push_str("\n| step | result | time |\n| --- | --- | ---: |\n");
    for StepRecord { id: _, title, sandbox: _, took, ended } in steps.iter().take(ROWS_MAX) {
        let (result, time) = match ended {
            Ended::Succeeded(Outcome::NotNeeded) => ("✅ no change", seconds(*took)),
            Ended::Succeeded(_) => ("✅ done", seconds(*took)),
            Ended::Failed(_) => ("❌ failed", seconds(*took)),
            Ended::Interrupted => ("interrupted", seconds(*took)),
            Ended::Skipped { .. } => ("skipped", String::new()),
        };
        text.push_str(&format!("| {} | {result} | {time} |\n", cell(title)));
    }
    push_more(text, steps.len());
}

fn push_more(text: &mut String, count: usize) {
    if count > ROWS_MAX {
        text.push_str(&format!("\n… and {} more.\n", count - ROWS_MAX));
    }
}

/// Appends lines in a code block whose fence is longer than any in them.
fn push_block(text: &mut String, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let lines: Vec<_> = lines.iter().flat_map(|line| line.lines()).map(escape_controls).collect();
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    text.push_str(&format!("\n{fence}text\n"));
    for line in lines.iter().take(DETAILS_MAX) {
        text.push_str(&format!("{}\n", excerpt(line, CELL_MAX)));
    }
    text.push_str(&format!("{fence}\n"));
}

/// Escapes text for a table cell.
fn cell(text: &str) -> String {
    let mut shown = String::new();
    for c in excerpt(&escape_controls(text), CELL_MAX).chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            // Prevents mentions and links.
            '@' | ':' => shown.push_str(&format!("&#{};", u32::from(c))),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' => shown.extend(['\\', c]),
            '\t' => shown.push(' '),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::with_outcome;

    #[test]
    fn a_plan_and_its_outcome() {
        with_outcome(|outcome| insta::assert_snapshot!(text(outcome)));
    }

    #[test]
    fn cells_and_blocks_are_escaped() {
        assert_eq!(cell("a|b\n`c` <img> @x"), "a\\|b\\\\n\\`c\\` &lt;img&gt; &#64;x");
        assert_eq!(cell(&"x".repeat(1_000)).chars().count(), CELL_MAX + 1);
        let mut block = String::new();
        push_block(&mut block, &["```` ends\nit".to_owned()]);
        assert_eq!(block, "\n`````text\n```` ends\nit\n`````\n");
        block.clear();
        push_block(&mut block, &["a\n".repeat(DETAILS_MAX + 5)]);
        assert_eq!(block.matches("a\n").count(), DETAILS_MAX);
    }
}
