//! Turns decisions into steps and orders them.
//!
//! ```text
//!   image ─► pre-stop hook ─► (remove | stop) ─► volume ─► sandbox ─► start ─► wait until it is started
//!                 ▲                  │                                              ▼
//!   (remove | stop) of dependents    ▼                                       post-start hook ─► other waits
//!   as recorded                remove-volume                                        └──► start of a dependent
//! ```
//!
//! A volume is created or grows while no sandbox runs with it, and no sandbox starts with a volume that another
//! one still uses. A port of the host is released before another sandbox of the project binds it.
//!
//! Ends of instances follow the recorded dependencies backwards, starts follow the desired ones forwards,
//! and no end ever waits for a start: so there is no cycle.

pub mod check;

use crate::Policy;
use crate::decide::ports::current_owners;
use crate::decide::select;
use crate::decide::volumes::{Claims, Task, VolumeDecision, claims, mounted, recorded_spec, users};
use crate::decide::{Decision, SpecUpdate, TargetState, Teardown, TeardownKind};
use schemas::name::{SandboxName, VolumeName};
use schemas::plan::{Ensure, Identity, InstanceKey, PLAN_VERSION, PlanGraph, Step, StepId};
use schemas::snapshot::{Health, Snapshot, Status};
use schemas::spec::{Condition, HealthSetting, HookEvent, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Builds the plan.
pub fn build(
    decisions: &[Decision<'_>],
    volumes: &[VolumeDecision],
    observed: &Snapshot,
    policy: &Policy,
) -> PlanGraph {
    let by_name = decisions.iter().map(|decision| (&decision.name, decision)).collect();
    let mut builder = Builder {
        observed,
        by_name,
        steps: BTreeMap::new(),
        last: BTreeMap::new(),
        teardowns: BTreeMap::new(),
        mounting: users(observed, |_| true),
        claims: Claims::recorded(observed, |_| true),
        volumes: BTreeMap::new(),
        hooks: BTreeMap::new(),
    };
    for decision in decisions {
        builder.image(decision);
        builder.teardown(decision);
    }
    builder.order_teardowns();
    volumes.iter().for_each(|volume| builder.volume(volume));
    for decision in decisions {
        builder.make(decision);
        builder.post_start(decision);
    }
    for decision in decisions {
        builder.await_dependencies(decision);
        builder.await_volumes(decision);
    }
    if !observed.held_ports.is_empty() {
        decisions.iter().for_each(|decision| builder.await_ports(decision, policy.start));
    }
    if policy.wait && policy.start {
        decisions.iter().for_each(|decision| builder.await_end(decision));
    }
    PlanGraph {
        version: PLAN_VERSION,
        project: observed.project.clone(),
        snapshot: observed.digest(),
        steps: builder.steps,
    }
}

struct Builder<'a> {
    observed: &'a Snapshot,
    by_name: BTreeMap<&'a SandboxName, &'a Decision<'a>>,
    steps: BTreeMap<StepId, Step>,
    /// The last step so far of each sandbox that has any.
    last: BTreeMap<&'a SandboxName, StepId>,
    /// The first and the last step of each instance's end.
    teardowns: BTreeMap<&'a SandboxName, (StepId, StepId)>,
    /// The recorded sandboxes that mount each volume.
    mounting: BTreeMap<&'a VolumeName, Vec<&'a SandboxName>>,
    /// What they claim while they run.
    claims: Claims<'a>,
    /// The steps that make volumes.
    volumes: BTreeMap<&'a VolumeName, StepId>,
    /// The steps that run post-start hooks.
    hooks: BTreeMap<&'a SandboxName, StepId>,
}

impl<'a> Builder<'a> {
    fn add(&mut self, id: &StepId, ensure: Ensure, after: impl IntoIterator<Item = StepId>) {
        let step = self.steps.entry(id.clone()).or_insert(Step { ensure, after: BTreeSet::new() });
        step.after.extend(after);
    }

    fn image(&mut self, decision: &Decision<'_>) {
        let Some(TargetState { image, build_image: true, .. }) = &decision.target else { return };
        self.add(&StepId::Image(image.digest.clone()), Ensure::Image { image: image.clone() }, []);
    }

    fn teardown(&mut self, decision: &'a Decision<'_>) {
        let image = match &decision.target {
            Some(TargetState { image, build_image: true, .. }) => Some(StepId::Image(image.digest.clone())),
            _ => None,
        };
        let Some(Teardown { identity, pre_stop, kind }) = &decision.teardown else { return };
        let identity = identity.clone();
        let generation = match kind {
            TeardownKind::Stop(_) => None,
            TeardownKind::Remove => decision.target.as_ref().map(|_| identity.generation),
        };
        // An image that cannot be built must not cost the running sandbox.
        let mut before = image;
        let mut first = None;
        if let Some(command) = pre_stop {
            let id = StepId::Hook(instance(&identity, generation), HookEvent::PreStop);
            let (identity, event, command) = (identity.clone(), HookEvent::PreStop, command.clone());
            self.add(&id, Ensure::Hook { identity, event, command }, before);
            first = Some(id.clone());
            before = Some(id);
        }
        let (id, ensure) = match kind {
            TeardownKind::Stop(spec) => {
                let ensure = Ensure::Stopped { identity: identity.clone(), spec: spec.clone() };
                (StepId::Stop(instance(&identity, generation)), ensure)
            }
            TeardownKind::Remove => {
                (StepId::Remove(instance(&identity, generation)), Ensure::Removed { identity })
            }
        };
        self.add(&id, ensure, before);
        self.last.insert(&decision.name, id.clone());
        self.teardowns.insert(&decision.name, (first.unwrap_or_else(|| id.clone()), id));
    }

    fn order_teardowns(&mut self) {
        for (dependent, dependency) in select::teardown_order(self.observed) {
            if let (Some((_, end)), Some((begin, _))) =
                (self.teardowns.get(dependent), self.teardowns.get(dependency))
            {
                order(&mut self.steps, begin, [end.clone()]);
            }
        }
    }

    /// Adds the step of a volume, after the ends of the recorded sandboxes that mount it.
    fn volume(&mut self, VolumeDecision { name, task, .. }: &'a VolumeDecision) {
        let (id, ensure) = match task {
            Task::Nothing => return,
            Task::Make { spec, old: _ } => {
                let id = StepId::Volume(name.clone());
                self.volumes.insert(name, id.clone());
                (id, Ensure::Volume { name: name.clone(), spec: spec.clone() })
            }
            Task::Remove => {
                let id = StepId::RemoveVolume(name.clone());
                (id, Ensure::VolumeRemoved { name: name.clone() })
            }
        };
        let mounting = self.mounting.get(name).map(Vec::as_slice).unwrap_or_default();
        // The mounts of a sandbox with an unreadable record are unknown.
        let ending = mounting.iter().copied().chain(self.observed.unreadable.keys());
        let after: Vec<_> = ending.filter_map(|user| Some(self.teardowns.get(user)?.1.clone())).collect();
        self.add(&id, ensure, after);
    }

    fn make(&mut self, decision: &'a Decision<'_>) {
        let Some(target) = &decision.target else { return };
        let TargetState { identity, image, definition, build_image, update, values, start, post_start: _ } =
            target;
        if *update == SpecUpdate::None && !start {
            return;
        }
        let key = instance(identity, decision.generation());
        let (identity, spec) = (identity.clone(), Box::new(target.spec()));
        let started = start.then(|| Ensure::Started { identity: identity.clone(), spec: spec.digest() });
        let image = build_image.then(|| StepId::Image(image.digest.clone()));
        let volumes = mounted(definition).into_iter().filter_map(|name| self.volumes.get(name));
        let mut before: BTreeSet<StepId> = volumes.cloned().collect();
        before.extend(self.last.get(&decision.name).cloned().or(image));
        let live = |identity, spec| Ensure::Live { identity, spec, values: values.clone() };
        let recorded = match update {
            SpecUpdate::None => None,
            SpecUpdate::Offline => Some((StepId::Sandbox(key.clone()), Ensure::Sandbox { identity, spec })),
            SpecUpdate::Live => Some((StepId::Live(key.clone()), live(identity, spec))),
        };
        if let Some((id, ensure)) = recorded {
            self.add(&id, ensure, before);
            self.last.insert(&decision.name, id.clone());
            before = [id].into();
        }
        if let Some(started) = started {
            let id = StepId::Start(key);
            self.add(&id, started, before);
            self.last.insert(&decision.name, id);
        }
    }

    /// Adds the post-start hook, which runs once the guest is up. Every wait for the sandbox waits for the hook too.
    fn post_start(&mut self, decision: &'a Decision<'_>) {
        let Some(TargetState { identity, post_start: Some(command), .. }) = &decision.target else { return };
        let up = self.condition(&decision.name, Condition::Started);
        let after = up.or_else(|| self.last.get(&decision.name).cloned());
        let event = HookEvent::PostStart;
        let id = StepId::Hook(instance(identity, decision.generation()), event);
        let (identity, command) = (identity.clone(), command.clone());
        self.add(&id, Ensure::Hook { identity, event, command }, after);
        self.last.insert(&decision.name, id.clone());
        self.hooks.insert(&decision.name, id);
    }

    fn await_dependencies(&mut self, decision: &Decision<'_>) {
        let Some(TargetState { identity, definition, start: true, .. }) = &decision.target else { return };
        let start = StepId::Start(instance(identity, decision.generation()));
        for (dependency, &condition) in &definition.depends_on {
            let wait = self.condition(dependency, condition);
            order(&mut self.steps, &start, wait);
        }
    }

    /// Orders a start after the ends of the sandboxes that still use its disks or write to its directories.
    fn await_volumes(&mut self, decision: &Decision<'_>) {
        let Some(TargetState { identity, definition, start: true, .. }) = &decision.target else { return };
        let others = self.claims.against(claims(definition, |name| recorded_spec(self.observed, name)));
        let others = others.filter(|(user, _)| **user != decision.name);
        let ends = others.filter_map(|(user, _)| Some(self.teardowns.get(user)?.1.clone()));
        order(&mut self.steps, &StepId::Start(instance(identity, decision.generation())), ends);
    }

    /// Orders a start, or a live change, after the steps that release its ports.
    fn await_ports(&mut self, decision: &Decision<'_>, start: bool) {
        let Some(TargetState { identity, image, definition, update, start: starts, .. }) = &decision.target
        else {
            return;
        };
        let key = instance(identity, decision.generation());
        let own = match (starts, update) {
            (true, _) => StepId::Start(key),
            (false, SpecUpdate::Live) => StepId::Live(key),
            (false, SpecUpdate::None | SpecUpdate::Offline) => return,
        };
        for owner in current_owners(&decision.name, (image, definition), self.observed, start) {
            let end = self.teardowns.get(owner).map(|(_, end)| end.clone());
            let Some(end) = end.or_else(|| self.live_step(owner)) else { continue };
            // Sandboxes that pass ports on in a cycle cannot wait for each other: the first bind is refused.
            if !self.comes_after(&end, &own) {
                order(&mut self.steps, &own, [end]);
            }
        }
    }

    /// Returns the step that changes a sandbox while it runs, if the plan has one.
    fn live_step(&self, name: &SandboxName) -> Option<StepId> {
        let target = self.by_name.get(name)?.target.as_ref()?;
        let id = StepId::Live(instance(&target.identity, None));
        self.steps.contains_key(&id).then_some(id)
    }

    /// Returns whether a step comes after another one, or is the same.
    fn comes_after(&self, step: &StepId, other: &StepId) -> bool {
        let (mut open, mut seen) = (vec![step], BTreeSet::new());
        while let Some(id) = open.pop() {
            if id == other {
                return true;
            }
            if seen.insert(id) {
                open.extend(self.steps.get(id).into_iter().flat_map(|step| &step.after));
            }
        }
        false
    }

    fn await_end(&mut self, decision: &Decision<'_>) {
        let Some(TargetState { definition, image, .. }) = &decision.target else { return };
        let is_checked = match definition.healthcheck {
            Some(HealthSetting::Check(_)) => true,
            Some(HealthSetting::Disabled) => false,
            None => self.observed.image(&image.reference).is_some_and(|image| image.healthcheck),
        };
        let condition = match definition.role {
            Role::Job => Condition::Completed,
            Role::Service if is_checked => Condition::Healthy,
            Role::Service => Condition::Started,
        };
        self.condition(&decision.name, condition);
    }

    /// Returns the step that waits for a sandbox's condition; `None` when it holds and the sandbox has no steps.
    fn condition(&mut self, name: &SandboxName, condition: Condition) -> Option<StepId> {
        let decision = *self.by_name.get(name)?;
        let target = decision.target.as_ref()?;
        if let Some(hook) = self.hooks.get(name).filter(|_| condition == Condition::Started) {
            return Some(hook.clone());
        }
        let last = self.last.get(name).cloned();
        let status = self.observed.sandboxes.get(name).map(|sandbox| &sandbox.status);
        if last.is_none() && status.is_some_and(|status| holds(status, condition)) {
            return None;
        }
        let id = StepId::Wait(name.clone(), condition);
        let ensure = Ensure::Condition { identity: target.identity.clone(), condition };
        self.add(&id, ensure, last);
        Some(id)
    }
}

/// Orders a step after others, if the plan has it.
pub fn order(steps: &mut BTreeMap<StepId, Step>, id: &StepId, after: impl IntoIterator<Item = StepId>) {
    if let Some(step) = steps.get_mut(id) {
        step.after.extend(after);
    }
}

/// Returns whether an observed sandbox has reached a condition.
fn holds(status: &Status, condition: Condition) -> bool {
    match (status, condition) {
        (Status::Running { health }, Condition::Started) => *health != Health::Booting,
        (Status::Running { health }, Condition::Healthy) => *health == Health::Healthy,
        (Status::Exited { exit }, Condition::Started | Condition::Completed) => exit.is_success(),
        (Status::Running { .. }, Condition::Completed)
        | (Status::Exited { .. }, Condition::Healthy)
        | (Status::Incomplete | Status::Stopped | Status::Paused | Status::Lost | Status::HostRebooted, _) => {
            false
        }
    }
}

impl Decision<'_> {
    /// Returns the generation that tells a new instance's steps from those of the replaced one; `None` without
    /// a replacement.
    fn generation(&self) -> Option<u32> {
        let is_replaced = matches!(self.teardown, Some(Teardown { kind: TeardownKind::Remove, .. }));
        self.target.as_ref().filter(|_| is_replaced).map(|target| target.identity.generation)
    }
}

fn instance(Identity { name, .. }: &Identity, generation: Option<u32>) -> InstanceKey {
    InstanceKey { name: name.clone(), generation }
}
