//! Walks the graph: every step as soon as all that it comes after has succeeded, so many at once.
//!
//! There is no polling: a step's end wakes the walker, which begins what that step held up. Steps that
//! only wait for a condition take no place among the ones that work.

use super::{Interrupt, Outcome, StepFailure, StepResult};
use crate::reporter::{Event, Reporter};
use schemas::plan::{Ensure, Step, StepId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// Carries out all steps; gives how each ended.
pub(super) async fn walk<Run, Running>(
    steps: &BTreeMap<StepId, Step>,
    parallel: usize,
    run: Run,
    reporter: &dyn Reporter,
    mut interrupt: watch::Receiver<Interrupt>,
) -> BTreeMap<StepId, StepResult>
where
    Run: Fn(StepId, Step) -> Running,
    Running: Future<Output = Result<Outcome, StepFailure>> + Send + 'static,
{
    let mut walk = Walk::new(steps, parallel.max(1));
    let mut tasks: JoinSet<Result<Outcome, StepFailure>> = JoinSet::new();
    let mut running: HashMap<Id, (StepId, Instant)> = HashMap::new();
    loop {
        let wish = *interrupt.borrow_and_update();
        if wish == Interrupt::None {
            while let Some(id) = walk.begin_next() {
                let task = tasks.spawn(run(id.clone(), steps[&id].clone()));
                running.insert(task.id(), (id, Instant::now()));
            }
        }
        if tasks.is_empty() {
            break;
        }
        let joined = tokio::select! {
            joined = tasks.join_next_with_id() => joined,
            Ok(()) = interrupt.changed() => {
                if *interrupt.borrow() == Interrupt::Now {
                    tasks.abort_all();
                }
                continue;
            }
        };
        let Some(joined) = joined else { break };
        let (task, ended) = match joined {
            Ok((task, ended)) => (task, ended),
            Err(error) if error.is_cancelled() => (error.id(), Err(StepFailure::new("interrupted"))),
            Err(error) => (error.id(), Err(StepFailure::new(format!("a defect in msb: {error}")))),
        };
        let Some((id, began)) = running.remove(&task) else { continue };
        match &ended {
            Ok(outcome) => {
                reporter.event(&Event::Succeeded { step: &id, outcome: *outcome, took: began.elapsed() });
            }
            Err(failure) => reporter.event(&Event::Failed { step: &id, failure }),
        }
        for (skipped, because) in walk.end(&id, began, ended) {
            reporter.event(&Event::Skipped { step: &skipped, because: Some(&because) });
        }
    }
    for skipped in walk.rest() {
        reporter.event(&Event::Skipped { step: &skipped, because: None });
    }
    walk.results
}

/// Who may begin, who waits for whom.
struct Walk<'a> {
    steps: &'a BTreeMap<StepId, Step>,
    dependents: BTreeMap<&'a StepId, Vec<&'a StepId>>,
    waits_for: BTreeMap<&'a StepId, usize>,
    ready: BTreeSet<&'a StepId>,
    places: usize,
    results: BTreeMap<StepId, StepResult>,
}

/// Waiting needs neither processor nor disk.
fn takes_a_place(step: &Step) -> bool {
    !matches!(step.ensure, Ensure::Condition { .. })
}

impl<'a> Walk<'a> {
    fn new(steps: &'a BTreeMap<StepId, Step>, places: usize) -> Self {
        let mut dependents: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (id, step) in steps {
            for before in &step.after {
                dependents.entry(before).or_default().push(id);
            }
        }
        let waits_for: BTreeMap<_, _> = steps.iter().map(|(id, step)| (id, step.after.len())).collect();
        let ready = waits_for.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
        Self { steps, dependents, waits_for, ready, places, results: BTreeMap::new() }
    }

    /// The next step that may begin, if there is a place for it.
    fn begin_next(&mut self) -> Option<StepId> {
        let id = *self.ready.iter().find(|id| self.places > 0 || !takes_a_place(&self.steps[**id]))?;
        self.ready.remove(id);
        if takes_a_place(&self.steps[id]) {
            self.places -= 1;
        }
        Some(id.clone())
    }

    /// A step has ended; gives the steps that are skipped for it.
    fn end(
        &mut self,
        id: &StepId,
        began: Instant,
        ended: Result<Outcome, StepFailure>,
    ) -> Vec<(StepId, StepId)> {
        if takes_a_place(&self.steps[id]) {
            self.places += 1;
        }
        match ended {
            Ok(outcome) => {
                self.results
                    .insert(id.clone(), StepResult::Succeeded { outcome, began, ended: Instant::now() });
                for dependent in self.dependents.get(id).into_iter().flatten() {
                    if let Some(count) = self.waits_for.get_mut(dependent) {
                        *count -= 1;
                        if *count == 0 && !self.results.contains_key(*dependent) {
                            self.ready.insert(dependent);
                        }
                    }
                }
                Vec::new()
            }
            Err(failure) => {
                self.results.insert(id.clone(), StepResult::Failed(failure));
                self.skip_dependents(id)
            }
        }
    }

    fn skip_dependents(&mut self, failed: &StepId) -> Vec<(StepId, StepId)> {
        let mut skipped = Vec::new();
        let mut open = vec![failed.clone()];
        while let Some(id) = open.pop() {
            for dependent in self.dependents.get(&id).into_iter().flatten() {
                if !self.results.contains_key(*dependent) {
                    let because = Some(failed.clone());
                    self.results.insert((*dependent).clone(), StepResult::Skipped { because });
                    self.ready.remove(*dependent);
                    skipped.push(((*dependent).clone(), failed.clone()));
                    open.push((*dependent).clone());
                }
            }
        }
        skipped
    }

    /// Marks what was never begun.
    fn rest(&mut self) -> Vec<StepId> {
        let rest: Vec<_> = self.steps.keys().filter(|id| !self.results.contains_key(*id)).cloned().collect();
        for id in &rest {
            self.results.insert(id.clone(), StepResult::Skipped { because: None });
        }
        rest
    }
}

#[cfg(test)]
#[path = "walker_tests.rs"]
mod tests;
