//! What happened to each step, for everything that is told when all is over.

use executor::apply::{Outcome, StepFailure};
use executor::reporter::Event;
use schemas::plan::{PlanGraph, StepId};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What happened to one step.
#[derive(Clone, Debug)]
pub struct StepRecord {
    /// Which.
    pub id: StepId,
    /// What it makes true, in words.
    pub title: String,
    /// The sandbox that it is about.
    pub sandbox: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub ended: Ended,
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// Well.
    Succeeded(Outcome),
    /// Not well.
    Failed(StepFailure),
    /// It was given up because everything was told to stop.
    Interrupted,
    /// It was not begun.
    Skipped {
        /// The step whose failure is the reason.
        because: Option<StepId>,
    },
}

/// Notes what happens.
#[derive(Default)]
pub struct Record {
    titles: HashMap<StepId, (String, Option<String>)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<StepId, Instant>,
    ended: Vec<StepRecord>,
}

impl Record {
    /// For one plan.
    pub fn new(plan: &PlanGraph, titles: &HashMap<StepId, String>) -> Self {
        let about = |id: &StepId| {
            let step = plan.steps.get(id)?;
            Some(step.ensure.identity()?.name.to_string())
        };
        let titles = titles.iter().map(|(id, title)| (id.clone(), (title.clone(), about(id)))).collect();
        Self { titles, state: Mutex::default() }
    }

    /// What a step makes true, in words.
    pub fn title(&self, id: &StepId) -> Cow<'_, str> {
        self.titles.get(id).map_or_else(|| id.to_string().into(), |(title, _)| title.into())
    }

    /// The sandbox that a step is about.
    pub fn sandbox(&self, id: &StepId) -> Option<&str> {
        self.titles.get(id)?.1.as_deref()
    }

    /// The steps that run, and for how long they have.
    pub fn running(&self) -> Vec<(StepId, Duration)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut running: Vec<_> =
            state.running.iter().map(|(id, began)| (id.clone(), began.elapsed())).collect();
        running.sort_by(|(_, a), (_, b)| b.cmp(a));
        running
    }

    /// Notes an event; gives how long the step has taken that it ends.
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
        // What has succeeded may fail in the end: a sandbox that was up, and is so no longer.
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

    /// Everything that has ended, in that order.
    pub fn take(&self) -> Vec<StepRecord> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).ended)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use schemas::name::SandboxName;

    /// A record of steps that start these sandboxes.
    pub fn record(names: &[&str]) -> Record {
        let titles = names.iter().map(|name| {
            let about = (format!("{name} started"), Some((*name).to_owned()));
            (StepId::Start((&SandboxName::new(*name).unwrap()).into()), about)
        });
        Record { titles: titles.collect(), state: Mutex::default() }
    }

    #[test]
    fn what_runs_and_what_has_ended() {
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
