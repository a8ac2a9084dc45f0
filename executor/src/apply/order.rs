//! The order of a walk: which steps are ready, waiting or blocked, as a function of the ended ones.

use schemas::plan::{Ensure, Step, StepId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The index of a step among the plan's sorted ids.
pub(super) type Index = usize;

/// The open steps of one walk.
pub(super) struct Order<'a> {
    steps: Vec<(&'a StepId, &'a Step)>,
    dependents: Vec<Vec<Index>>,
    waits_for: Vec<usize>,
    /// Ready steps that wait for a free slot.
    ready_to_work: BTreeSet<Index>,
    /// Ready steps that need no slot.
    ready_to_wait: BTreeSet<Index>,
    places: usize,
    settled: Vec<bool>,
}

/// Whether a step only waits, and needs no slot.
pub(super) fn only_waits(step: &Step) -> bool {
    matches!(step.ensure, Ensure::Condition { .. })
}

impl<'a> Order<'a> {
    /// Creates the order of a plan, with this many slots for working steps.
    pub(super) fn new(steps: &'a BTreeMap<StepId, Step>, places: usize) -> Self {
        let index_of: HashMap<&StepId, Index> =
            steps.keys().enumerate().map(|(index, id)| (id, index)).collect();
        let mut order = Self {
            steps: steps.iter().collect(),
            dependents: vec![Vec::new(); steps.len()],
            waits_for: steps.values().map(|step| step.after.len()).collect(),
            ready_to_work: BTreeSet::new(),
            ready_to_wait: BTreeSet::new(),
            places: places.max(1),
            settled: vec![false; steps.len()],
        };
        for (index, step) in steps.values().enumerate() {
            // A step after a missing one never begins.
            for before in step.after.iter().filter_map(|before| index_of.get(before)) {
                order.dependents[*before].push(index);
            }
            if step.after.is_empty() {
                order.ready(index);
            }
        }
        order
    }

    pub(super) fn id(&self, index: Index) -> &'a StepId {
        self.steps[index].0
    }

    pub(super) fn step(&self, index: Index) -> &'a Step {
        self.steps[index].1
    }

    fn ready(&mut self, index: Index) {
        if only_waits(self.step(index)) {
            self.ready_to_wait.insert(index);
        } else {
            self.ready_to_work.insert(index);
        }
    }

    /// Takes every step that may begin now.
    pub(super) fn take(&mut self) -> Vec<Index> {
        let mut taken: Vec<Index> = std::mem::take(&mut self.ready_to_wait).into_iter().collect();
        while self.places > 0
            && let Some(index) = self.ready_to_work.pop_first()
        {
            self.places -= 1;
            taken.push(index);
        }
        taken
    }

    /// Frees the slot of a step that has ended, whatever its result; steps after it stay blocked.
    pub(super) fn settle(&mut self, index: Index) {
        self.settled[index] = true;
        if !only_waits(self.step(index)) {
            self.places += 1;
        }
    }

    /// Marks a step as done, which may make others ready.
    pub(super) fn succeeded(&mut self, index: Index) {
        self.settle(index);
        for dependent in std::mem::take(&mut self.dependents[index]) {
            self.waits_for[dependent] -= 1;
            if self.waits_for[dependent] == 0 && !self.settled[dependent] {
                self.ready(dependent);
            }
        }
    }

    /// Marks a step as failed; returns the steps that can never begin because of it.
    pub(super) fn failed(&mut self, index: Index) -> Vec<Index> {
        self.settle(index);
        let mut skipped = Vec::new();
        let mut open = vec![index];
        while let Some(index) = open.pop() {
            for dependent in std::mem::take(&mut self.dependents[index]) {
                if !std::mem::replace(&mut self.settled[dependent], true) {
                    skipped.push(dependent);
                    open.push(dependent);
                }
            }
        }
        skipped
    }

    /// Returns all steps that have neither ended nor been skipped.
    pub(super) fn rest(&self) -> impl Iterator<Item = Index> {
        (0..self.steps.len()).filter(|index| !self.settled[*index])
    }
}
