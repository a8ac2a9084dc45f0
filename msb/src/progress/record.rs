//! Records of steps, for reports at the end.

use crate::output::escape_controls;
use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use schemas::name::SandboxName;
use schemas::plan::{Ensure, Identity, PlanGraph, StepId};
use schemas::spec::{Condition, ImageReference};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The record of a step.
#[derive(Clone, Debug)]
pub struct StepRecord {
    /// The step.
    pub id: StepId,
    /// Description of the state that it establishes.
    pub title: String,
    /// The sandbox that it is about, if any.
    pub sandbox: Option<String>,
    /// Its duration.
    pub took: Duration,
    /// Its end.
    pub ended: Ended,
}

/// The end of a step.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It succeeded.
    Succeeded(Outcome),
    /// It failed.
    Failed(StepFailure),
    /// It was aborted by a signal or the time limit.
    Interrupted,
    /// It did not start.
    Skipped {
        /// The failed step that is the reason; `None` for an interrupt.
        because: Option<StepId>,
    },
}

/// The wording of a step.
pub struct StepText {
    /// The sandbox that it is about, if any.
    pub sandbox: Option<SandboxName>,
    /// The state that it establishes.
    pub title: String,
    /// Its failure as a clause.
    pub failure: String,
    /// Whether it waits until the sandbox is healthy or completed.
    pub is_milestone: bool,
}

impl StepText {
    /// Words a step.
    pub fn of(ensure: &Ensure) -> Self {
        let text =
            |subject: String, done: &str| (format!("{subject} {done}"), format!("{subject} was not {done}"));
        let about = |Identity { name, .. }: &Identity, done| text(name.to_string(), done);
        let (title, failure) = match ensure {
            Ensure::Image { image } => match &image.reference {
                ImageReference::Registry { name } => text(format!("image {name}"), "pulled"),
                ImageReference::Local { path } => text(format!("image {}", last_names(path)), "built"),
                ImageReference::Snapshot { name } => text(format!("snapshot {name}"), "read"),
            },
            Ensure::Volume { name, .. } => text(format!("volume {name}"), "created"),
            Ensure::VolumeRemoved { name } => text(format!("volume {name}"), "removed"),
            Ensure::Sandbox { identity, .. } => about(identity, "prepared"),
            Ensure::Started { identity, .. } => about(identity, "started"),
            Ensure::Live { identity, .. } => about(identity, "updated"),
            Ensure::Stopped { identity, .. } => about(identity, "stopped"),
            Ensure::Removed { identity } => about(identity, "removed"),
            Ensure::Condition { identity: Identity { name, .. }, condition } => match condition {
                // Distinct from the step that starts it, which is `started`.
                Condition::Started => (format!("{name} running"), format!("{name} is not running")),
                Condition::Healthy => (format!("{name} healthy"), format!("{name} is not healthy")),
                Condition::Completed => (format!("{name} completed"), format!("{name} has not completed")),
            },
            Ensure::Hook { identity: Identity { name, .. }, event, .. } => {
                (format!("{name} {event} hook run"), format!("the {event} hook of {name} failed"))
            }
        };
        let is_milestone =
            matches!(ensure, Ensure::Condition { condition: Condition::Healthy | Condition::Completed, .. });
        let sandbox = ensure.identity().map(|identity| identity.name.clone());
        Self { sandbox, title, failure, is_milestone }
    }
}

/// Returns the last two names of a path, which distinguish the image folders of projects.
fn last_names(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    escape_controls(&parts[parts.len().saturating_sub(2)..].join("/"))
}

/// Records steps.
#[derive(Default)]
pub struct Record {
    texts: HashMap<StepId, StepText>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<StepId, Instant>,
    ended: Vec<StepRecord>,
}

impl Record {
    /// Starts the records of a plan.
    pub fn new(plan: &PlanGraph) -> Self {
        let texts = plan.steps.iter().map(|(id, step)| (id.clone(), StepText::of(&step.ensure)));
        Self { texts: texts.collect(), state: Mutex::default() }
    }

    /// Returns the wording of a step; `None` if it is not in the plan.
    pub fn text(&self, id: &StepId) -> Option<&StepText> {
        self.texts.get(id)
    }

    /// Returns the title of a step.
    pub fn title(&self, id: &StepId) -> Cow<'_, str> {
        self.text(id).map_or_else(|| id.to_string().into(), |text| text.title.as_str().into())
    }

    /// Returns the sandbox that a step is about.
    pub fn sandbox(&self, id: &StepId) -> Option<&str> {
        self.text(id)?.sandbox.as_ref().map(SandboxName::as_str)
    }

    /// Returns the running steps with their durations, longest first.
    pub fn running(&self) -> Vec<(StepId, Duration)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running: Vec<_> =
            state.running.iter().map(|(id, began)| (id.clone(), began.elapsed())).collect();
        running.sort_by(|(_, a), (_, b)| b.cmp(a));
        running
    }

    /// Records an event. Returns the duration of a step that ends.
    pub fn note(&self, event: &Event<'_>) -> Duration {
        let (step, ended) = match event {
            Event::Began { step } => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.running.insert((*step).clone(), Instant::now());
                return Duration::ZERO;
            }
            Event::Progress { .. } | Event::Warned { .. } => return Duration::ZERO,
            Event::Succeeded { step, outcome, took: _ } => (*step, Ended::Succeeded(*outcome)),
            Event::Failed { step, failure } => (*step, Ended::Failed((*failure).clone())),
            Event::Interrupted { step } => (*step, Ended::Interrupted),
            Event::Skipped { step, because } => (*step, Ended::Skipped { because: because.cloned() }),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let began = state.running.remove(step);
        let took = match event {
            Event::Succeeded { took, .. } => *took,
            _ => began.map(|began| began.elapsed()).unwrap_or_default(),
        };
        // With `--wait`, a successful step may fail later, if its sandbox ends.
        if matches!(event, Event::Failed { .. } | Event::Interrupted { .. }) {
            state.ended.retain(|ended| ended.id != *step);
        }
        state.ended.push(StepRecord {
            id: step.clone(),
            title: self.title(step).into_owned(),
            sandbox: self.sandbox(step).map(str::to_owned),
            took,
            ended,
        });
        took
    }

    /// Takes the records of the steps in the order in which they ended.
    pub fn take(&self) -> Vec<StepRecord> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).ended)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Returns a record of steps that start these sandboxes.
    pub fn record(names: &[&str]) -> Record {
        let texts = names.iter().map(|name| {
            let sandbox = SandboxName::new(*name).unwrap();
            let (title, failure) = (format!("{name} started"), format!("{name} was not started"));
            (
                StepId::Start((&sandbox).into()),
                StepText { sandbox: Some(sandbox), title, failure, is_milestone: false },
            )
        });
        Record { texts: texts.collect(), state: Mutex::default() }
    }

    #[test]
    fn paths_of_images_are_shortened_and_escaped() {
        let image = "/p/a\n::stop-commands::x\u{1b}[2J";
        assert_eq!(last_names(image), "p/a\\n::stop-commands::x\\u{1b}[2J");
    }

    #[test]
    fn running_and_ended_steps_are_recorded() {
        let record = record(&["a", "b"]);
        let [a, b] = ["start/a", "start/b"].map(|text| text.parse::<StepId>().unwrap());
        record.note(&Event::Began { step: &a });
        assert_eq!(record.running().iter().map(|(id, _)| id).collect::<Vec<_>>(), [&a]);
        record.note(&Event::Failed { step: &a, failure: &StepFailure::new("no") });
        record.note(&Event::Skipped { step: &b, because: Some(&a) });
        assert!(record.running().is_empty());
        let ended = record.take();
        let display: Vec<_> =
            ended.iter().map(|step| (step.title.as_str(), step.sandbox.as_deref())).collect();
        assert_eq!(display, [("a started", Some("a")), ("b started", Some("b"))]);
        assert!(matches!(&ended[0].ended, Ended::Failed(failure) if failure.message == "no"));
        assert!(matches!(&ended[1].ended, Ended::Skipped { because: Some(because) } if *because == a));
    }
}
