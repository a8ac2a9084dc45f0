//! Progress for a person: a bar on a terminal, a line for each step elsewhere.

use crate::account;
use crate::applying::seconds;
use crate::output::{Verbosity, eprintln_lossy, escape_controls};
use crate::render::github;
use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use schemas::plan::{Ensure, StepId};
use schemas::spec::{ImageReference, PinnedImage};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Shows the progress of one plan.
pub struct Shown {
    names: HashMap<StepId, String>,
    verbosity: Verbosity,
    bars: Option<MultiProgress>,
    open: Mutex<HashMap<StepId, ProgressBar>>,
}

impl Shown {
    /// For one plan.
    pub fn new(names: HashMap<StepId, String>, verbosity: &Verbosity) -> Self {
        let bars = verbosity.bars.then(MultiProgress::new);
        Self { names, verbosity: *verbosity, bars, open: Mutex::default() }
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
                let _ = bars.println(text);
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

    fn name<'a>(&'a self, step: &'a StepId) -> &'a str {
        self.names.get(step).map_or(step.as_str(), String::as_str)
    }

    fn begin(&self, step: &StepId) {
        let Some(bars) = &self.bars else { return };
        let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar =
            bars.add(ProgressBar::new_spinner().with_style(style).with_message(self.name(step).to_owned()));
        bar.enable_steady_tick(TICK);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(step.clone(), bar);
    }

    fn advance(&self, step: &StepId, (done, total): (u64, Option<u64>), layers: Option<(usize, usize)>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(bar), Some(total)) = (open.get(step), total) else { return };
        if bar.length() != Some(total) {
            let template = "  {spinner} {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_length(total);
        }
        bar.set_position(done);
        bar.set_message(match layers {
            Some((here, of)) => format!("{} (layers: {here} of {of})", self.name(step)),
            None => self.name(step).to_owned(),
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
        self.line(&format!("{red}  ✗{off} {}: {}", self.name(step), escape_lines(&failure.message)));
        self.explain(failure);
    }

    fn warning(&self, failure: &StepFailure) {
        let (yellow, off) = if self.verbosity.color_stderr { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        self.line(&format!("{yellow}  ! warning{off}: {}", escape_lines(&failure.message)));
        self.explain(failure);
    }

    /// What else is known of a failure, below its line.
    fn explain(&self, failure: &StepFailure) {
        let (cyan, off) = if self.verbosity.color_stderr { ("\x1b[36m", "\x1b[0m") } else { ("", "") };
        for detail in &failure.details {
            self.line(&format!("      {}", escape_lines(detail)));
        }
        if let Some(hint) = &failure.hint {
            self.line(&format!("      {cyan}hint{off}: {hint}"));
        }
    }
}

/// What a guest printed may be in a failure's text.
fn escape_lines(text: &str) -> String {
    let text = if account::on_github() { github::inert(text) } else { text.to_owned() };
    text.lines().map(escape_controls).collect::<Vec<_>>().join("\n      ")
}

impl Shown {
    /// Shows an event.
    pub fn event(&self, event: &Event<'_>) {
        let (green, dim, off) =
            if self.verbosity.color_stderr { ("\x1b[32m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        match event {
            Event::Began { step } => self.begin(step),
            Event::Progress { step, done, total, unit: _, layers } => {
                self.advance(step, (*done, *total), *layers)
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
            Event::Warned { step: _, failure } => self.warning(failure),
            Event::Interrupted { step } => {
                self.end(step);
                self.line(&format!("  - {} interrupted", self.name(step)));
            }
            Event::Skipped { step, because: _ } if !self.verbosity.failures => self.end(step),
            Event::Skipped { step, because } => {
                self.end(step);
                let why = because
                    .map_or("not begun".to_owned(), |because| format!("because of {}", self.name(because)));
                self.line(&format!("  - {} skipped {why}", self.name(step)));
            }
        }
    }
}

/// What a step makes true, in words.
pub fn describe(ensure: &Ensure) -> String {
    match ensure {
        Ensure::Image { image: PinnedImage { reference: ImageReference::Registry { name }, .. } } => {
            format!("image {name} pulled")
        }
        Ensure::Image { image: PinnedImage { reference: ImageReference::Local { path }, .. } } => {
            // The last two names tell the projects' image folders apart.
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            format!("image {} built", parts[parts.len().saturating_sub(2)..].join("/"))
        }
        Ensure::Sandbox { identity, .. } => format!("{} prepared", identity.name),
        Ensure::Started { identity, .. } => format!("{} started", identity.name),
        Ensure::Condition { identity, condition } => format!("{} {condition}", identity.name),
        Ensure::Volume { name, .. } => format!("volume {name} made"),
        Ensure::VolumeRemoved { name } => format!("volume {name} removed"),
        Ensure::Hook { identity, event, .. } => format!("{} {event} hook run", identity.name),
        Ensure::Live { identity, .. } => format!("{} updated", identity.name),
        Ensure::Stopped { identity, .. } => format!("{} stopped", identity.name),
        Ensure::Removed { identity } => format!("{} removed", identity.name),
    }
}
