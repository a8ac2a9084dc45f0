//! The event stream of `up --json` and `down --json`: one JSON object a line on standard output.
//!
//! Every line has `version` (of this format), `time` (RFC 3339, UTC) and `event`; times that something
//! took are in milliseconds. Fields may be added within a version; readers pass over what they do not know.
//!
//! | event | fields |
//! | --- | --- |
//! | `plan` | `command`, `project`, `report` as in `plan --json`, `losses`, `steps`: each `step`, `title`, `sandbox`, `after` |
//! | `rollback` | `steps`, as in `plan`: what is done to take a failed `up` back |
//! | `step_began` | `step`, `title`, `sandbox` |
//! | `step_progress` | `step`, `done`, `total` if known, `unit` |
//! | `step_succeeded` | `step`, `outcome`: `added`, `updated`, `not_needed`; `took_ms` |
//! | `step_failed` | `step`, `took_ms`, `message`, `details`, `hint` |
//! | `step_warned` | `step`, `message`, `details`, `hint`: it goes on all the same |
//! | `step_interrupted` | `step`, `took_ms` |
//! | `step_skipped` | `step`, `because`: the step that failed |
//! | `heartbeat` | `running`: each `step`, `took_ms` |
//! | `finished` | `command`, `project`, `ok`, `exit_code`, `changes`, `report`, `steps` (how many `succeeded`, `failed`, `interrupted`, `skipped`), `took_ms`, `error`, `diagnostics` |
//!
//! With `--wait` a step that has succeeded may fail, or be interrupted, in the end: its sandbox had come up, and has
//! ended since.
//!
//! `plan` is missing where nothing is to be done, and comes once more where the plan is made anew;
//! `finished` is always the last line.

use super::record::Record;
use crate::output::words::{self, ReportDocument, Worded};
use crate::output::write_line_lossy;
use crate::report::findings::Finding;
use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use schemas::plan::{PlanGraph, Step, StepId};
use schemas::report::{Loss, Report};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The version of the format.
pub const VERSION: u32 = 2;
/// A step tells its progress no more often than this.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    time: String,
    #[serde(flatten)]
    what: What<'a>,
}

/// What has happened.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum What<'a> {
    Plan {
        command: &'a str,
        project: &'a str,
        report: ReportDocument<'a>,
        losses: Vec<Worded<'a, Loss>>,
        steps: Vec<PlannedStep<'a>>,
    },
    Rollback {
        steps: Vec<PlannedStep<'a>>,
    },
    StepBegan {
        step: &'a StepId,
        title: Cow<'a, str>,
        sandbox: Option<&'a str>,
    },
    StepProgress {
        step: &'a StepId,
        done: u64,
        total: Option<u64>,
        unit: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        layers_here: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        layers: Option<usize>,
    },
    StepSucceeded {
        step: &'a StepId,
        outcome: &'static str,
        took_ms: u64,
    },
    StepFailed {
        step: &'a StepId,
        took_ms: u64,
        message: &'a str,
        details: &'a [String],
        hint: Option<&'a str>,
    },
    StepWarned {
        step: &'a StepId,
        message: &'a str,
        details: &'a [String],
        hint: Option<&'a str>,
    },
    StepInterrupted {
        step: &'a StepId,
        took_ms: u64,
    },
    StepSkipped {
        step: &'a StepId,
        because: Option<&'a StepId>,
    },
    Heartbeat {
        running: Vec<RunningStep<'a>>,
    },
    Finished(&'a Finished<'a>),
}

#[derive(Serialize)]
struct PlannedStep<'a> {
    step: &'a StepId,
    title: String,
    sandbox: Option<&'a str>,
    after: &'a BTreeSet<StepId>,
}

#[derive(Serialize)]
struct RunningStep<'a> {
    step: &'a StepId,
    took_ms: u64,
}

/// The last line.
#[derive(Serialize)]
pub struct Finished<'a> {
    pub command: &'a str,
    pub project: Option<&'a str>,
    pub ok: bool,
    pub exit_code: u8,
    pub changes: bool,
    pub report: Option<ReportDocument<'a>>,
    pub steps: Counts,
    pub took_ms: u64,
    pub error: Option<ErrorText<'a>>,
    pub diagnostics: &'a [Finding],
}

/// How many steps ended how.
#[derive(Default, Serialize)]
pub struct Counts {
    pub succeeded: usize,
    pub failed: usize,
    pub interrupted: usize,
    pub skipped: usize,
}

/// Why it failed.
#[derive(Serialize)]
pub struct ErrorText<'a> {
    pub message: &'a str,
    pub causes: &'a [String],
    pub hint: Option<&'a str>,
}

/// Writes the plan.
pub fn plan(command: &str, plan: &PlanGraph, report: &Report) {
    let losses = report.losses();
    write(What::Plan {
        command,
        project: plan.project.as_str(),
        report: ReportDocument::new(report),
        losses: words::losses(&losses),
        steps: planned_steps(plan),
    });
}

/// Writes what is done to take a plan back.
pub fn rollback(plan: &PlanGraph) {
    write(What::Rollback { steps: planned_steps(plan) });
}

fn planned_steps(plan: &PlanGraph) -> Vec<PlannedStep<'_>> {
    let planned = plan.steps.iter().map(|(id, Step { ensure, after })| PlannedStep {
        step: id,
        title: super::terminal::describe(ensure),
        sandbox: ensure.identity().map(|identity| identity.name.as_str()),
        after,
    });
    planned.collect()
}

/// Writes what runs.
pub fn heartbeat(running: &[(StepId, Duration)]) {
    let running = running.iter().map(|(step, took)| RunningStep { step, took_ms: milliseconds(*took) });
    write(What::Heartbeat { running: running.collect() });
}

/// Writes the last line.
pub fn finished(finished: &Finished<'_>) {
    write(What::Finished(finished));
}

/// Milliseconds as JSON has them.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn write(what: What<'_>) {
    let line = Line { version: VERSION, time: jiff::Timestamp::now().to_string(), what };
    // Plain data serializes.
    if let Ok(text) = serde_json::to_string(&line) {
        write_line_lossy(&text);
    }
}

/// Writes the steps of one plan.
#[derive(Default)]
pub struct Stream {
    last_reported: Mutex<HashMap<StepId, Instant>>,
}

impl Stream {
    /// Writes an event of a step that has taken so long.
    pub fn event(&self, event: &Event<'_>, record: &Record, took: Duration) {
        let took_ms = milliseconds(took);
        write(match event {
            Event::Began { step } => {
                What::StepBegan { step, title: record.title(step), sandbox: record.sandbox(step) }
            }
            Event::Progress { step, done, total, unit, layers } => {
                if !self.is_due(step, *total == Some(*done), Instant::now()) {
                    return;
                }
                let (layers_here, layers) = layers.unzip();
                What::StepProgress { step, done: *done, total: *total, unit, layers_here, layers }
            }
            Event::Succeeded { step, outcome, took: _ } => {
                let outcome = match outcome {
                    Outcome::Added => "added",
                    Outcome::Updated => "updated",
                    Outcome::NotNeeded => "not_needed",
                };
                What::StepSucceeded { step, outcome, took_ms }
            }
            Event::Failed { step, failure: StepFailure { message, details, hint } } => {
                What::StepFailed { step, took_ms, message, details, hint: hint.as_deref() }
            }
            Event::Warned { step, failure: StepFailure { message, details, hint } } => {
                What::StepWarned { step, message, details, hint: hint.as_deref() }
            }
            Event::Interrupted { step } => What::StepInterrupted { step, took_ms },
            Event::Skipped { step, because } => What::StepSkipped { step, because: *because },
        });
    }

    /// Whether a step's progress is to be last_reported again: not all the time, but its end always.
    fn is_due(&self, step: &StepId, complete: bool, now: Instant) -> bool {
        let mut last_reported = self.last_reported.lock().unwrap_or_else(PoisonError::into_inner);
        let due = complete || last_reported.get(step).is_none_or(|last| now - *last >= PROGRESS_INTERVAL);
        if due {
            last_reported.insert(step.clone(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_at_first_once_in_an_interval_and_at_its_end() {
        let (stream, x, y) = (Stream::default(), "start/x".parse().unwrap(), "start/y".parse().unwrap());
        let start = Instant::now();
        let tick = Duration::from_millis(1);
        assert!(stream.is_due(&x, false, start));
        assert!(!stream.is_due(&x, false, start));
        assert!(!stream.is_due(&x, false, start + PROGRESS_INTERVAL - tick));
        assert!(stream.is_due(&y, false, start + tick), "each step has an interval of its own");
        assert!(stream.is_due(&x, false, start + PROGRESS_INTERVAL));
        assert!(!stream.is_due(&x, false, start + PROGRESS_INTERVAL + tick), "it begins at the last line");
        assert!(stream.is_due(&x, true, start + PROGRESS_INTERVAL + tick), "the end is last_reported always");
    }
}
