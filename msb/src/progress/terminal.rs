//! Progress for people: bars on a terminal, a line for each step elsewhere.

use super::record::Record;
use crate::apply::seconds;
use crate::output::style::{BOLD_RED, CYAN, DIM, GREEN, YELLOW};
use crate::output::{OutputOptions, eprintln_lossy, escape_controls, escape_lines, sanitize};
use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use schemas::name::SandboxName;
use schemas::plan::{Ensure, PlanGraph, StepId};
use schemas::spec::{Condition, ImageReference, PinnedImage};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Interval between frames of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// Shows the progress of a plan.
pub struct ProgressDisplay {
    record: Arc<Record>,
    steps: HashMap<StepId, SkipReason>,
    /// The sandboxes that were reported as skipped.
    skipped: Mutex<HashSet<SandboxName>>,
    output: OutputOptions,
    bars: Option<MultiProgress>,
    open: Mutex<HashMap<StepId, ProgressBar>>,
}

impl ProgressDisplay {
    /// Starts the display of a plan.
    pub fn new(plan: &PlanGraph, record: Arc<Record>, output: &OutputOptions) -> Self {
        let bars = output.bars.then(MultiProgress::new);
        let steps = plan.steps.iter().map(|(id, step)| (id.clone(), SkipReason::of(&step.ensure)));
        Self {
            record,
            steps: steps.collect(),
            skipped: Mutex::default(),
            output: *output,
            bars,
            open: Mutex::default(),
        }
    }

    /// Returns the line for a skipped step: one per sandbox, and none if a step of the same sandbox failed.
    fn skipped_line(&self, step: &StepId, because: Option<&StepId>) -> Option<String> {
        let reason = because.and_then(|because| self.steps.get(because));
        let skipped = match self.steps.get(step).and_then(|step| step.sandbox.as_ref()) {
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
            (Some(_), Some(reason)) => format!("  - {skipped} skipped because {}", reason.text),
            (Some(because), None) => format!("  - {skipped} skipped because of {because}"),
        })
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
        let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = bars.add(
            ProgressBar::new_spinner().with_style(style).with_message(self.record.title(step).into_owned()),
        );
        bar.enable_steady_tick(TICK);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(step.clone(), bar);
    }

    fn end(&self, step: &StepId) {
        let bar = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(step);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }

    fn failure(&self, step: &StepId, failure: &StepFailure) {
        if !self.output.failures {
            return;
        }
        let mark = self.output.style().paint(BOLD_RED, "  ✗");
        self.line(&format!(
            "{mark} {}: {}",
            self.record.title(step),
            escape_lines(&failure.message, "      ")
        ));
        self.explain(failure);
    }

    fn warning_line(&self, step: &StepId, failure: &StepFailure) -> String {
        let head = self.output.style().paint(YELLOW, "  ! warning");
        format!("{head}: {}: {}", self.record.title(step), escape_lines(&failure.message, "      "))
    }

    /// Prints details and hint of a failure.
    fn explain(&self, failure: &StepFailure) {
        for detail in &failure.details {
            self.line(&format!("      {}", escape_lines(detail, "      ")));
        }
        if let Some(hint) = &failure.hint {
            let head = self.output.style().paint(CYAN, "hint");
            self.line(&format!("      {head}: {}", escape_lines(hint, "      ")));
        }
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
                if *outcome != Outcome::NotNeeded && !self.output.quiet {
                    let style = self.output.style();
                    let (mark, took) = (style.paint(GREEN, "  ✓"), style.paint(DIM, &seconds(*took)));
                    self.line(&format!("{mark} {} {took}", self.record.title(step)));
                }
            }
            Event::Failed { step, failure } => {
                self.end(step);
                self.failure(step, failure);
            }
            Event::Warned { step, failure } => {
                self.line(&self.warning_line(step, failure));
                self.explain(failure);
            }
            Event::Interrupted { step } => {
                self.end(step);
                self.line(&format!("  - {} interrupted", self.record.title(step)));
            }
            Event::Skipped { step, because: _ } if !self.output.failures => self.end(step),
            Event::Skipped { step, because } => {
                self.end(step);
                if let Some(line) = self.skipped_line(step, *because) {
                    self.line(&line);
                }
            }
        }
    }
}

/// Updates a bar, whose style depends on the unit.
fn advance(bar: &ProgressBar, done: u64, total: u64, unit: &str) {
    if bar.length() != Some(total) {
        if let Ok(style) = ProgressStyle::with_template(&bar_template(unit)) {
            bar.set_style(style);
        }
        bar.set_length(total);
    }
    bar.set_position(done);
}

/// Returns the template of a bar that counts in a unit.
fn bar_template(unit: &str) -> String {
    match unit {
        "bytes" => "  {spinner} {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}".to_owned(),
        unit => format!("  {{spinner}} {{msg}} {{bar:24}} {{pos}}/{{len}} {unit}"),
    }
}

/// A step as the reason to skip others, if it fails.
struct SkipReason {
    /// The sandbox that it is about.
    sandbox: Option<SandboxName>,
    /// Its failure as a clause.
    text: String,
}

impl SkipReason {
    fn of(ensure: &Ensure) -> Self {
        let sandbox = ensure.identity().map(|identity| identity.name.clone());
        let text = match ensure {
            Ensure::Image { image } => match &image.reference {
                ImageReference::Registry { name } => format!("image {name} was not pulled"),
                ImageReference::Local { path } => format!("image {} was not built", last_names(path)),
            },
            Ensure::Volume { name, .. } => format!("volume {name} was not created"),
            Ensure::VolumeRemoved { name } => format!("volume {name} was not removed"),
            Ensure::Sandbox { identity, .. } => format!("{} was not prepared", identity.name),
            Ensure::Started { identity, .. } => format!("{} was not started", identity.name),
            Ensure::Condition { identity, condition } => match condition {
                Condition::Started => format!("{} is not running", identity.name),
                Condition::Healthy => format!("{} is not healthy", identity.name),
                Condition::Completed => format!("{} has not completed", identity.name),
            },
            Ensure::Hook { identity, event, .. } => format!("the {event} hook of {} failed", identity.name),
            Ensure::Live { identity, .. } => format!("{} was not updated", identity.name),
            Ensure::Stopped { identity, .. } => format!("{} was not stopped", identity.name),
            Ensure::Removed { identity } => format!("{} was not removed", identity.name),
        };
        Self { sandbox, text }
    }
}

/// Describes the state that a step establishes.
pub fn describe(ensure: &Ensure) -> String {
    match ensure {
        Ensure::Image { image: PinnedImage { reference: ImageReference::Registry { name }, .. } } => {
            format!("image {name} pulled")
        }
        Ensure::Image { image: PinnedImage { reference: ImageReference::Local { path }, .. } } => {
            format!("image {} built", last_names(path))
        }
        Ensure::Sandbox { identity, .. } => format!("{} prepared", identity.name),
        Ensure::Started { identity, .. } => format!("{} started", identity.name),
        // Distinct from the step that starts it, which is `started`.
        Ensure::Condition { identity, condition: Condition::Started } => format!("{} running", identity.name),
        Ensure::Condition { identity, condition } => format!("{} {condition}", identity.name),
        Ensure::Volume { name, .. } => format!("volume {name} created"),
        Ensure::VolumeRemoved { name } => format!("volume {name} removed"),
        Ensure::Hook { identity, event, .. } => format!("{} {event} hook run", identity.name),
        Ensure::Live { identity, .. } => format!("{} updated", identity.name),
        Ensure::Stopped { identity, .. } => format!("{} stopped", identity.name),
        Ensure::Removed { identity } => format!("{} removed", identity.name),
    }
}

/// Returns the last two names of a path, which distinguish the image folders of projects.
fn last_names(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    escape_controls(&parts[parts.len().saturating_sub(2)..].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::digest::Digest;
    use schemas::name::{ProjectName, SandboxId};
    use schemas::plan::{Identity, PLAN_VERSION, Step};
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn bars_count_in_the_unit_of_their_step() {
        assert!(bar_template("bytes").contains("{bytes}/{total_bytes}"));
        assert!(bar_template("files").ends_with("{pos}/{len} files"));
        let image = "/p/a\n::stop-commands::x\u{1b}[2J";
        assert_eq!(last_names(image), "p/a\\n::stop-commands::x\\u{1b}[2J");
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
        let titles: BTreeSet<_> = steps.values().map(|step| describe(&step.ensure)).collect();
        assert_eq!(titles.len(), steps.len(), "two steps have the same title: {titles:?}");
        let plan =
            PlanGraph { version: PLAN_VERSION, project: project.clone(), snapshot: spec.clone(), steps };
        let output = OutputOptions { quiet: false, failures: true, ..OutputOptions::SILENT };
        let display = ProgressDisplay::new(&plan, Arc::new(Record::new(&plan)), &output);
        let line = |step, because: Option<&str>| {
            let id = |text: &str| text.parse::<StepId>().unwrap();
            display.skipped_line(&id(step), because.map(id).as_ref())
        };
        let warning = StepFailure::new("its disk is\nnearly full\u{1b}[2J");
        assert_eq!(
            display.warning_line(&"start/web".parse().unwrap(), &warning),
            "  ! warning: web started: its disk is\n      nearly full\\u{1b}[2J"
        );
        // The failure of the same sandbox is printed already.
        assert_eq!(line("wait/db/started", Some("start/db")), None);
        let skipped = line("start/web", Some("wait/db/healthy"));
        assert_eq!(skipped.as_deref(), Some("  - web skipped because db is not healthy"));
        assert_eq!(line("wait/web/started", Some("wait/db/healthy")), None);
        assert_eq!(line("start/api", None).as_deref(), Some("  - api skipped: not started"));
    }
}
