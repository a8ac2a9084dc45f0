//! Rolls back a failed apply, as far as possible.
//!
//! Created sandboxes are removed, started ones stopped, changed ones get their earlier spec, and stopped ones are
//! started again. The disk of a removed sandbox cannot be restored, and the result names it. Sandboxes that the
//! apply did not touch stay as they are, whatever happened to them meanwhile.
//!
//! Ends are ordered in reverse of the starts that they roll back, and starts in reverse of the ends.

use crate::decide::identity_of;
use crate::decide::volumes::{Claims, claims, mounted, recorded_spec, runs};
use crate::graph::order;
use schemas::name::{SandboxName, VolumeName};
use schemas::plan::{Ensure, Identity, PLAN_VERSION, PlanGraph, Step, StepId};
use schemas::snapshot::{ObservedSandbox, Snapshot, Status};
use schemas::spec::HookEvent;
use std::collections::{BTreeMap, BTreeSet};

/// The rollback of an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The steps.
    pub plan: PlanGraph,
    /// The sandboxes that cannot be restored, because their disks are lost.
    pub lost: BTreeSet<SandboxName>,
}

/// Plans the rollback of the steps of `plan` that were `started`, from the state `now` to the state `before`.
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
        // A sandbox that was incomplete before is no loss.
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

/// The effect of an apply on one sandbox.
#[derive(Clone, Copy, Default)]
struct StepEffect {
    /// It was stopped, to be restarted.
    stopped: bool,
    /// It was changed while it ran.
    live: bool,
}

fn effects<'a>(plan: &'a PlanGraph, started: &BTreeSet<StepId>) -> BTreeMap<&'a SandboxName, StepEffect> {
    let mut found: BTreeMap<_, StepEffect> = BTreeMap::new();
    for (_, step) in plan.steps.iter().filter(|(id, _)| started.contains(*id)) {
        match &step.ensure {
            // Images are a cache, and waiting has no effect.
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
    /// The step that stops or removes each sandbox.
    ends: BTreeMap<SandboxName, StepId>,
    /// The step that starts each sandbox again.
    starts: BTreeMap<SandboxName, (StepId, Identity)>,
}

impl RollbackBuilder {
    fn add(&mut self, id: StepId, ensure: Ensure, after: Option<StepId>) -> StepId {
        self.steps.insert(id.clone(), Step { ensure, after: after.into_iter().collect() });
        id
    }

    fn remove(&mut self, name: &SandboxName, new: &ObservedSandbox) {
        let id =
            self.add(StepId::Remove(name.into()), Ensure::Removed { identity: identity_of(name, new) }, None);
        self.ends.insert(name.clone(), id);
    }

    /// Removes a volume after everything that could still use it.
    fn remove_volume(&mut self, name: &VolumeName) {
        // A stopped sandbox has no end step, and its record names the volume until it is restored.
        let recorded = self.steps.iter().filter(|(_, step)| matches!(step.ensure, Ensure::Sandbox { .. }));
        let after = recorded.map(|(id, _)| id).chain(self.ends.values()).cloned().collect();
        let step = Step { ensure: Ensure::VolumeRemoved { name: name.clone() }, after };
        self.steps.insert(StepId::RemoveVolume(name.clone()), step);
    }

    fn restore(&mut self, name: &SandboxName, old: &ObservedSandbox, new: &ObservedSandbox, how: StepEffect) {
        let identity = identity_of(name, old);
        let changed = old.spec != new.spec;
        let spec = || Box::new(old.spec.clone());
        let [ran, runs] = [old, new].map(|sandbox| runs(&sandbox.status));
        if how.live && !how.stopped {
            if changed {
                // Earlier values are not known any more.
                let ensure = Ensure::Live { identity, spec: spec(), values: BTreeSet::new() };
                self.add(StepId::Live(name.into()), ensure, None);
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
        // A sandbox that ended by itself was not stopped by the apply.
        if ran && how.stopped && (changed || !runs) {
            let ensure = Ensure::Started { identity: identity.clone(), spec: old.spec.digest() };
            let id = self.add(StepId::Start(name.into()), ensure, last);
            self.starts.insert(name.clone(), (id, identity));
        }
    }

    /// Reverses each edge of the plan between two sandboxes.
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
                    // A start that waits for an end needs a volume: `order_volumes` handles it.
                    Ensure::Started { .. } if !is_end(&earlier.ensure) => {
                        self.end_before(&then.name, &first.name);
                    }
                    // A pre-stop hook stands for the end that follows it.
                    ensure if is_end(ensure) || is_pre_stop(ensure) => {
                        self.start_before(&then.name, &first.name, before);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Orders starts after the ends of sandboxes that still use their disks or write to their directories.
    fn order_volumes(&mut self, before: &Snapshot, now: &Snapshot) {
        let users = Claims::recorded(now, runs);
        for (name, (start, _)) in &self.starts {
            let Some(old) = before.sandboxes.get(name) else { continue };
            let others = users.against(claims(&old.spec.definition, |name| recorded_spec(now, name)));
            let others = others.filter(|(user, _)| *user != name);
            order(&mut self.steps, start, others.filter_map(|(user, _)| self.ends.get(user).cloned()));
        }
    }

    fn end_before(&mut self, dependent: &SandboxName, dependency: &SandboxName) {
        if let (Some(first), Some(then)) = (self.ends.get(dependent), self.ends.get(dependency)) {
            order(&mut self.steps, then, [first.clone()]);
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
        order(&mut self.steps, &then, [first]);
    }
}

fn is_end(ensure: &Ensure) -> bool {
    matches!(ensure, Ensure::Stopped { .. } | Ensure::Removed { .. })
}

fn is_pre_stop(ensure: &Ensure) -> bool {
    matches!(ensure, Ensure::Hook { event: HookEvent::PreStop, .. })
}
