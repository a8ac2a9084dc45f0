//! Applies plans to a snapshot: the state after a perfect executor.

use planner::check::check;
use schemas::name::VolumeName;
use schemas::plan::{Ensure, Identity, PlanGraph, Step, StepId};
use schemas::snapshot::{Exit, Health, ObservedSandbox, ObservedVolume, Snapshot, Status};
use schemas::spec::{Condition, Definition, HookEvent, Mount, MountSource, Role, VolumeKind};
use std::collections::{BTreeMap, BTreeSet};

/// Which of the steps that are ready comes next. Whatever a plan leaves open, it must not matter.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// The first by id.
    First,
    /// The last by id.
    Last,
}

/// The steps in one of the orders that the plan allows.
pub fn order(plan: &PlanGraph, next: Next) -> Vec<&StepId> {
    check(plan).unwrap();
    let mut left: BTreeMap<_, _> = plan.steps.iter().map(|(id, step)| (id, step.after.len())).collect();
    let mut ready: BTreeSet<_> = left.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut order = Vec::new();
    while let Some(id) = match next {
        Next::First => ready.pop_first(),
        Next::Last => ready.pop_last(),
    } {
        order.push(id);
        for (dependent, _) in plan.steps.iter().filter(|(_, step)| step.after.contains(id)) {
            let count = left.get_mut(dependent).unwrap();
            *count -= 1;
            if *count == 0 {
                ready.insert(dependent);
            }
        }
    }
    order
}

/// The snapshot after the first `count` steps; all when there are fewer.
pub fn simulate_some(plan: &PlanGraph, snapshot: &Snapshot, next: Next, count: usize) -> Snapshot {
    let mut world = snapshot.clone();
    let mut done = BTreeSet::new();
    for id in order(plan, next).into_iter().take(count) {
        let step = &plan.steps[id];
        assert!(step.after.is_subset(&done));
        carry_out(step, &mut world, id);
        done.insert(id.clone());
    }
    world
}

/// The snapshot after all steps, in whatever order.
pub fn simulate(plan: &PlanGraph, snapshot: &Snapshot) -> Snapshot {
    let [one, other] = [Next::First, Next::Last].map(|next| simulate_some(plan, snapshot, next, usize::MAX));
    assert_eq!(one, other);
    one
}

fn instance<'a>(world: &'a mut Snapshot, identity: &Identity, id: &StepId) -> &'a mut ObservedSandbox {
    let sandbox = world.sandboxes.get_mut(&identity.name).unwrap_or_else(|| panic!("{id}: nothing there"));
    assert_eq!(sandbox.id, identity.id, "{id}");
    sandbox
}

fn running(status: &Status) -> bool {
    status.is_up()
}

/// The volumes that a sandbox mounts.
fn volumes(definition: &Definition) -> BTreeSet<VolumeName> {
    let volume = |mount: &Mount| match &mount.source {
        MountSource::Volume { name } => Some(name.clone()),
        MountSource::Host { .. } | MountSource::Disk { .. } | MountSource::External { .. } => None,
    };
    definition.mounts.values().filter_map(volume).collect()
}

/// Whether a sandbox may write to a volume.
fn writes(definition: &Definition, volume: &VolumeName) -> bool {
    let source = MountSource::Volume { name: volume.clone() };
    definition.mounts.values().any(|mount| mount.source == source && !mount.readonly)
}

/// What each step promises, and what it may rely on.
fn carry_out(step: &Step, world: &mut Snapshot, id: &StepId) {
    match &step.ensure {
        Ensure::Image { image } => {
            world
                .images
                .values_mut()
                .filter(|seen| seen.digest == image.digest)
                .for_each(|seen| seen.built = true);
        }
        Ensure::Sandbox { identity, spec } => {
            let made = ObservedSandbox {
                id: identity.id.clone(),
                generation: identity.generation,
                spec: (**spec).clone(),
                status: Status::Stopped,
                post_start_pending: false,
                created: true,
                should_run: false,
            };
            for volume in volumes(&spec.definition) {
                assert!(
                    world.volumes.get(&volume).is_some_and(|volume| volume.created),
                    "{id}: no volume {volume}"
                );
            }
            if let Some(before) = world.sandboxes.insert(identity.name.clone(), made) {
                assert_eq!(before.id, identity.id, "{id}: the old generation is still there");
                assert!(!running(&before.status), "{id}: it runs");
            }
        }
        Ensure::Started { identity, spec } => {
            let image = world.sandboxes.get(&identity.name).map(|sandbox| sandbox.spec.image.digest.clone());
            let built = world.images.values().any(|seen| Some(&seen.digest) == image.as_ref() && seen.built);
            assert!(built, "{id}: its image is not built");
            // Values are read at the start.
            world.changed_values.remove(&identity.name);
            let sandbox = instance(world, identity, id);
            assert_eq!(sandbox.spec.digest(), *spec, "{id}");
            assert_ne!(sandbox.status, Status::Incomplete, "{id}");
            let is_paused = sandbox.status == Status::Paused;
            assert!(is_paused || !running(&sandbox.status), "{id}: it runs already");
            sandbox.should_run = true;
            let has_hook = sandbox.spec.definition.hooks.contains_key(&HookEvent::PostStart);
            sandbox.post_start_pending = has_hook && (!is_paused || sandbox.post_start_pending);
            let (mut disks, own) = (volumes(&sandbox.spec.definition), sandbox.spec.definition.clone());
            let healthcheck = sandbox.spec.definition.health_check().is_some();
            sandbox.status = match sandbox.spec.definition.role {
                Role::Job => Status::Exited { exit: Exit::Code { code: 0 } },
                Role::Service if healthcheck => Status::Running { health: Health::Healthy },
                Role::Service => Status::Running { health: Health::Unchecked },
            };
            let dependencies = sandbox.spec.definition.depends_on.clone();
            disks.retain(|name| {
                world.volumes.get(name).is_none_or(|volume| volume.spec.kind == VolumeKind::Disk)
            });
            for (name, other) in world.sandboxes.iter().filter(|(name, _)| **name != identity.name) {
                let other_definition = &other.spec.definition;
                let shares = volumes(other_definition)
                    .intersection(&disks)
                    .any(|disk| [&own, other_definition].iter().any(|definition| writes(definition, disk)));
                assert!(!(shares && running(&other.status)), "{id}: {name} runs with its volume");
            }
            for (dependency, condition) in dependencies {
                let post_start_pending = world.sandboxes[&dependency].post_start_pending
                    && running(&world.sandboxes[&dependency].status);
                assert!(!post_start_pending, "{id}: the hook of {dependency} has yet to run");
                let status = &world.sandboxes[&dependency].status;
                let holds = match condition {
                    Condition::Started => {
                        let is_down = [Status::Stopped, Status::Lost, Status::Incomplete, Status::Paused];
                        !is_down.contains(status)
                    }
                    Condition::Healthy => *status == Status::Running { health: Health::Healthy },
                    Condition::Completed => *status == Status::Exited { exit: Exit::Code { code: 0 } },
                };
                assert!(holds, "{id}: {dependency} is not {condition} but {status:?}");
            }
        }
        Ensure::Condition { identity, condition: _ } => {
            // In this world all goes well in the end.
            let sandbox = instance(world, identity, id);
            sandbox.status = match (&sandbox.status, sandbox.spec.definition.role) {
                (Status::Running { .. }, Role::Job) => Status::Exited { exit: Exit::Code { code: 0 } },
                (Status::Running { .. }, Role::Service)
                    if sandbox.spec.definition.health_check().is_some() =>
                {
                    Status::Running { health: Health::Healthy }
                }
                (Status::Running { .. }, Role::Service) => Status::Running { health: Health::Unchecked },
                (Status::Exited { exit }, Role::Job) if exit.is_success() => sandbox.status.clone(),
                (other, _) => panic!("{id}: it is {other:?}"),
            };
        }
        Ensure::Volume { name, spec } => {
            let users =
                world.sandboxes.iter().filter(|(_, user)| volumes(&user.spec.definition).contains(name));
            for (user, sandbox) in users {
                assert!(!running(&sandbox.status), "{id}: {user} runs with it");
            }
            let made = ObservedVolume { spec: spec.clone(), created: true };
            if let Some(before) = world.volumes.insert(name.clone(), made) {
                assert!(!before.created || before.spec != *spec, "{id}: it does not change");
                assert!(!before.created || before.spec.kind == spec.kind, "{id}: it loses its contents");
                assert!(!before.created || before.spec.disk_mib() <= spec.disk_mib(), "{id}: it shrinks");
            }
        }
        Ensure::VolumeRemoved { name } => {
            let mut users = world.sandboxes.values().map(|user| volumes(&user.spec.definition));
            assert!(!users.any(|mounts| mounts.contains(name)), "{id}: it is mounted");
            assert!(world.volumes.remove(name).is_some(), "{id}: no such volume");
        }
        Ensure::Hook { identity, event, command } => {
            let sandbox = instance(world, identity, id);
            assert_eq!(sandbox.spec.definition.hooks.get(event), Some(command), "{id}");
            if *event == HookEvent::PostStart {
                sandbox.post_start_pending = false;
            } else {
                assert!(running(&sandbox.status), "{id}: it does not run");
            }
        }
        Ensure::Live { identity, spec, values } => {
            if let Some(changed) = world.changed_values.get_mut(&identity.name) {
                changed.retain(|name| !values.contains(name));
            }
            let sandbox = instance(world, identity, id);
            sandbox.spec = (**spec).clone();
            // A hook that is no longer declared is not owed.
            sandbox.post_start_pending &= spec.definition.hooks.contains_key(&HookEvent::PostStart);
            // Nor is the health of a sandbox known that is no longer probed, or not yet.
            if let Status::Running { health } = &mut sandbox.status {
                match (&health, spec.definition.health_check().is_some()) {
                    (_, false) => *health = Health::Unchecked,
                    (Health::Unchecked, true) => *health = Health::Starting,
                    (_, true) => {}
                }
            }
        }
        Ensure::Stopped { identity, spec } => {
            let sandbox = instance(world, identity, id);
            if sandbox.spec.digest() == *spec {
                sandbox.status = Status::Stopped;
                sandbox.should_run = false;
            }
        }
        Ensure::Removed { identity } => {
            instance(world, identity, id);
            // Its recorded dependents must be removed or stopped before.
            world.sandboxes.remove(&identity.name);
        }
    }
}
