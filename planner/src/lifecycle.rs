//! Plans that start, stop, restart or remove recorded sandboxes, or create or remove volumes, each by itself.
//!
//! There is no model: sandboxes are neither compared nor created, and dependents are not included.

use crate::decide::volumes::{VolumeDecision, runs, users};
use crate::decide::{Decision, SpecUpdate, TargetState, Teardown, TeardownKind, identity_of};
use crate::{PlanError, Policy, graph};
use schemas::name::{SandboxName, VolumeName};
use schemas::plan::PlanGraph;
use schemas::report::{Action, DownState, Reason, Report, VolumeReason};
use schemas::snapshot::{ObservedSandbox, ObservedVolume, Snapshot, Status};
use schemas::spec::{HookEvent, VolumeSpec};
use std::collections::BTreeSet;

/// An action on recorded sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleAction {
    /// Start them, unless they run; a paused one is resumed.
    Start,
    /// Stop them if they run, and start them.
    Restart,
    /// Stop them; their disks stay.
    Stop,
    /// Remove them with their disks.
    Remove,
}

/// Plans an action on these recorded sandboxes; all others stay as they are.
///
/// # Errors
///
/// Fails where a target is not recorded, or has an unreadable record and is not to be removed.
pub fn plan_lifecycle(
    observed: &Snapshot,
    targets: &BTreeSet<SandboxName>,
    action: LifecycleAction,
) -> Result<(PlanGraph, Report), PlanError> {
    let mut decisions = Vec::new();
    for name in targets {
        let decision = match (observed.sandboxes.get(name), observed.unreadable.get(name)) {
            (Some(sandbox), _) => decide(name, sandbox, action),
            (None, Some(unreadable)) if action == LifecycleAction::Remove => {
                Decision::removal_of_unreadable(name, unreadable)
            }
            (None, Some(unreadable)) => {
                let reason = unreadable.reason.clone();
                return Err(PlanError::Unreadable { name: name.clone(), reason });
            }
            (None, None) => return Err(PlanError::UnknownTarget { name: name.clone() }),
        };
        decisions.push(decision);
    }
    let plan = graph::build(&decisions, &[], observed, &Policy::default());
    debug_assert_eq!(crate::graph::check::check(&plan), Ok(()), "a finished plan is sound");
    let changes = decisions.into_iter().map(Decision::into_change).collect();
    Ok((plan, Report { changes, ..Report::default() }))
}

/// Plans the removal of these recorded volumes.
///
/// # Errors
///
/// Fails where a target is not recorded, a recorded sandbox mounts it, or a record that might say so cannot be read.
pub fn plan_volume_removal(
    observed: &Snapshot,
    targets: &BTreeSet<VolumeName>,
) -> Result<(PlanGraph, Report), PlanError> {
    if let Some((name, unreadable)) = observed.unreadable.first_key_value() {
        return Err(PlanError::Unreadable { name: name.clone(), reason: unreadable.reason.clone() });
    }
    let users = users(observed, |_| true);
    for name in targets {
        if !observed.volumes.contains_key(name) {
            return Err(PlanError::UnknownVolume { name: name.clone() });
        }
        if let Some(user) = users.get(name).and_then(|users| users.first()) {
            return Err(PlanError::VolumeMounted { name: name.clone(), user: (*user).clone() });
        }
    }
    let removed = |name| VolumeDecision::removed(name, VolumeReason::RemoveRequested);
    Ok(volumes_alone(observed, targets.iter().map(removed).collect()))
}

/// Plans the creation of a volume by itself.
///
/// # Errors
///
/// Fails where a volume of this name exists with another spec.
pub fn plan_volume_creation(
    observed: &Snapshot,
    name: &VolumeName,
    spec: &VolumeSpec,
) -> Result<(PlanGraph, Report), PlanError> {
    let VolumeSpec { kind, size_mib, shared: _ } = *spec;
    let decisions: Vec<_> = match observed.volumes.get(name) {
        Some(ObservedVolume { spec: old, created: true }) if old == spec => Vec::new(),
        Some(ObservedVolume { spec: old, created: true }) => {
            return Err(PlanError::VolumeExists { name: name.clone(), spec: old.clone() });
        }
        Some(ObservedVolume { spec: _, created: false }) => {
            let reason = VolumeReason::CreationInterrupted { kind, size_mib };
            vec![VolumeDecision::created(name, spec, reason)]
        }
        None => {
            let reason = VolumeReason::NotCreated { kind, size_mib };
            vec![VolumeDecision::created(name, spec, reason)]
        }
    };
    Ok(volumes_alone(observed, decisions))
}

/// Returns the plan and the report of decisions on volumes only.
fn volumes_alone(observed: &Snapshot, decisions: Vec<VolumeDecision>) -> (PlanGraph, Report) {
    let plan = graph::build(&[], &decisions, observed, &Policy::default());
    debug_assert_eq!(crate::graph::check::check(&plan), Ok(()), "a finished plan is sound");
    let volumes = decisions.into_iter().map(VolumeDecision::into_change).collect();
    (plan, Report { volumes, ..Report::default() })
}

fn decide<'a>(name: &SandboxName, sandbox: &'a ObservedSandbox, action: LifecycleAction) -> Decision<'a> {
    let is_running = runs(&sandbox.status);
    let stop = || {
        let kind = TeardownKind::Stop(sandbox.spec.digest());
        Teardown::of(identity_of(name, sandbox), sandbox, kind)
    };
    let unchanged = |reason| Decision::left_alone(name, reason);
    let stopped = |reason| Decision { teardown: Some(stop()), ..Decision::new(name, Action::Stop, reason) };
    let to_start = |action, reason| Decision {
        target: Some(started(name, sandbox)),
        ..Decision::new(name, action, reason)
    };
    match action {
        LifecycleAction::Remove => Decision::removal(name, sandbox, Reason::RemoveRequested),
        LifecycleAction::Stop if is_running => stopped(Reason::StopRequested),
        // A sandbox whose supervisor is gone would come back with the next `up`: record that it must not run.
        LifecycleAction::Stop if sandbox.should_run => stopped(Reason::KeepStoppedRequested),
        LifecycleAction::Stop => unchanged(Reason::NotRunning),
        LifecycleAction::Start if sandbox.status == Status::Paused => {
            let started = started(name, sandbox);
            let post_start = started.post_start.filter(|_| sandbox.post_start_pending);
            let resumed = TargetState { post_start, ..started };
            let reason = Reason::Down { state: DownState::Paused };
            Decision { target: Some(resumed), ..Decision::new(name, Action::Start, reason) }
        }
        LifecycleAction::Start if is_running => unchanged(Reason::AlreadyRunning),
        LifecycleAction::Start => to_start(Action::Start, Reason::StartRequested),
        LifecycleAction::Restart => Decision {
            teardown: is_running.then(stop),
            ..to_start(Action::Restart, Reason::RestartRequested)
        },
    }
}

/// Returns the recorded state, to be started. Its image is ensured: the store may have lost it since.
fn started<'a>(name: &SandboxName, sandbox: &'a ObservedSandbox) -> TargetState<'a> {
    let is_whole = sandbox.status != Status::Incomplete;
    TargetState {
        identity: identity_of(name, sandbox),
        image: sandbox.spec.image.clone(),
        definition: &sandbox.spec.definition,
        build_image: true,
        update: if is_whole { SpecUpdate::None } else { SpecUpdate::Offline },
        values: BTreeSet::new(),
        start: true,
        post_start: sandbox.spec.definition.hooks.get(&HookEvent::PostStart).cloned(),
    }
}
