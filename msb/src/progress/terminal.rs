//! Progress for people: bars on a terminal, a line for each step elsewhere.

use super::record::Record;
use crate::apply::seconds;
use crate::output::style::{BOLD_RED, CYAN, DIM, GREEN, YELLOW};
use crate::output::{OutputOptions, eprintln_lossy, escape_lines, sanitize};
use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use schemas::name::SandboxName;
use schemas::plan::StepId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Interval between frames of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// Shows the progress of a plan.
pub struct ProgressDisplay {
    record: Arc<Record>,
    /// The sandboxes that were reported as skipped.
    skipped: Mutex<HashSet<SandboxName>>,
    /// The sandboxes that a step has changed.
    changed: Mutex<HashSet<SandboxName>>,
    output: OutputOptions,
    bars: Option<MultiProgress>,
    open: Mutex<HashMap<StepId, ProgressBar>>,
}

impl ProgressDisplay {
    /// Starts the display of a plan.
    pub fn new(record: Arc<Record>, output: &OutputOptions) -> Self {
        let bars = output.bars.then(MultiProgress::new);
        Self {
            record,
            skipped: Mutex::default(),
            changed: Mutex::default(),
            output: *output,
            bars,
            open: Mutex::default(),
        }
    }

    /// Returns the line for a skipped step: one per sandbox, and none if a step of the same sandbox failed.
    fn skipped_line(&self, step: &StepId, because: Option<&StepId>) -> Option<String> {
        let reason = because.and_then(|because| self.record.text(because));
        let skipped = match self.record.text(step).and_then(|step| step.sandbox.as_ref()) {
            None => self.record.title(step).into_owned(),
            Some(sandbox) => {
                let own = reason.is_some_and(|reason| reason.sandbox.as_ref() == Some(sandbox));
                let mut reported = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
                if own || !reported.insert(sandbox.clone()) {
                    return None;
                }
                sandbox.to_string()
            }
        };
        Some(match (because, reason) {
            (None, _) => format!("  - {skipped} skipped: not started"),
            (Some(_), Some(reason)) => format!("  - {skipped} skipped because {}", reason.failure),
            (Some(because), None) => format!("  - {skipped} skipped because of {because}"),
        })
    }

    /// Returns whether a success is shown: that of a step that did something. A sandbox that was just started and is
    /// healthy before anyone waits for it is shown as healthy, too.
    fn is_shown(&self, step: &StepId, outcome: Outcome) -> bool {
        let text = self.record.text(step);
        let Some(sandbox) = text.and_then(|text| text.sandbox.as_ref()) else {
            return outcome != Outcome::NotNeeded;
        };
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome != Outcome::NotNeeded {
            changed.insert(sandbox.clone());
            return true;
        }
        text.is_some_and(|text| text.is_milestone) && changed.contains(sandbox)
    }

    /// Removes the bars.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(sanitize(text));
            }
            None => eprintln_lossy(text),
        }
    }

    /// Prints a line between the others, unless output is quiet.
    pub fn say(&self, text: &str) {
        if !self.output.quiet {
            self.line(text);
        }
    }

    fn begin(&self, step: &StepId) {
        let Some(bars) = &self.bars else { return };
        let bar = spinner("  {spinner} {msg} {elapsed}");
        let bar = bars.add(bar.with_message(self.record.title(step).into_owned()));
        bar.enable_steady_tick(TICK);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(step.clone(), bar);
    }

    fn end(&self, step: &StepId) {
        let bar = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(step);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }

    /// Prints a failure or warning of a step.
    fn problem(&self, head: &str, step: &StepId, failure: &StepFailure) {
        self.line(&self.problem_line(head, step, failure));
        for detail in &failure.details {
            self.line(&format!("      {}", escape_lines(detail, "      ")));
        }
        if let Some(hint) = &failure.hint {
            let head = self.output.style().paint(CYAN, "hint");
            self.line(&format!("      {head}: {}", escape_lines(hint, "      ")));
        }
    }

    fn problem_line(&self, head: &str, step: &StepId, failure: &StepFailure) -> String {
        format!("{head} {}: {}", self.record.title(step), escape_lines(&failure.message, "      "))
    }

    /// Shows an event.
    pub fn event(&self, event: &Event<'_>) {
        match event {
            Event::Began { step } => self.begin(step),
            Event::Progress { step, done, total: Some(total), unit, layers } => {
                let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(bar) = open.get(*step) else { return };
                advance(bar, *done, *total, unit);
                bar.set_message(match layers {
                    Some((here, of)) => format!("{} (layers: {here} of {of})", self.record.title(step)),
                    None => self.record.title(step).into_owned(),
                });
            }
            Event::Progress { total: None, .. } => {}
            Event::Succeeded { step, outcome, took } => {
                self.end(step);
                if self.is_shown(step, *outcome) && !self.output.quiet {
                    let style = self.output.style();
                    let (mark, took) = (style.paint(GREEN, "  ✓"), style.paint(DIM, &seconds(*took)));
                    self.line(&format!("{mark} {} {took}", self.record.title(step)));
                }
            }
            Event::Failed { step, failure } => {
                self.end(step);
                if self.output.failures {
                    self.problem(&self.output.style().paint(BOLD_RED, "  ✗"), step, failure);
                }
            }
            Event::Warned { step, failure } => {
                let head = self.output.style().paint(YELLOW, "  ! warning");
                self.problem(&format!("{head}:"), step, failure);
            }
            Event::Interrupted { step } => {
                self.end(step);
                self.line(&format!("  - {} interrupted", self.record.title(step)));
            }
            Event::Skipped { step, because } => {
                self.end(step);
                if self.output.failures
                    && let Some(line) = self.skipped_line(step, *because)
                {
                    self.line(&line);
                }
            }
        }
    }
}

/// Updates a bar, whose style depends on the unit.
fn advance(bar: &ProgressBar, done: u64, total: u64, unit: &str) {
    if bar.length() != Some(total) {
        bar.set_style(bar_style(unit));
        bar.set_length(total);
    }
    bar.set_position(done);
}

/// Creates a spinner.
pub fn spinner(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

/// Returns the style of a bar that counts in a unit.
pub fn bar_style(unit: &str) -> ProgressStyle {
    ProgressStyle::with_template(&bar_template(unit)).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Returns the template of a bar that counts in a unit.
fn bar_template(unit: &str) -> String {
    match unit {
        "bytes" => "  {spinner} {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}".to_owned(),
        unit => format!("  {{spinner}} {{msg}} {{bar:24}} {{pos}}/{{len}} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::record::StepText;
    use schemas::digest::Digest;
    use schemas::name::{ProjectName, SandboxId};
    use schemas::plan::{Ensure, Identity, PLAN_VERSION, PlanGraph, Step};
    use schemas::spec::Condition;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn bars_count_in_the_unit_of_their_step() {
        assert!(bar_template("bytes").contains("{bytes}/{total_bytes}"));
        assert!(bar_template("files").ends_with("{pos}/{len} files"));
    }

    #[test]
    fn skips_and_warnings_name_their_steps() {
        let project = ProjectName::new("shop").unwrap();
        let identity = |name: &str| {
            let name = SandboxName::new(name).unwrap();
            Identity { id: SandboxId::derive(&project, &name, 1), name, generation: 1 }
        };
        let spec = Digest::of_bytes(b"");
        let started = |name| Ensure::Started { identity: identity(name), spec: spec.clone() };
        let waits = |name, condition| Ensure::Condition { identity: identity(name), condition };
        let steps: BTreeMap<_, _> = [
            ("start/db", started("db")),
            ("wait/db/started", waits("db", Condition::Started)),
            ("wait/db/healthy", waits("db", Condition::Healthy)),
            ("start/web", started("web")),
            ("wait/web/started", waits("web", Condition::Started)),
            ("start/api", started("api")),
        ]
        .into_iter()
        .map(|(id, ensure)| (id.parse::<StepId>().unwrap(), Step { ensure, after: BTreeSet::new() }))
        .collect();
        let titles: BTreeSet<_> = steps.values().map(|step| StepText::of(&step.ensure).title).collect();
        assert_eq!(titles.len(), steps.len(), "two steps have the same title: {titles:?}");
        let plan =
            PlanGraph { version: PLAN_VERSION, project: project.clone(), snapshot: spec.clone(), steps };
        let output = OutputOptions { quiet: false, failures: true, ..OutputOptions::SILENT };
        let display = ProgressDisplay::new(Arc::new(Record::new(&plan)), &output);
        let line = |step, because: Option<&str>| {
            let id = |text: &str| text.parse::<StepId>().unwrap();
            display.skipped_line(&id(step), because.map(id).as_ref())
        };
        let warning = StepFailure::new("its disk is\nnearly full\u{1b}[2J");
        assert_eq!(
            display.problem_line("  ! warning:", &"start/web".parse().unwrap(), &warning),
            "  ! warning: web started: its disk is\n      nearly full\\u{1b}[2J"
        );
        // The failure of the same sandbox is printed already.
        assert_eq!(line("wait/db/started", Some("start/db")), None);
        let skipped = line("start/web", Some("wait/db/healthy"));
        assert_eq!(skipped.as_deref(), Some("  - web skipped because db is not healthy"));
        assert_eq!(line("wait/web/started", Some("wait/db/healthy")), None);
        assert_eq!(line("start/api", None).as_deref(), Some("  - api skipped: not started"));

        // What a sandbox reached is shown if it was started, however soon it was reached.
        let is_shown = |step: &str, outcome| display.is_shown(&step.parse().unwrap(), outcome);
        assert!(!is_shown("wait/db/healthy", Outcome::NotNeeded));
        assert!(is_shown("start/db", Outcome::Added));
        assert!(is_shown("wait/db/healthy", Outcome::NotNeeded));
        assert!(!is_shown("wait/db/started", Outcome::NotNeeded));
        assert!(!is_shown("start/db", Outcome::NotNeeded));
    }
}
