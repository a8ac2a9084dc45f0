//! Progress for a person: a bar on a terminal, a line for each step elsewhere.

use crate::apply::seconds;
use crate::output::{OutputOptions, eprintln_lossy, escape_controls, escape_lines, harmless};
use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use schemas::name::SandboxName;
use schemas::plan::{Ensure, PlanGraph, StepId};
use schemas::spec::{Condition, ImageReference, PinnedImage};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Shows the progress of one plan.
pub struct ProgressDisplay {
    names: HashMap<StepId, String>,
    steps: HashMap<StepId, Words>,
    /// The sandboxes of which it was told that they are skipped.
    skipped: Mutex<HashSet<SandboxName>>,
    verbosity: OutputOptions,
    bars: Option<MultiProgress>,
    open: Mutex<HashMap<StepId, ProgressBar>>,
}

impl ProgressDisplay {
    /// For one plan.
    pub fn new(plan: &PlanGraph, names: HashMap<StepId, String>, verbosity: &OutputOptions) -> Self {
        let bars = verbosity.bars.then(MultiProgress::new);
        let steps = plan.steps.iter().map(|(id, step)| (id.clone(), Words::of(&step.ensure)));
        Self {
            names,
            steps: steps.collect(),
            skipped: Mutex::default(),
            verbosity: *verbosity,
            bars,
            open: Mutex::default(),
        }
    }

    /// The line for a skipped step: one for a sandbox, and none where its own failure is told already.
    fn skipped_line(&self, step: &StepId, because: Option<&StepId>) -> Option<String> {
        let reason = because.map(|because| self.steps.get(because));
        let who = match self.steps.get(step).and_then(|words| words.sandbox.as_ref()) {
            None => self.name(step).into_owned(),
            Some(sandbox) => {
                let own = reason.flatten().is_some_and(|words| words.sandbox.as_ref() == Some(sandbox));
                let mut told = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
                if own || !told.insert(sandbox.clone()) {
                    return None;
                }
                sandbox.to_string()
            }
        };
        Some(match (because, reason.flatten()) {
            (None, _) => format!("  - {who} skipped: not begun"),
            (Some(_), Some(words)) => format!("  - {who} skipped because {}", words.undone),
            (Some(because), None) => format!("  - {who} skipped because of {because}"),
        })
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(harmless(text));
            }
            None => eprintln_lossy(text),
        }
    }

    /// A line between the others.
    pub fn say(&self, text: &str) {
        if !self.verbosity.quiet {
            self.line(text);
        }
    }

    fn name(&self, step: &StepId) -> Cow<'_, str> {
        self.names.get(step).map_or_else(|| step.to_string().into(), Cow::from)
    }

    fn begin(&self, step: &StepId) {
        let Some(bars) = &self.bars else { return };
        let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar =
            bars.add(ProgressBar::new_spinner().with_style(style).with_message(self.name(step).into_owned()));
        bar.enable_steady_tick(TICK);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(step.clone(), bar);
    }

    fn advance(
        &self,
        step: &StepId,
        (done, total, unit): (u64, Option<u64>, &str),
        layers: Option<(usize, usize)>,
    ) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(bar), Some(total)) = (open.get(step), total) else { return };
        if bar.length() != Some(total) {
            if let Ok(style) = ProgressStyle::with_template(&bar_template(unit)) {
                bar.set_style(style);
            }
            bar.set_length(total);
        }
        bar.set_position(done);
        bar.set_message(match layers {
            Some((here, of)) => format!("{} (layers: {here} of {of})", self.name(step)),
            None => self.name(step).into_owned(),
        });
    }

    fn end(&self, step: &StepId) {
        let bar = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(step);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }

    fn failure(&self, step: &StepId, failure: &StepFailure) {
        if !self.verbosity.failures {
            return;
        }
        let (red, off) = if self.verbosity.color_stderr { ("\x1b[31;1m", "\x1b[0m") } else { ("", "") };
        self.line(&format!(
            "{red}  ✗{off} {}: {}",
            self.name(step),
            escape_lines(&failure.message, "      ")
        ));
        self.explain(failure);
    }

    fn warning_line(&self, step: &StepId, failure: &StepFailure) -> String {
        let (yellow, off) = if self.verbosity.color_stderr { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        let message = escape_lines(&failure.message, "      ");
        format!("{yellow}  ! warning{off}: {}: {message}", self.name(step))
    }

    /// What else is known of a failure, below its line.
    fn explain(&self, failure: &StepFailure) {
        let (cyan, off) = if self.verbosity.color_stderr { ("\x1b[36m", "\x1b[0m") } else { ("", "") };
        for detail in &failure.details {
            self.line(&format!("      {}", escape_lines(detail, "      ")));
        }
        if let Some(hint) = &failure.hint {
            self.line(&format!("      {cyan}hint{off}: {}", escape_lines(hint, "      ")));
        }
    }
}

impl ProgressDisplay {
    /// Shows an event.
    pub fn event(&self, event: &Event<'_>) {
        let (green, dim, off) =
            if self.verbosity.color_stderr { ("\x1b[32m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        match event {
            Event::Began { step } => self.begin(step),
            Event::Progress { step, done, total, unit, layers } => {
                self.advance(step, (*done, *total, unit), *layers)
            }
            Event::Succeeded { step, outcome, took } => {
                self.end(step);
                if *outcome != Outcome::NotNeeded && !self.verbosity.quiet {
                    self.line(&format!("{green}  ✓{off} {} {dim}{}{off}", self.name(step), seconds(*took)));
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
                self.line(&format!("  - {} interrupted", self.name(step)));
            }
            Event::Skipped { step, because: _ } if !self.verbosity.failures => self.end(step),
            Event::Skipped { step, because } => {
                self.end(step);
                if let Some(line) = self.skipped_line(step, *because) {
                    self.line(&line);
                }
            }
        }
    }
}

/// The template of a bar that counts in a unit.
fn bar_template(unit: &str) -> String {
    match unit {
        "bytes" => "  {spinner} {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}".to_owned(),
        unit => format!("  {{spinner}} {{msg}} {{bar:24}} {{pos}}/{{len}} {unit}"),
    }
}

/// What is said of a step whose failure has others skipped.
struct Words {
    /// The sandbox that it is about.
    sandbox: Option<SandboxName>,
    /// What is not true because it failed.
    undone: String,
}

impl Words {
    fn of(ensure: &Ensure) -> Self {
        let sandbox = ensure.identity().map(|identity| identity.name.clone());
        let undone = match ensure {
            Ensure::Image { image } => match &image.reference {
                ImageReference::Registry { name } => format!("image {name} was not pulled"),
                ImageReference::Local { path } => format!("image {} was not built", last_names(path)),
            },
            Ensure::Volume { name, .. } => format!("volume {name} was not made"),
            Ensure::VolumeRemoved { name } => format!("volume {name} was not removed"),
            Ensure::Sandbox { identity, .. } => format!("{} was not prepared", identity.name),
            Ensure::Started { identity, .. } => format!("{} was not started", identity.name),
            Ensure::Condition { identity, condition } => match condition {
                Condition::Started => format!("{} is not running", identity.name),
                Condition::Healthy => format!("{} is not healthy", identity.name),
                Condition::Completed => format!("{} was not completed", identity.name),
            },
            Ensure::Hook { identity, event, .. } => format!("the {event} hook of {} failed", identity.name),
            Ensure::Live { identity, .. } => format!("{} was not updated", identity.name),
            Ensure::Stopped { identity, .. } => format!("{} was not stopped", identity.name),
            Ensure::Removed { identity } => format!("{} was not removed", identity.name),
        };
        Self { sandbox, undone }
    }
}

/// What a step makes true, in words.
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
        // Its start is a step of its own, which is `started`.
        Ensure::Condition { identity, condition: Condition::Started } => format!("{} running", identity.name),
        Ensure::Condition { identity, condition } => format!("{} {condition}", identity.name),
        Ensure::Volume { name, .. } => format!("volume {name} made"),
        Ensure::VolumeRemoved { name } => format!("volume {name} removed"),
        Ensure::Hook { identity, event, .. } => format!("{} {event} hook run", identity.name),
        Ensure::Live { identity, .. } => format!("{} updated", identity.name),
        Ensure::Stopped { identity, .. } => format!("{} stopped", identity.name),
        Ensure::Removed { identity } => format!("{} removed", identity.name),
    }
}

/// The last two names of a path, which tell the projects' image folders apart.
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
    fn what_is_skipped_or_odd_is_told_with_its_step() {
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
        let titles: HashMap<_, _> =
            steps.iter().map(|(id, step)| (id.clone(), describe(&step.ensure))).collect();
        let distinct: BTreeSet<_> = titles.values().collect();
        assert_eq!(distinct.len(), steps.len(), "two steps have the same title: {titles:?}");
        let plan =
            PlanGraph { version: PLAN_VERSION, project: project.clone(), snapshot: spec.clone(), steps };
        let verbosity = OutputOptions {
            quiet: false,
            color_stdout: false,
            color_stderr: false,
            bars: false,
            events: false,
            failures: true,
            heartbeat: Duration::ZERO,
        };
        let display = ProgressDisplay::new(&plan, titles, &verbosity);
        let line = |step, because: Option<&str>| {
            let id = |text: &str| text.parse::<StepId>().unwrap();
            display.skipped_line(&id(step), because.map(id).as_ref())
        };
        let odd = StepFailure::new("its disk is\nnearly full\u{1b}[2J");
        assert_eq!(
            display.warning_line(&"start/web".parse().unwrap(), &odd),
            "  ! warning: web started: its disk is\n      nearly full\\u{1b}[2J"
        );
        // Its own failure is told.
        assert_eq!(line("wait/db/started", Some("start/db")), None);
        let told = line("start/web", Some("wait/db/healthy"));
        assert_eq!(told.as_deref(), Some("  - web skipped because db is not healthy"));
        assert_eq!(line("wait/web/started", Some("wait/db/healthy")), None);
        assert_eq!(line("start/api", None).as_deref(), Some("  - api skipped: not begun"));
    }
}
