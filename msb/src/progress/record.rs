//! Records of steps, for reports at the end.

use super::terminal::describe;
use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use schemas::plan::{PlanGraph, Step, StepId};
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

/// Records steps.
#[derive(Default)]
pub struct Record {
    /// Titles of the steps, and the sandboxes that they are about.
    titles: HashMap<StepId, (String, Option<String>)>,
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
        let titles = plan.steps.iter().map(|(id, Step { ensure, after: _ })| {
            let sandbox = ensure.identity().map(|identity| identity.name.to_string());
            (id.clone(), (describe(ensure), sandbox))
        });
        Self { titles: titles.collect(), state: Mutex::default() }
    }

    /// Returns the title of a step.
    pub fn title(&self, id: &StepId) -> Cow<'_, str> {
        self.titles.get(id).map_or_else(|| id.to_string().into(), |(title, _)| title.into())
    }

    /// Returns the sandbox that a step is about.
    pub fn sandbox(&self, id: &StepId) -> Option<&str> {
        self.titles.get(id)?.1.as_deref()
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
    use schemas::name::SandboxName;

    /// Returns a record of steps that start these sandboxes.
    pub fn record(names: &[&str]) -> Record {
        let titles = names.iter().map(|name| {
            let about = (format!("{name} started"), Some((*name).to_owned()));
            (StepId::Start((&SandboxName::new(*name).unwrap()).into()), about)
        });
        Record { titles: titles.collect(), state: Mutex::default() }
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
