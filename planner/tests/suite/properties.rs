//! What holds for any two projects, one after the other, and any world in between.

use crate::fixtures::model;
use crate::simulate::{Next, order, simulate, simulate_some};
use crate::strategies::{NAMES, kdl, story};
use planner::{Policy, Rollback, plan, rollback};
use proptest::prelude::*;
use schemas::model::{Model, Sandbox};
use schemas::name::{SandboxName, VolumeName};
use schemas::plan::{Ensure, Step, StepId};
use schemas::report::Action;
use schemas::snapshot::{Exit, Health, ObservedSandbox, Snapshot, Status};
use schemas::spec::{Condition, HookEvent, Mount, MountSource, Role, VolumeKind, VolumeSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Everything but how often a sandbox was replaced, which differs when an `up` was cut off.
fn end(world: &Snapshot) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    world
        .sandboxes
        .iter()
        .map(|(name, sandbox)| {
            let post_start_pending =
                sandbox.post_start_pending && matches!(sandbox.status, Status::Running { .. });
            (name.clone(), sandbox.spec.clone(), sandbox.status.clone(), post_start_pending)
        })
        .collect()
}

/// Whether a sandbox is up, and its hook has run; or it is a job that is done.
fn is_settled(sandbox: &ObservedSandbox) -> bool {
    let runs = matches!(sandbox.status, Status::Running { .. }) && !sandbox.post_start_pending;
    let is_done = matches!(sandbox.status, Status::Exited { ref exit } if exit.is_success());
    runs || sandbox.spec.definition.role == Role::Job && is_done
}

/// The sandboxes that take part: those without a profile or with the active one, and what they depend on.
fn selected(desired: &Model, policy: &Policy) -> BTreeSet<SandboxName> {
    let mut open: Vec<_> = desired
        .sandboxes()
        .iter()
        .filter(|sandbox| sandbox.profiles().is_empty() || !policy.profiles.is_empty())
        .collect();
    let mut selected = BTreeSet::new();
    while let Some(sandbox) = open.pop() {
        if selected.insert(sandbox.name().clone()) {
            open.extend(sandbox.definition().depends_on.keys().map(|on| desired.sandbox(on).unwrap()));
        }
    }
    selected
}

/// The volumes that a sandbox mounts.
fn mounted(sandbox: &Sandbox) -> impl Iterator<Item = &VolumeName> {
    sandbox.definition().mounts.values().filter_map(|mount| match &mount.source {
        MountSource::Volume { name } => Some(name),
        MountSource::Host { .. } | MountSource::Disk { .. } | MountSource::External { .. } => None,
    })
}

/// The volumes and their specs.
fn volumes(world: &Snapshot) -> BTreeMap<VolumeName, VolumeSpec> {
    world.volumes.iter().map(|(name, volume)| (name.clone(), volume.spec.clone())).collect()
}

/// Returns whether the volume of a mount is a disk.
fn is_disk(world: &Snapshot, mount: &Mount) -> bool {
    let MountSource::Volume { name } = &mount.source else { return false };
    world.volumes.get(name).is_some_and(|volume| volume.spec.kind == VolumeKind::Disk)
}

/// Whether a sandbox's start is among the steps that were begun.
fn begun_start(begun: &BTreeSet<StepId>, name: &str) -> bool {
    begun.iter().any(|id| matches!(id, StepId::Start(instance) if instance.name.as_str() == name))
}

/// What an rollback's steps do, where all go well.
fn take_back(rollback: &Rollback, now: &Snapshot, next: Next) -> Snapshot {
    let mut world = now.clone();
    for id in order(&rollback.plan, next) {
        let ensure = &rollback.plan.steps[id].ensure;
        if let Ensure::VolumeRemoved { name } = ensure {
            let mut users =
                world.sandboxes.values().flat_map(|sandbox| sandbox.spec.definition.mounts.values());
            assert!(!users.any(|mount| mount.source == MountSource::Volume { name: name.clone() }), "{id}");
            assert!(world.volumes.remove(name).is_some(), "{id}");
            continue;
        }
        let identity = ensure.identity().unwrap();
        let sandbox = world.sandboxes.get_mut(&identity.name).unwrap();
        assert_eq!(sandbox.id, identity.id, "{id}");
        match ensure {
            Ensure::Removed { .. } => drop(world.sandboxes.remove(&identity.name)),
            Ensure::Stopped { spec, .. } => {
                assert_eq!(sandbox.spec.digest(), *spec, "{id}");
                sandbox.status = Status::Stopped;
            }
            Ensure::Sandbox { spec, .. } => {
                assert!(!matches!(sandbox.status, Status::Running { .. }), "{id}: it runs");
                sandbox.spec = (**spec).clone();
            }
            Ensure::Live { spec, .. } => sandbox.spec = (**spec).clone(),
            Ensure::Started { spec, .. } => {
                assert_eq!(sandbox.spec.digest(), *spec, "{id}");
                sandbox.status = Status::Running { health: Health::Healthy };
                let mut disks = sandbox.spec.definition.mounts.clone();
                disks.retain(|_, mount| is_disk(&world, mount));
                let shares = |other: &ObservedSandbox| {
                    let both = |own: &Mount, mount: &Mount| {
                        own.source == mount.source && !(own.readonly && mount.readonly)
                    };
                    let mut mounts = other.spec.definition.mounts.values();
                    mounts.any(|mount| disks.values().any(|own| both(own, mount)))
                };
                for (name, other) in world.sandboxes.iter().filter(|(name, _)| **name != identity.name) {
                    let runs = matches!(other.status, Status::Running { .. });
                    assert!(!(runs && shares(other)), "{id}: {name} runs with its volume");
                }
            }
            Ensure::Condition { .. } => assert!(matches!(sandbox.status, Status::Running { .. }), "{id}"),
            other => panic!("{id}: {other:?} is not taken back"),
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_reaches_the_desired_state_and_the_next_is_empty(story in story()) {
        let desired = story.desired();
        let world = story.world(&desired);
        let (first, report) = plan(Some(&desired), &world, &story.policy()).unwrap();
        let after = simulate(&first, &world);
        let selected = selected(&desired, &story.policy());
        let blocked: BTreeSet<_> = report.blocked.iter().map(|blocked| blocked.name.clone()).collect();
        prop_assert!(blocked.is_subset(&selected));
        for sandbox in desired.sandboxes() {
            let name = sandbox.name();
            if !selected.contains(name) || blocked.contains(name) {
                prop_assert_eq!(after.sandboxes.get(name), world.sandboxes.get(name));
                continue;
            }
            let recorded = &after.sandboxes[name];
            prop_assert!(is_settled(recorded), "{}: {:?}", name, recorded.status);
            prop_assert_eq!(&recorded.spec.definition, sandbox.definition());
            prop_assert_eq!(&recorded.spec.image.reference, sandbox.image());
            prop_assert!(!sandbox.definition().depends_on.keys().any(|on| blocked.contains(on)));
            for volume in mounted(sandbox) {
                let (found, declared) = (&after.volumes[volume].spec, &desired.volumes()[volume]);
                prop_assert_eq!(found.kind, declared.kind);
                // The limit of a directory waits for every sandbox that runs with it.
                prop_assert!(found == declared || !blocked.is_empty() || desired.sandboxes().len() != selected.len());
            }
        }
        prop_assert!(after.sandboxes.keys().all(|name| world.sandboxes.contains_key(name) || selected.contains(name)));
        // Who has left the file is gone; only of a sandbox that takes no part replicas are kept.
        for name in world.sandboxes.keys().filter(|name| desired.sandbox(name).is_none()) {
            let family = name.as_str().split('-').next().unwrap();
            let family: Vec<_> = desired.sandboxes().iter().filter(|sandbox| sandbox.family().as_str() == family).collect();
            let takes_part = family.is_empty() || family.iter().any(|sandbox| selected.contains(sandbox.name()));
            prop_assert_eq!(after.sandboxes.contains_key(name), !takes_part, "{}", name);
        }
        // No volume is lost on the way up, and no disk shrinks.
        for (name, volume) in &world.volumes {
            prop_assert_eq!(after.volumes[name].spec.kind, volume.spec.kind);
            prop_assert!(after.volumes[name].spec.disk_mib() >= volume.spec.disk_mib());
        }
        let (again, quiet) = plan(Some(&desired), &after, &story.policy()).unwrap();
        prop_assert!(again.is_empty(), "{:?}", again.steps.keys());
        prop_assert_eq!(quiet.count(Action::Unchanged), quiet.changes.len());
        prop_assert_eq!(&quiet.blocked, &report.blocked);
        prop_assert!(quiet.volumes.iter().all(|volume| volume.action == Action::Unchanged));
        // What is reported as unchanged is not touched, and the other way round.
        for change in &report.changes {
            let touched = first.steps.values().any(|step| {
                step.ensure.identity().is_some_and(|identity| identity.name == change.name)
                    && !matches!(step.ensure, Ensure::Condition { .. })
            });
            prop_assert_eq!(touched, change.action != Action::Unchanged, "{:?}", change);
            for field in &change.fields {
                prop_assert!(field.old != field.new, "{field:?} is no change");
            }
        }
    }

    #[test]
    fn an_apply_cut_off_anywhere_is_brought_to_the_same_end(story in story()) {
        let desired = story.desired();
        let world = story.world(&desired);
        let (first, _) = plan(Some(&desired), &world, &story.policy()).unwrap();
        let whole = simulate(&first, &world);
        let (index, next) = story.cut;
        let count = index.index(first.steps.len() + 1);
        let mut cut = simulate_some(&first, &world, next, count);
        // The step that was running may have left its sandbox half made.
        if let Some(id) = order(&first, next).get(count)
            && let Ensure::Sandbox { identity, spec } = &first.steps[*id].ensure
            && !cut.sandboxes.contains_key(&identity.name)
        {
            let half = ObservedSandbox {
                id: identity.id.clone(),
                generation: identity.generation,
                spec: (**spec).clone(),
                status: Status::Incomplete,
                post_start_pending: false,
                created: false,
                should_run: false,
            };
            cut.sandboxes.insert(identity.name.clone(), half);
        }
        let (rest, _) = plan(Some(&desired), &cut, &story.policy()).unwrap();
        let finished = simulate(&rest, &cut);
        prop_assert_eq!(end(&finished), end(&whole));
        prop_assert_eq!(volumes(&finished), volumes(&whole));
    }

    #[test]
    fn without_starting_nothing_starts_and_what_runs_goes_on(story in story()) {
        let desired = story.desired();
        let world = story.world(&desired);
        let policy = Policy { start: false, ..story.policy() };
        let (planned, report) = plan(Some(&desired), &world, &policy).unwrap();
        let after = simulate(&planned, &world);
        let selected = selected(&desired, &policy);
        let blocked = |name: &SandboxName| report.blocked.iter().any(|blocked| blocked.name == *name);
        for sandbox in desired.sandboxes().iter().filter(|it| selected.contains(it.name()) && !blocked(it.name())) {
            let was = world.sandboxes.get(sandbox.name()).map(|was| &was.status);
            let is = &after.sandboxes[sandbox.name()].status;
            match was {
                // Its health check may change, and so what is known of its health.
                Some(Status::Running { .. }) => {
                    let ended = |step: &Step| matches!(&step.ensure,
                        Ensure::Stopped { identity, .. } | Ensure::Removed { identity } if identity.name == *sandbox.name());
                    prop_assert!(matches!(is, Status::Running { .. }) && !planned.steps.values().any(ended), "{:?}", is);
                }
                _ => prop_assert!(!matches!(is, Status::Running { .. } | Status::Incomplete), "{:?}", is),
            }
        }
        let (again, _) = plan(Some(&desired), &after, &policy).unwrap();
        prop_assert!(again.is_empty(), "{:?}", again.steps.keys());
    }

    #[test]
    fn down_leaves_nothing_and_removes_dependents_first(story in story()) {
        let desired = story.desired();
        let world = story.world(&desired);
        let (kept, _) = plan(None, &world, &Policy::default()).unwrap();
        prop_assert_eq!(volumes(&simulate(&kept, &world)), volumes(&world));
        let policy = Policy { remove_volumes: true, ..Policy::default() };
        let (down, report) = plan(None, &world, &policy).unwrap();
        prop_assert_eq!(report.count(Action::Remove), world.sandboxes.len());
        let nothing = simulate(&down, &world);
        prop_assert!(nothing.sandboxes.is_empty() && nothing.volumes.is_empty());
        let (again, _) = plan(None, &nothing, &policy).unwrap();
        prop_assert!(again.is_empty());
        let ends = order(&down, story.cut.1).into_iter().filter_map(|id| match &down.steps[id].ensure {
            Ensure::Removed { identity } => Some(&identity.name),
            _ => None,
        });
        let removed: Vec<_> = ends.collect();
        let at = |name| removed.iter().position(|removed| *removed == name);
        for (name, sandbox) in &world.sandboxes {
            let depends_on = sandbox.spec.definition.depends_on.keys();
            for dependency in depends_on.filter(|on| world.sandboxes.contains_key(*on)) {
                prop_assert!(at(name) < at(dependency), "{name} {dependency}");
            }
        }
    }

    #[test]
    fn down_of_some_takes_their_dependents_and_leaves_the_rest_whole(story in story()) {
        let desired = story.desired();
        let mut world = story.world(&desired);
        let names: Vec<_> = world.sandboxes.keys().cloned().collect();
        prop_assume!(!names.is_empty());
        let target = names[story.cut.0.index(names.len())].clone();
        // Another one that was stopped has the same volume: it was brought up while that was free.
        let mounts = world.sandboxes[&target].spec.definition.mounts.clone();
        let mut others = world.sandboxes.iter_mut().filter(|(name, _)| **name != target);
        if let Some((_, other)) = others.find(|(_, other)| !matches!(other.status, Status::Running { .. })) {
            other.spec.definition.mounts = mounts;
        }
        let targets: BTreeSet<_> = [target.clone()].into();
        let policy = Policy { targets, remove_volumes: true, ..Policy::default() };
        let (down, _) = plan(None, &world, &policy).unwrap();
        // The simulation refuses to remove a volume that anybody still mounts, whether that one runs or not.
        let left = simulate(&down, &world);
        prop_assert!(!left.sandboxes.contains_key(&target));
        for (name, sandbox) in &world.sandboxes {
            let mut dependencies = sandbox.spec.definition.depends_on.keys();
            let is_lost = *name == target
                || dependencies.any(|on| world.sandboxes.contains_key(on) && !left.sandboxes.contains_key(on));
            prop_assert_eq!(left.sandboxes.get(name), (!is_lost).then_some(sandbox), "{}", name);
        }
    }

    #[test]
    fn the_order_of_the_file_changes_no_byte(story in story(), keys in prop::collection::vec(any::<u8>(), NAMES.len())) {
        let mut shuffled = story.after.clone();
        shuffled.sort_by_key(|(_, draft)| keys[draft.position]);
        let (one, two) = (story.desired(), model(&kdl(&shuffled, &story.volumes)));
        let world = story.world(&one);
        let bytes = |model: &Model| serde_json::to_vec(&plan(Some(model), &world, &story.policy()).unwrap()).unwrap();
        prop_assert!(bytes(&one) == bytes(&two));
    }

    #[test]
    fn nothing_starts_before_its_dependencies(story in story()) {
        // The simulation refuses a start whose dependencies' conditions do not hold. Here: waits are in the plan
        // only for those that start, or when they were asked for.
        let desired = story.desired();
        let world = story.world(&desired);
        let (planned, _) = plan(Some(&desired), &world, &Policy { wait: false, ..story.policy() }).unwrap();
        for (id, step) in &planned.steps {
            if let Ensure::Condition { identity, condition } = &step.ensure {
                let waiting = planned.steps.values().filter(|other| other.after.contains(id));
                for other in waiting {
                    if let Ensure::Hook { identity: own, event: HookEvent::PostStart, .. } = &other.ensure {
                        prop_assert_eq!((own, *condition), (identity, Condition::Started));
                        continue;
                    }
                    let starting = matches!(other.ensure, Ensure::Started { .. });
                    prop_assert!(starting);
                    let waiting = desired.sandbox(&other.ensure.identity().unwrap().name).unwrap();
                    prop_assert_eq!(waiting.definition().depends_on.get(&identity.name), Some(condition));
                }
                prop_assert!(*condition != Condition::Completed || desired.sandbox(&identity.name).unwrap().definition().role == Role::Job);
            }
        }
    }
}

proptest! {
    // What can go wrong here takes a rare turn of events.
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_applied_is_taken_back_but_for_disks_that_are_gone(story in story()) {
        let desired = story.desired();
        let world = story.world(&desired);
        let (first, _) = plan(Some(&desired), &world, &story.policy()).unwrap();
        let (index, next) = story.cut;
        let count = index.index(first.steps.len() + 1);
        let begun: BTreeSet<StepId> = order(&first, next).into_iter().take(count).cloned().collect();
        let mut now = simulate_some(&first, &world, next, count);
        let touched: BTreeSet<_> = begun.iter().filter_map(|id| first.steps[id].ensure.identity()).map(|it| &it.name).collect();
        // Meanwhile one ended by itself that was not touched, or in which no more was done than to run its hook.
        let only_hook = |id: &&StepId| !matches!(first.steps[*id].ensure, Ensure::Hook { event: HookEvent::PostStart, .. });
        let changed: BTreeSet<_> =
            begun.iter().filter(only_hook).filter_map(|id| first.steps[id].ensure.identity()).map(|it| &it.name).collect();
        let untouched = now.sandboxes.iter_mut().filter(|(name, _)| !changed.contains(name));
        let mut running = untouched.filter(|(_, sandbox)| matches!(sandbox.status, Status::Running { .. }));
        let by_itself = running.next().map(|(name, sandbox)| {
            sandbox.status = Status::Exited { exit: Exit::Code { code: 1 } };
            name.clone()
        });
        let rollback = rollback(&first, &begun, &world, &now);
        let back = take_back(&rollback, &now, Next::First);
        prop_assert_eq!(&back, &take_back(&rollback, &now, Next::Last));
        prop_assert!(world.volumes.keys().all(|name| back.volumes.contains_key(name)));
        for (name, sandbox) in now.sandboxes.iter().filter(|(name, _)| !touched.contains(name)) {
            prop_assert_eq!(Some(sandbox), back.sandboxes.get(name));
        }
        for (name, was) in &world.sandboxes {
            let Some(is) = back.sandboxes.get(name) else {
                prop_assert!(rollback.lost.contains(name) || was.status == Status::Incomplete, "{}", name);
                continue;
            };
            prop_assert_eq!((&was.id, &was.spec), (&is.id, &is.spec));
            let runs = Status::is_up;
            // The rollback has not ended it, so it does not start it again.
            prop_assert!(by_itself.as_ref() != Some(name) || is.status == now.sandboxes[name].status, "{}", name);
            // A job that ran on by itself to its end is not run again.
            let ended = was.spec.definition.role == Role::Job && !runs(&is.status);
            let ended = ended || by_itself.as_ref() == Some(name);
            prop_assert!(runs(&was.status) == runs(&is.status) || ended, "{name}: {:?} {:?}", was.status, is.status);
        }
        prop_assert!(back.sandboxes.keys().all(|name| world.sandboxes.contains_key(name)));
        // Dependents end before what they were started after.
        let places: Vec<_> = order(&rollback.plan, next);
        let start = |name: &SandboxName| places.iter().position(|id| **id == StepId::Start(name.into()));
        for (name, was) in &world.sandboxes {
            for dependency in was.spec.definition.depends_on.keys().filter(|on| first.steps.contains_key(&StepId::Stop((*on).into()))) {
                if let (Some(own), Some(before)) = (start(name), start(dependency)) {
                    prop_assert!(before < own, "{:?}", places);
                }
            }
        }
        let end = |name: &SandboxName| places.iter().position(|id| {
            [StepId::Remove(name.into()), StepId::Stop(name.into())].contains(id)
        });
        for sandbox in desired.sandboxes() {
            for dependency in sandbox.definition().depends_on.keys() {
                if let (Some(dependent), Some(dependency)) = (end(sandbox.name()), end(dependency))
                    && begun_start(&begun, sandbox.name().as_str())
                {
                    prop_assert!(dependent < dependency, "{:?}", places);
                }
            }
        }
    }
}
