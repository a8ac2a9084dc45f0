//! Takes back what an apply that failed has done, as far as that can be.
//!
//! What it made is removed, what it started is stopped, what it changed gets its recorded spec again, and
//! what it had stopped for that is started again. The disk of a sandbox that it removed is lost for good:
//! that is told. What it did not touch stays as it is, whatever happened to it by itself.
//!
//! Ends come in the reverse order of the starts that they take back, and so do starts of the ends.

use crate::decide::volumes::{mounted, runs, users};
use schemas::name::{SandboxName, VolumeName};
use schemas::plan::{Ensure, Identity, PLAN_VERSION, PlanGraph, Step, StepId};
use schemas::snapshot::{ObservedSandbox, Snapshot, Status};
use schemas::spec::HookEvent;
use std::collections::{BTreeMap, BTreeSet};

/// What takes an apply back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The steps.
    pub plan: PlanGraph,
    /// Sandboxes that were there before and cannot be brought back.
    pub lost: BTreeSet<SandboxName>,
}

/// Takes back the steps of `plan` that were `started`, from what is there `now` to what was there `before`.
pub fn rollback(plan: &PlanGraph, started: &BTreeSet<StepId>, before: &Snapshot, now: &Snapshot) -> Rollback {
    let mut builder =
        RollbackBuilder { steps: BTreeMap::new(), ends: BTreeMap::new(), starts: BTreeMap::new() };
    let mut lost = BTreeSet::new();
    for (name, effect) in effects(plan, started) {
        let (old, new) = (before.sandboxes.get(name), now.sandboxes.get(name));
        let same = old.zip(new).filter(|(old, new)| old.id == new.id);
        match (same, new) {
            (Some((old, new)), _) if old.status != Status::Incomplete => {
                builder.restore(name, old, new, effect);
            }
            (_, Some(new)) => builder.remove(name, new),
            (_, None) => {}
        }
        // One that had never been whole is no loss.
        if old.is_some_and(|old| old.status != Status::Incomplete) && same.is_none() {
            lost.insert(name.clone());
        }
    }
    builder.order(plan, before);
    builder.order_volumes(before, now);
    for step in plan.steps.iter().filter(|(id, _)| started.contains(*id)).map(|(_, step)| step) {
        if let Ensure::Volume { name, .. } = &step.ensure
            && now.volumes.contains_key(name)
            && !before.volumes.contains_key(name)
            && !before.sandboxes.values().any(|sandbox| mounted(&sandbox.spec.definition).contains(name))
        {
            builder.remove_volume(name);
        }
    }
    let steps = builder.steps;
    let (project, snapshot) = (now.project.clone(), now.digest());
    let plan = PlanGraph { version: PLAN_VERSION, project, snapshot, steps };
    debug_assert_eq!(crate::graph::check::check(&plan), Ok(()), "a finished plan is sound");
    Rollback { plan, lost }
}

/// How an apply effect one sandbox.
#[derive(Clone, Copy, Default)]
struct StepEffect {
    /// It was stopped, to be started again.
    stopped: bool,
    /// It was changed without being stopped.
    live: bool,
}

fn effects<'a>(plan: &'a PlanGraph, started: &BTreeSet<StepId>) -> BTreeMap<&'a SandboxName, StepEffect> {
    let mut found: BTreeMap<_, StepEffect> = BTreeMap::new();
    for (_, step) in plan.steps.iter().filter(|(id, _)| started.contains(*id)) {
        match &step.ensure {
            // An image is a cache, and waiting changes nothing.
            Ensure::Image { .. } | Ensure::Condition { .. } => {}
            Ensure::Volume { .. } | Ensure::VolumeRemoved { .. } => {}
            Ensure::Stopped { identity, .. } => found.entry(&identity.name).or_default().stopped = true,
            Ensure::Live { identity, .. } => found.entry(&identity.name).or_default().live = true,
            Ensure::Sandbox { identity, .. }
            | Ensure::Started { identity, .. }
            | Ensure::Hook { identity, .. }
            | Ensure::Removed { identity } => {
                found.entry(&identity.name).or_default();
            }
        }
    }
    found
}

struct RollbackBuilder {
    steps: BTreeMap<StepId, Step>,
    /// The step that stops or removes a sandbox.
    ends: BTreeMap<SandboxName, StepId>,
    /// The step that starts it again.
    starts: BTreeMap<SandboxName, (StepId, Identity)>,
}

impl RollbackBuilder {
    fn add(&mut self, id: StepId, ensure: Ensure, after: Option<StepId>) -> StepId {
        self.steps.insert(id.clone(), Step { ensure, after: after.into_iter().collect() });
        id
    }

    fn remove(&mut self, name: &SandboxName, new: &ObservedSandbox) {
        let id =
            self.add(StepId::Remove(name.into()), Ensure::Removed { identity: identity(name, new) }, None);
        self.ends.insert(name.clone(), id);
    }

    /// After everything that could still use it.
    fn remove_volume(&mut self, name: &VolumeName) {
        // One that does not run has nothing to end, and is recorded with it until it is as before.
        let recorded = self.steps.iter().filter(|(_, step)| matches!(step.ensure, Ensure::Sandbox { .. }));
        let after = recorded.map(|(id, _)| id).chain(self.ends.values()).cloned().collect();
        let step = Step { ensure: Ensure::VolumeRemoved { name: name.clone() }, after };
        self.steps.insert(StepId::RemoveVolume(name.clone()), step);
    }

    fn restore(&mut self, name: &SandboxName, old: &ObservedSandbox, new: &ObservedSandbox, how: StepEffect) {
        let identity = identity(name, old);
        let changed = old.spec != new.spec;
        let spec = || Box::new(old.spec.clone());
        let [ran, runs] = [old, new].map(|sandbox| matches!(sandbox.status, Status::Running { .. }));
        if how.live && !how.stopped {
            if changed {
                self.add(StepId::Live(name.into()), Ensure::Live { identity, spec: spec() }, None);
            }
            return;
        }
        let mut last = None;
        if runs && (changed || !ran) {
            let ensure = Ensure::Stopped { identity: identity.clone(), spec: new.spec.digest() };
            let id = self.add(StepId::Stop(name.into()), ensure, None);
            self.ends.insert(name.clone(), id.clone());
            last = Some(id);
        }
        if changed {
            let ensure = Ensure::Sandbox { identity: identity.clone(), spec: spec() };
            last = Some(self.add(StepId::Sandbox(name.into()), ensure, last));
        }
        // What ended by itself is not this run's doing.
        if ran && how.stopped && (changed || !runs) {
            let ensure = Ensure::Started { identity: identity.clone(), spec: old.spec.digest() };
            let id = self.add(StepId::Start(name.into()), ensure, last);
            self.starts.insert(name.clone(), (id, identity));
        }
    }

    /// Each edge of the plan between two sandboxes, the other way round.
    fn order(&mut self, plan: &PlanGraph, before: &Snapshot) {
        for step in plan.steps.values() {
            for earlier in step.after.iter().filter_map(|id| plan.steps.get(id)) {
                let (Some(first), Some(then)) = (earlier.ensure.identity(), step.ensure.identity()) else {
                    continue;
                };
                if first.name == then.name {
                    continue;
                }
                match &step.ensure {
                    // A start that waits for an end wants a volume: `order_volumes` sees to that.
                    Ensure::Started { .. } if !is_end(&earlier.ensure) => {
                        self.end_before(&then.name, &first.name);
                    }
                    // What runs before an end waits in its place.
                    ensure if is_end(ensure) || is_pre_stop(ensure) => {
                        self.start_before(&then.name, &first.name, before);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Nobody starts again with a volume that another one still uses.
    fn order_volumes(&mut self, before: &Snapshot, now: &Snapshot) {
        let users = users(now, runs);
        for (name, (start, _)) in &self.starts {
            let Some(old) = before.sandboxes.get(name) else { continue };
            let shared = mounted(&old.spec.definition).into_iter().filter_map(|volume| users.get(volume));
            let others = shared.flatten().filter(|user| **user != name);
            let ends: Vec<_> = others.filter_map(|user| self.ends.get(*user).cloned()).collect();
            if let Some(step) = self.steps.get_mut(start) {
                step.after.extend(ends);
            }
        }
    }

    fn end_before(&mut self, dependent: &SandboxName, dependency: &SandboxName) {
        if let (Some(first), Some(then)) = (self.ends.get(dependent), self.ends.get(dependency))
            && let Some(step) = self.steps.get_mut(then)
        {
            step.after.insert(first.clone());
        }
    }

    fn start_before(&mut self, dependency: &SandboxName, dependent: &SandboxName, before: &Snapshot) {
        let (Some((first, identity)), Some((then, _))) =
            (self.starts.get(dependency).cloned(), self.starts.get(dependent).cloned())
        else {
            return;
        };
        let old = before.sandboxes.get(dependent);
        let condition = old.and_then(|old| old.spec.definition.depends_on.get(dependency));
        let first = match condition {
            None => first,
            Some(&condition) => {
                let ensure = Ensure::Condition { identity, condition };
                let id = StepId::Wait(dependency.clone(), condition);
                self.steps.insert(id.clone(), Step { ensure, after: [first].into() });
                id
            }
        };
        if let Some(step) = self.steps.get_mut(&then) {
            step.after.insert(first);
        }
    }
}

fn is_end(ensure: &Ensure) -> bool {
    matches!(ensure, Ensure::Stopped { .. } | Ensure::Removed { .. })
}

fn is_pre_stop(ensure: &Ensure) -> bool {
    matches!(ensure, Ensure::Hook { event: HookEvent::PreStop, .. })
}

fn identity(
    name: &SandboxName,
    ObservedSandbox { id, generation, spec: _, status: _, hook_due: _, made: _, wanted: _ }: &ObservedSandbox,
) -> Identity {
    Identity { name: name.clone(), id: id.clone(), generation: *generation }
}
