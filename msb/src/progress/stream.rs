//! The event stream of `up --json` and `down --json`: one JSON object per line on standard output.
//!
//! Every line has `version` (of this format), `time` (RFC 3339, UTC) and `event`; durations are in milliseconds. Fields
//! may be added within a version, so readers ignore unknown ones.
//!
//! | event | fields |
//! | --- | --- |
//! | `plan` | `command`, `project`, `report` as in `plan --json`, `losses`, `steps`: each `step`, `title`, `sandbox`, `after` |
//! | `rollback` | `steps` of the rollback, as in `plan` |
//! | `step_began` | `step`, `title`, `sandbox` |
//! | `step_progress` | `step`, `done`, `total` if known, `unit`; for a pull, `layers_here` and `layers` |
//! | `step_succeeded` | `step`, `outcome`: `added`, `updated`, `not_needed`; `took_ms` |
//! | `step_failed` | `step`, `took_ms`, `message`, `details`, `hint` |
//! | `step_warned` | `step`, `message`, `details`, `hint`: the step continues |
//! | `step_interrupted` | `step`, `took_ms` |
//! | `step_skipped` | `step`, `because`: the step that failed |
//! | `heartbeat` | `running`: each `step`, `took_ms` |
//! | `finished` | `command`, `project`, `ok`, `exit_code`, `changes`, `report`, `steps` (how many `succeeded`, `failed`, `interrupted`, `skipped`), `took_ms`, `error`, `diagnostics` |
//!
//! With `--wait`, a step that has succeeded may fail or be interrupted later, if its sandbox ends.
//!
//! `plan` is missing if there is nothing to do, and repeated if msb plans again. `finished` is always the last line.

use super::record::{Record, StepText};
use crate::error::CliError;
use crate::output::document::{self, ReportDocument, Worded};
use crate::output::write_line_lossy;
use crate::progress::{Ended, StepRecord};
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
/// Minimum interval between progress events of a step.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// An event of `up` or `down`.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Line<'a> {
    version: u32,
    time: String,
    #[serde(flatten)]
    event: LineEvent<'a>,
}

#[derive(schemars::JsonSchema, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum LineEvent<'a> {
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
        outcome: Outcome,
        took_ms: u64,
    },
    StepFailed {
        step: &'a StepId,
        took_ms: u64,
        #[serde(flatten)]
        failure: &'a StepFailure,
    },
    StepWarned {
        step: &'a StepId,
        #[serde(flatten)]
        failure: &'a StepFailure,
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

#[derive(schemars::JsonSchema, Serialize)]
struct PlannedStep<'a> {
    step: &'a StepId,
    title: String,
    sandbox: Option<&'a str>,
    after: &'a BTreeSet<StepId>,
}

#[derive(schemars::JsonSchema, Serialize)]
struct RunningStep<'a> {
    step: &'a StepId,
    took_ms: u64,
}

/// The last line.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Finished<'a> {
    /// `up` or `down`.
    pub command: &'a str,
    /// The project, if it is known.
    pub project: Option<&'a str>,
    /// Whether the command succeeded.
    pub ok: bool,
    /// The exit code.
    pub exit_code: u8,
    /// Whether the plan had changes.
    pub changes: bool,
    /// The report of the plan, if there was one.
    pub report: Option<ReportDocument<'a>>,
    /// Number of steps.
    pub steps: Counts,
    /// Total duration.
    pub took_ms: u64,
    /// The failure, if any.
    pub error: Option<&'a CliError>,
    /// Findings in the Sandboxfile.
    pub diagnostics: &'a [Finding],
}

/// Number of steps by their ends.
#[derive(Default, schemars::JsonSchema, Serialize)]
pub struct Counts {
    /// Succeeded.
    pub succeeded: usize,
    /// Failed.
    pub failed: usize,
    /// Interrupted.
    pub interrupted: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Counts {
    /// Counts steps.
    pub fn of(steps: &[StepRecord]) -> Self {
        let mut counts = Self::default();
        for StepRecord { ended, .. } in steps {
            *match ended {
                Ended::Succeeded(_) => &mut counts.succeeded,
                Ended::Failed(_) => &mut counts.failed,
                Ended::Interrupted => &mut counts.interrupted,
                Ended::Skipped { .. } => &mut counts.skipped,
            } += 1;
        }
        counts
    }
}

/// Writes the plan.
pub fn plan(command: &str, plan: &PlanGraph, report: &Report) {
    let losses = report.losses();
    write(LineEvent::Plan {
        command,
        project: plan.project.as_str(),
        report: ReportDocument::new(report),
        losses: document::losses(&losses),
        steps: planned_steps(plan),
    });
}

/// Writes the plan of a rollback.
pub fn rollback(plan: &PlanGraph) {
    write(LineEvent::Rollback { steps: planned_steps(plan) });
}

fn planned_steps(plan: &PlanGraph) -> Vec<PlannedStep<'_>> {
    let planned = plan.steps.iter().map(|(id, Step { ensure, after })| PlannedStep {
        step: id,
        title: StepText::of(ensure).title,
        sandbox: ensure.identity().map(|identity| identity.name.as_str()),
        after,
    });
    planned.collect()
}

/// Writes the running steps.
pub fn heartbeat(running: &[(StepId, Duration)]) {
    let running = running.iter().map(|(step, took)| RunningStep { step, took_ms: milliseconds(*took) });
    write(LineEvent::Heartbeat { running: running.collect() });
}

/// Writes the last line.
pub fn finished(finished: &Finished<'_>) {
    write(LineEvent::Finished(finished));
}

/// Converts a duration to milliseconds.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn write(event: LineEvent<'_>) {
    let line = Line { version: VERSION, time: jiff::Timestamp::now().to_string(), event };
    // Plain data serializes.
    if let Ok(text) = serde_json::to_string(&line) {
        write_line_lossy(&text);
    }
}

/// Writes the events of a plan.
#[derive(Default)]
pub struct Stream {
    last_reported: Mutex<HashMap<StepId, Instant>>,
}

impl Stream {
    /// Writes an event of a step that has taken this time.
    pub fn event(&self, event: &Event<'_>, record: &Record, took: Duration) {
        let took_ms = milliseconds(took);
        write(match event {
            Event::Began { step } => {
                LineEvent::StepBegan { step, title: record.title(step), sandbox: record.sandbox(step) }
            }
            Event::Progress { step, done, total, unit, layers } => {
                if !self.is_due(step, *total == Some(*done), Instant::now()) {
                    return;
                }
                let (layers_here, layers) = layers.unzip();
                LineEvent::StepProgress { step, done: *done, total: *total, unit, layers_here, layers }
            }
            Event::Succeeded { step, outcome, took: _ } => {
                LineEvent::StepSucceeded { step, outcome: *outcome, took_ms }
            }
            Event::Failed { step, failure } => LineEvent::StepFailed { step, took_ms, failure },
            Event::Warned { step, failure } => LineEvent::StepWarned { step, failure },
            Event::Interrupted { step } => LineEvent::StepInterrupted { step, took_ms },
            Event::Skipped { step, because } => LineEvent::StepSkipped { step, because: *because },
        });
    }

    /// Returns whether a step's progress is due: once per interval, and always at the end.
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
    fn progress_is_written_once_per_interval_and_at_the_end() {
        let (stream, x, y) = (Stream::default(), "start/x".parse().unwrap(), "start/y".parse().unwrap());
        let start = Instant::now();
        let tick = Duration::from_millis(1);
        assert!(stream.is_due(&x, false, start));
        assert!(!stream.is_due(&x, false, start));
        assert!(!stream.is_due(&x, false, start + PROGRESS_INTERVAL - tick));
        assert!(stream.is_due(&y, false, start + tick), "each step has an interval of its own");
        assert!(stream.is_due(&x, false, start + PROGRESS_INTERVAL));
        assert!(!stream.is_due(&x, false, start + PROGRESS_INTERVAL + tick), "it starts at the last line");
        assert!(stream.is_due(&x, true, start + PROGRESS_INTERVAL + tick), "the end is always written");
    }
}
