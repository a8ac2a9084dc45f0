//! Walks the graph: each step begins as soon as all steps before it have succeeded, with a limit on steps at once.
//!
//! There is no polling: the end of a step wakes the walker, which begins the steps that waited for it. Steps that only
//! wait for a condition need no slot.
//!
//! ```text
//!            ┌──────────────────── ends of steps so far ◄──────────┐
//!            ▼                                                      │
//!  take ready steps ─► journal: ends and intents, one write ─► report the ends, begin the steps
//! ```
//!
//! So an intent is durable before its act, a success is recorded before it is reported or wakes other steps, and a whole
//! wave of steps costs one write.

use super::journal::Journal;
use super::order::{Index, Order, only_waits};
use super::{Interrupt, Outcome, StepFailure, StepResult};
use crate::catalog::{CatalogError, OperationId};
use crate::reporter::{Event, Reporter};
use schemas::plan::{Step, StepId};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// The result of a step's act.
pub type Acted = Result<Outcome, StepFailure>;

/// The settings of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The most steps at once; waits for conditions do not count.
    pub parallel: usize,
    /// Whether no step begins after the first failure. Running steps finish, and waits end early.
    pub fail_fast: bool,
}

/// One walk over a plan's steps.
pub struct Walker<'a, J> {
    /// The steps with their order.
    pub steps: &'a BTreeMap<StepId, Step>,
    /// The settings.
    pub rules: Rules,
    /// The journal of begins and ends.
    pub journal: &'a J,
    /// The receiver of events.
    pub reporter: &'a dyn Reporter,
    /// The requested interrupt.
    pub interrupt: watch::Receiver<Interrupt>,
}

/// A begun step.
struct Running {
    index: Index,
    operation: OperationId,
    began: Instant,
    abort: AbortHandle,
}

/// An ended step whose end is not recorded yet.
struct Ended {
    index: Index,
    operation: OperationId,
    began: Instant,
    ended: Instant,
    /// `None` after an interrupt.
    acted: Option<Acted>,
}

impl<J: Journal> Walker<'_, J> {
    /// Carries out all steps with `act` and returns their results.
    pub async fn walk<Act, Acting>(self, act: Act) -> BTreeMap<StepId, StepResult>
    where
        Act: Fn(&StepId, &Step) -> Acting,
        Acting: Future<Output = Acted> + Send + 'static,
    {
        let Self { steps, rules, journal, reporter, mut interrupt } = self;
        let mut walk = Walk {
            order: Order::new(steps, rules.parallel),
            rules,
            journal,
            reporter,
            results: BTreeMap::new(),
            running: HashMap::new(),
            halted: None,
        };
        let mut tasks: JoinSet<Acted> = JoinSet::new();
        let mut ended = Vec::new();
        loop {
            let wish = *interrupt.borrow_and_update();
            for (index, operation) in walk.turn(std::mem::take(&mut ended), wish) {
                let abort = tasks.spawn(act(walk.order.id(index), walk.order.step(index)));
                let running = Running { index, operation, began: Instant::now(), abort };
                walk.running.insert(running.abort.id(), running);
            }
            if wish == Interrupt::Now {
                tasks.abort_all();
            } else if wish == Interrupt::Finish || walk.halted.is_some() {
                walk.give_up_waiting();
            }
            if tasks.is_empty() {
                return walk.finish();
            }
            tokio::select! {
                Some(joined) = tasks.join_next_with_id() => ended.extend(walk.join(joined)),
                Ok(()) = interrupt.changed() => {}
            }
            while let Some(joined) = tasks.try_join_next_with_id() {
                ended.extend(walk.join(joined));
            }
        }
    }
}

/// The state of a walk between two turns.
struct Walk<'a, J> {
    order: Order<'a>,
    rules: Rules,
    journal: &'a J,
    reporter: &'a dyn Reporter,
    results: BTreeMap<StepId, StepResult>,
    running: HashMap<Id, Running>,
    /// The failed step after which no other one begins.
    halted: Option<Index>,
}

impl<J: Journal> Walk<'_, J> {
    /// Records the ended steps together with those that begin now; returns the latter.
    fn turn(&mut self, ended: Vec<Ended>, wish: Interrupt) -> Vec<(Index, OperationId)> {
        let mut skipped = Vec::new();
        for Ended { index, acted, .. } in &ended {
            match acted {
                Some(Ok(_)) => self.order.succeeded(*index),
                Some(Err(_)) => {
                    skipped.extend(self.order.failed(*index).into_iter().map(|skipped| (skipped, *index)));
                    if self.rules.fail_fast {
                        self.halted.get_or_insert(*index);
                    }
                }
                None => self.order.settle(*index),
            }
        }
        let may_begin = wish == Interrupt::None && self.halted.is_none();
        let begun = if may_begin { self.order.take() } else { Vec::new() };
        let written = self.write(&ended, &begun);
        match &written {
            Ok(_) => ended.into_iter().for_each(|ended| self.settle(ended)),
            Err(error) => self.cannot_write(ended, begun.first().copied(), error),
        }
        for (index, because) in skipped {
            self.skip(index, Some(because));
        }
        let Ok(operations) = written else { return Vec::new() };
        for index in &begun {
            self.reporter.event(&Event::Began { step: self.order.id(*index) });
        }
        begun.into_iter().zip(operations).collect()
    }

    fn write(&self, ended: &[Ended], begun: &[Index]) -> Result<Vec<OperationId>, CatalogError> {
        if ended.is_empty() && begun.is_empty() {
            return Ok(Vec::new());
        }
        let ended: Vec<_> = ended
            .iter()
            .map(|ended| match &ended.acted {
                Some(Ok(outcome)) => (ended.operation, outcome.as_str()),
                Some(Err(_)) => (ended.operation, "failed"),
                None => (ended.operation, "interrupted"),
            })
            .collect();
        let begun: Vec<_> = begun.iter().map(|index| self.order.id(*index)).collect();
        self.journal.write(&ended, &begun)
    }

    /// Fails all steps after a failure of the journal: an unrecorded step has not succeeded.
    fn cannot_write(&mut self, ended: Vec<Ended>, begun: Option<Index>, error: &CatalogError) {
        let failure = StepFailure::from(error);
        let mut first = None;
        for mut ended in ended {
            first.get_or_insert(ended.index);
            if matches!(ended.acted, Some(Ok(_))) {
                ended.acted = Some(Err(failure.clone()));
            }
            self.settle(ended);
        }
        if first.is_none()
            && let Some(index) = begun
        {
            first = Some(index);
            self.order.settle(index);
            self.fail(index, failure);
        }
        self.halted = self.halted.or(first);
    }

    /// Reports the end of a step.
    fn settle(&mut self, ended: Ended) {
        let Ended { index, operation: _, began, ended, acted } = ended;
        match acted {
            Some(Ok(outcome)) => {
                let step = self.order.id(index);
                self.reporter.event(&Event::Succeeded { step, outcome, took: ended - began });
                self.results.insert(step.clone(), StepResult::Succeeded { outcome, began, ended });
            }
            Some(Err(failure)) => self.fail(index, failure),
            None if self.halted.is_some() => self.skip(index, self.halted),
            None => {
                let step = self.order.id(index);
                self.reporter.event(&Event::Interrupted { step });
                self.results.insert(step.clone(), StepResult::Interrupted);
            }
        }
    }

    fn fail(&mut self, index: Index, failure: StepFailure) {
        let step = self.order.id(index);
        self.reporter.event(&Event::Failed { step, failure: &failure });
        self.results.insert(step.clone(), StepResult::Failed(failure));
    }

    fn skip(&mut self, index: Index, because: Option<Index>) {
        let (step, because) = (self.order.id(index), because.map(|because| self.order.id(because)));
        self.reporter.event(&Event::Skipped { step, because });
        self.results.insert(step.clone(), StepResult::Skipped { because: because.cloned() });
    }

    /// Ends all waits early.
    fn give_up_waiting(&self) {
        for running in self.running.values().filter(|running| only_waits(self.order.step(running.index))) {
            running.abort.abort();
        }
    }

    fn join(&mut self, joined: Result<(Id, Acted), JoinError>) -> Option<Ended> {
        let (task, acted) = match joined {
            Ok((task, acted)) => (task, Some(acted)),
            Err(error) if error.is_cancelled() => (error.id(), None),
            Err(error) => (error.id(), Some(Err(StepFailure::defect(&error)))),
        };
        let Running { index, operation, began, abort: _ } = self.running.remove(&task)?;
        Some(Ended { index, operation, began, ended: Instant::now(), acted })
    }

    /// Skips the remaining steps, none of which has begun.
    fn finish(mut self) -> BTreeMap<StepId, StepResult> {
        let rest: Vec<_> = self.order.rest().collect();
        for index in rest {
            self.skip(index, self.halted);
        }
        self.results
    }
}

#[cfg(test)]
#[path = "walker_tests.rs"]
mod tests;
