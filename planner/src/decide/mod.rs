//! Decides the action on each sandbox by itself; the graph then orders the steps.
//!
//! ```text
//! status      equal spec     record/live fields   restart fields        replace fields
//! ─────────── ────────────── ──────────────────── ───────────────────── ──────────────────────
//! not created create
//! incomplete  create again under the same id ──────────────────────────► remove, create again
//! running     nothing (hook) live                 stop, update, start    remove, create again
//! job, done   nothing        live                 update, start          remove, create again
//! paused      resume         live, resume         stop, update, start    remove, create again
//! any other   start          update, start        update, start          remove, create again
//! ```

pub mod block;
pub mod drift;
pub mod ports;
pub mod select;
pub mod volumes;

use crate::decide::block::Blocks;
use crate::decide::drift::drift;
use crate::decide::select::{Orphan, Selection};
use crate::decide::volumes::{VolumeDecision, mounted, restarts, runs};
use crate::{PlanError, Policy};
use schemas::digest::Digest;
use schemas::model::{Model, Sandbox};
use schemas::name::{ProjectName, SandboxId, SandboxName, VolumeName};
use schemas::plan::Identity;
use schemas::report::{Action, ChangeKind, DownState, Drift, Effect, FieldChange, Reason, SandboxChange};
use schemas::snapshot::{ObservedImage, ObservedSandbox, Snapshot, Status, UnreadableSandbox};
use schemas::spec::diff::{changed_value, changes, strongest};
use schemas::spec::{Definition, HookEvent, PinnedImage, Role, SandboxSpec, ValueName};
use std::collections::{BTreeMap, BTreeSet};

/// The decision on one sandbox.
pub struct Decision<'a> {
    /// Its name.
    pub name: SandboxName,
    /// How the recorded instance ends; `None` when it does not.
    pub teardown: Option<Teardown>,
    /// The state to reach; `None` for a removal and for a sandbox that is left as it is.
    pub target: Option<TargetState<'a>>,
    /// The strongest action on it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// How its state differs from the one that msb left it in.
    pub drift: Option<Drift>,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// How a recorded instance ends.
pub struct Teardown {
    /// The instance.
    pub identity: Identity,
    /// The pre-stop hook to run first, when the instance runs and has one.
    pub pre_stop: Option<Vec<String>>,
    /// Whether it is stopped or removed.
    pub kind: TeardownKind,
}

/// How an instance ends.
pub enum TeardownKind {
    /// It stays recorded; no process runs with the spec of this digest.
    Stop(Digest),
    /// Nothing is left of it.
    Remove,
}

impl Teardown {
    /// Creates the end of a recorded instance, with its pre-stop hook when it runs.
    pub fn of(identity: Identity, recorded: &ObservedSandbox, kind: TeardownKind) -> Self {
        let command = recorded.spec.definition.hooks.get(&HookEvent::PreStop);
        let pre_stop = command.filter(|_| runs(&recorded.status)).cloned();
        Self { identity, pre_stop, kind }
    }
}

/// The state that a sandbox is to reach.
pub struct TargetState<'a> {
    /// The instance.
    pub identity: Identity,
    /// Its image.
    pub image: PinnedImage,
    /// Everything else about it.
    pub definition: &'a Definition,
    /// Whether its image must be built first.
    pub build_image: bool,
    /// How the record gets the spec.
    pub update: SpecUpdate,
    /// The values that have changed on the host, and are passed on with [`SpecUpdate::Live`].
    pub values: BTreeSet<ValueName>,
    /// Whether it is started.
    pub start: bool,
    /// The post-start hook, when it has yet to run.
    pub post_start: Option<Vec<String>>,
}

/// How the record gets a spec.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SpecUpdate {
    /// It has it already.
    None,
    /// The sandbox is recorded and its folder and disk are created; it must not run.
    Offline,
    /// The record changes while the sandbox runs, or without touching how it ended.
    Live,
}

impl TargetState<'_> {
    /// Its whole planner state.
    pub fn spec(&self) -> SandboxSpec {
        SandboxSpec { image: self.image.clone(), definition: self.definition.clone() }
    }
}

impl<'a> Decision<'a> {
    /// Creates a decision without steps.
    pub fn new(name: &SandboxName, action: Action, reason: Reason) -> Self {
        Self {
            name: name.clone(),
            teardown: None,
            target: None,
            action,
            reason,
            drift: None,
            fields: Vec::new(),
        }
    }

    /// Leaves a sandbox as it is.
    pub fn left_alone(name: &SandboxName, reason: Reason) -> Self {
        Self::new(name, Action::Unchanged, reason)
    }

    /// Removes a sandbox.
    pub fn removal(name: &SandboxName, observed: &ObservedSandbox, reason: Reason) -> Self {
        let teardown = Teardown::of(identity_of(name, observed), observed, TeardownKind::Remove);
        Self { teardown: Some(teardown), ..Self::new(name, Action::Remove, reason) }
    }

    /// Removes a sandbox whose record cannot be read.
    pub fn removal_of_unreadable(
        name: &SandboxName,
        UnreadableSandbox { id, generation, reason: error }: &UnreadableSandbox,
    ) -> Self {
        let identity = Identity { name: name.clone(), id: id.clone(), generation: *generation };
        let teardown = Teardown { identity, pre_stop: None, kind: TeardownKind::Remove };
        let reason = Reason::TakenDownUnreadable { error: error.clone() };
        Self { teardown: Some(teardown), ..Self::new(name, Action::Remove, reason) }
    }

    /// Returns the change that the report shows.
    pub fn into_change(self) -> SandboxChange {
        let Self { name, teardown: _, target: _, action, reason, drift, fields } = self;
        SandboxChange { name, action, reason, drift, fields }
    }
}

/// Decides to remove the selected sandboxes; sorted by name.
pub fn down(observed: &Snapshot, selected: &BTreeSet<SandboxName>) -> Vec<Decision<'static>> {
    let decide = |(name, sandbox)| {
        if selected.contains(name) {
            Decision::removal(name, sandbox, Reason::TakenDown)
        } else {
            Decision::left_alone(name, Reason::NotSelected)
        }
    };
    let unreadable = observed.unreadable.iter().filter(|(name, _)| selected.contains(*name));
    let unreadable = unreadable.map(|(name, sandbox)| Decision::removal_of_unreadable(name, sandbox));
    let mut decisions: Vec<_> = observed.sandboxes.iter().map(decide).chain(unreadable).collect();
    decisions.sort_by(|a, b| a.name.cmp(&b.name));
    decisions
}

/// The scope of `up`.
pub struct Scope<'a, 's> {
    /// The model.
    pub model: &'a Model,
    /// The sandboxes that take part, and the orphans.
    pub selection: &'s Selection,
    /// Those of them that are blocked.
    pub blocks: &'s Blocks,
    /// The decisions on the volumes.
    pub volumes: &'s [VolumeDecision],
}

/// Decides how the selected sandboxes are brought up, without the blocked ones; sorted by name.
///
/// # Errors
///
/// Fails where a selected sandbox has an unreadable record, or its image was not observed.
pub fn up<'a>(
    Scope { model, selection: Selection { sandboxes: selected, orphans }, blocks, volumes }: &Scope<'a, '_>,
    observed: &Snapshot,
    policy: &Policy,
) -> Result<Vec<Decision<'a>>, PlanError> {
    let restarts = restarts(volumes);
    let mut decisions = Vec::new();
    for (name, unreadable) in &observed.unreadable {
        let reason = || unreadable.reason.clone();
        match model.sandbox(name) {
            // It cannot be compared, and replacing it could destroy data.
            Some(_) if selected.contains(name) => {
                return Err(PlanError::Unreadable { name: name.clone(), reason: reason() });
            }
            Some(_) => {}
            None => {
                decisions.push(Decision::left_alone(name, Reason::OrphanUnreadable { error: reason() }));
            }
        }
    }
    for sandbox in model.sandboxes() {
        let name = sandbox.name();
        let recorded = observed.sandboxes.get(name);
        let is_known = recorded.is_some() || observed.unreadable.contains_key(name);
        if !selected.contains(name) && !is_known {
            // It was never created and takes no part: the report does not mention it.
            continue;
        }
        let decision = match blocks.get(name) {
            _ if !selected.contains(name) && policy.targets.is_empty() => {
                Decision::left_alone(name, Reason::ProfileInactive)
            }
            _ if !selected.contains(name) => Decision::left_alone(name, Reason::NotSelected),
            Some(cause) => Decision::left_alone(name, Reason::Blocked { cause: cause.clone() }),
            None => plan_sandbox(model.project(), sandbox, observed, policy.start, &restarts)?,
        };
        let drift = recorded.filter(|_| selected.contains(name)).and_then(drift);
        decisions.push(Decision { drift, ..decision });
    }
    for (name, recorded) in &observed.sandboxes {
        decisions.extend(orphans.get(name).map(|Orphan { is_removed, reason }| {
            if *is_removed {
                Decision::removal(name, recorded, reason.clone())
            } else {
                Decision::left_alone(name, reason.clone())
            }
        }));
    }
    decisions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(decisions)
}

fn plan_sandbox<'a>(
    project: &ProjectName,
    sandbox: &'a Sandbox,
    observed: &Snapshot,
    start: bool,
    restarts: &BTreeMap<&VolumeName, FieldChange>,
) -> Result<Decision<'a>, PlanError> {
    let image = observed.image(sandbox.image()).ok_or_else(|| PlanError::ImageNotObserved {
        sandbox: sandbox.name().clone(),
        reference: sandbox.image().clone(),
    })?;
    let changed_values = observed.changed_values.get(sandbox.name());
    let planner = SandboxPlanner { project, sandbox, image, start, restarts, changed_values };
    Ok(match observed.sandboxes.get(sandbox.name()) {
        None => planner.create(1, Action::Create, Reason::NotCreated),
        Some(recorded) => planner.compare(recorded),
    })
}

struct SandboxPlanner<'a, 'p> {
    project: &'p ProjectName,
    sandbox: &'a Sandbox,
    image: &'p ObservedImage,
    /// Whether anything may be started.
    start: bool,
    /// The volumes that are created or grow.
    restarts: &'p BTreeMap<&'p VolumeName, FieldChange>,
    /// The values that have changed on the host since it received them.
    changed_values: Option<&'p BTreeSet<ValueName>>,
}

impl<'a> SandboxPlanner<'a, '_> {
    fn pinned(&self) -> PinnedImage {
        PinnedImage { reference: self.sandbox.image().clone(), digest: self.image.digest.clone() }
    }

    fn decision(&self, action: Action, reason: Reason, target: Option<TargetState<'a>>) -> Decision<'a> {
        Decision { target, ..Decision::new(self.sandbox.name(), action, reason) }
    }

    fn post_start(&self, is_due: bool) -> Option<Vec<String>> {
        self.sandbox.definition().hooks.get(&HookEvent::PostStart).filter(|_| is_due).cloned()
    }

    /// Returns the values that have changed on the host for a running sandbox, of those that keep their source.
    fn changed_values(&self, recorded: &ObservedSandbox) -> BTreeSet<ValueName> {
        let Some(changed) = self.changed_values.filter(|_| runs(&recorded.status)) else {
            return BTreeSet::new();
        };
        let old: BTreeMap<_, _> = recorded.spec.definition.value_sources().collect();
        let new = self.sandbox.definition().value_sources();
        let kept = new.filter(|(name, source)| old.get(name) == Some(source) && changed.contains(name));
        kept.map(|(name, _)| name).collect()
    }

    /// Returns the fields that differ, these values, and the volumes it runs with that change.
    fn changes(&self, recorded: &ObservedSandbox, values: &BTreeSet<ValueName>) -> Vec<FieldChange> {
        let (old, new) = (&recorded.spec, (&self.pinned(), self.sandbox.definition()));
        let mut changed = changes((&old.image, &old.definition), new);
        changed.extend(values.iter().map(changed_value));
        if runs(&recorded.status) && !self.restarts.is_empty() {
            let volumes = mounted(&old.definition).into_iter();
            changed.extend(volumes.filter_map(|volume| self.restarts.get(volume)).cloned());
        }
        changed.sort_by(|a, b| a.field.cmp(&b.field));
        changed
    }

    fn create(&self, generation: u32, action: Action, reason: Reason) -> Decision<'a> {
        let name = self.sandbox.name().clone();
        let id = SandboxId::derive(self.project, &name, generation);
        let target = TargetState {
            identity: Identity { name, id, generation },
            image: self.pinned(),
            definition: self.sandbox.definition(),
            build_image: !self.image.built,
            update: SpecUpdate::Offline,
            values: BTreeSet::new(),
            start: self.start,
            post_start: self.post_start(self.start),
        };
        self.decision(action, reason, Some(target))
    }

    fn compare(&self, recorded: &ObservedSandbox) -> Decision<'a> {
        let values = self.changed_values(recorded);
        let changed = self.changes(recorded, &values);
        let kind = strongest(&changed);
        let identity = identity_of(self.sandbox.name(), recorded);
        let is_running = runs(&recorded.status);
        if !self.start
            && is_running
            && let Some(kind @ (ChangeKind::Restart | ChangeKind::Replace)) = kind
        {
            // Nothing is started, so it could not be restarted.
            let reason = fields_changed(&changed, kind, None, Effect::Deferred);
            return Decision { fields: changed, ..Decision::left_alone(self.sandbox.name(), reason) };
        }
        if kind == Some(ChangeKind::Replace) {
            let reason = fields_changed(&changed, ChangeKind::Replace, None, Effect::Now);
            let created = self.create(recorded.generation + 1, Action::Replace, reason);
            let teardown = Some(Teardown::of(identity, recorded, TeardownKind::Remove));
            return Decision { teardown, fields: changed, ..created };
        }
        let role = self.sandbox.definition().role;
        let down = match &recorded.status {
            Status::Incomplete => {
                let reason = if recorded.created { Reason::DiskMissing } else { Reason::CreationInterrupted };
                let created = self.create(recorded.generation, Action::Create, reason);
                let target = created.target.map(|target| TargetState { identity, ..target });
                return Decision { target, ..created };
            }
            Status::Running { health: _ } | Status::Paused => None,
            Status::Exited { exit } if role == Role::Job && exit.is_success() => None,
            Status::Exited { exit } => Some(DownState::Exited { exit: exit.clone() }),
            Status::Stopped => Some(DownState::Stopped),
            Status::Lost => Some(DownState::SupervisorGone),
            Status::HostRebooted => Some(DownState::HostRebooted),
        };
        let is_due = |start: bool| start || (self.start && is_running && recorded.post_start_pending);
        let target = |update, start| {
            let build_image = start && !self.image.built;
            let (identity, image, definition) = (identity.clone(), self.pinned(), self.sandbox.definition());
            let post_start = self.post_start(is_due(start));
            let values = if update == SpecUpdate::Live { values.clone() } else { BTreeSet::new() };
            Some(TargetState { identity, image, definition, build_image, update, values, start, post_start })
        };
        let mut decision = match (kind, down) {
            (None, None) if self.post_start(is_due(false)).is_some() => {
                self.decision(Action::Live, Reason::PostStartPending, target(SpecUpdate::None, false))
            }
            (None, None) => {
                let reason = if is_running { Reason::AsDeclared } else { Reason::Completed };
                self.decision(Action::Unchanged, reason, target(SpecUpdate::None, false))
            }
            (None, Some(state)) => {
                let action = if self.start { Action::Start } else { Action::Unchanged };
                self.decision(action, Reason::Down { state }, target(SpecUpdate::None, self.start))
            }
            (Some(ChangeKind::None), None) => {
                self.decision(Action::Live, Reason::RecordOnly, target(SpecUpdate::Live, false))
            }
            (Some(kind @ ChangeKind::Live), None) => {
                let reason = fields_changed(&changed, kind, None, Effect::Now);
                self.decision(Action::Live, reason, target(SpecUpdate::Live, false))
            }
            (Some(kind), down) if !self.start => {
                let reason = fields_changed(&changed, kind, down, Effect::NextStart);
                self.decision(Action::Live, reason, target(SpecUpdate::Offline, false))
            }
            (Some(kind), None) => {
                let reason = fields_changed(&changed, kind, None, Effect::Now);
                // The record is up to date when only a volume changes.
                let SandboxSpec { image, definition } = &recorded.spec;
                let is_same = *image == self.pinned() && definition == self.sandbox.definition();
                let update = if is_same { SpecUpdate::None } else { SpecUpdate::Offline };
                let created = self.decision(Action::Restart, reason, target(update, true));
                let kind = || TeardownKind::Stop(recorded.spec.digest());
                let teardown = is_running.then(|| Teardown::of(identity.clone(), recorded, kind()));
                Decision { teardown, ..created }
            }
            (Some(kind), down) => {
                let reason = fields_changed(&changed, kind, down, Effect::Now);
                self.decision(Action::Start, reason, target(SpecUpdate::Offline, true))
            }
        };
        if recorded.status == Status::Paused {
            self.resume(&mut decision);
        }
        decision.fields = changed;
        decision
    }

    /// Adds the resumption of a paused sandbox to a decision that neither stops nor removes it.
    fn resume(&self, decision: &mut Decision<'a>) {
        let Some(target) = decision.target.as_mut().filter(|_| decision.teardown.is_none()) else { return };
        // A started sandbox is not paused. Its machine may end before the step, which then boots another one.
        target.start = self.start;
        target.build_image = self.start && !self.image.built;
        match &mut decision.reason {
            Reason::FieldsChanged { down, .. } => *down = Some(DownState::Paused),
            Reason::RecordOnly if !self.start => {}
            reason => *reason = Reason::Down { state: DownState::Paused },
        }
        if self.start && decision.action == Action::Unchanged {
            decision.action = Action::Start;
        }
    }
}

/// Returns the recorded instance.
pub fn identity_of(
    name: &SandboxName,
    ObservedSandbox { id, generation, spec: _, status: _, post_start_pending: _, created: _, should_run: _ }: &ObservedSandbox,
) -> Identity {
    Identity { name: name.clone(), id: id.clone(), generation: *generation }
}

/// Names the fields that require the most.
fn fields_changed(
    fields: &[FieldChange],
    kind: ChangeKind,
    down: Option<DownState>,
    effect: Effect,
) -> Reason {
    let causes = fields.iter().filter(|change| change.kind == kind);
    Reason::FieldsChanged { fields: causes.map(|change| change.field.clone()).collect(), down, effect }
}
