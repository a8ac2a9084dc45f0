//! What holds for any two projects, one after the other, and any world in between.

use crate::simulate::{order, simulate, simulate_some};
use crate::world::{model, nothing, observe_images};
use planner::{Policy, Undo, plan, undo};
use proptest::prelude::*;
use proptest::sample::Index;
use schemas::model::Model;
use schemas::plan::{Ensure, StepId};
use schemas::report::Action;
use schemas::snapshot::{Exit, Health, Snapshot, Status};
use schemas::spec::{Condition, Role};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// One sandbox of a generated project.
#[derive(Clone, Debug)]
struct Draft {
    position: usize,
    is_job: bool,
    image: u8,
    memory: u8,
    env: u8,
    label: u8,
    script: u8,
    healthcheck: bool,
    /// Which of the earlier sandboxes it depends on, by bits.
    depends_on: u8,
}

fn draft() -> impl Strategy<Value = Draft> {
    let numbers = (0..2u8, 0..2u8, 0..3u8, 0..3u8, 0..2u8);
    (prop::bool::weighted(0.3), numbers, any::<bool>(), any::<u8>()).prop_map(
        |(is_job, (image, memory, env, label, script), healthcheck, depends_on)| Draft {
            position: 0,
            is_job,
            image,
            memory,
            env,
            label,
            script,
            healthcheck,
            depends_on,
        },
    )
}

/// A project: some of the names, in an order of its own in which dependencies point backwards.
fn drafts() -> impl Strategy<Value = Vec<(&'static str, Draft)>> {
    let some = prop::collection::vec((any::<bool>(), draft()), NAMES.len());
    (some, Just(NAMES.to_vec()).prop_shuffle()).prop_map(|(some, names)| {
        // A Sandboxfile declares one at least.
        let kept =
            some.into_iter().zip(names).enumerate().filter(|(index, ((kept, _), _))| *kept || *index == 0);
        let kept = kept.map(|(_, pair)| pair);
        kept.enumerate().map(|(position, ((_, draft), name))| (name, Draft { position, ..draft })).collect()
    })
}

/// As text, its sandboxes in the order of `positions`.
fn kdl(drafts: &[(&str, Draft)]) -> String {
    let by_position = |position: usize| drafts.iter().find(|(_, draft)| draft.position == position).unwrap();
    let mut text = String::new();
    for (name, draft) in drafts {
        let kind = if draft.is_job { "job" } else { "sandbox" };
        text.push_str(&format!(
            "{kind} {name:?} {{\n image \"./image{}\"\n memory \"{}M\"\n",
            draft.image,
            128 + draft.memory
        ));
        text.push_str(&format!(" env {{ A \"{}\"; }}\n", draft.env));
        if draft.label > 0 {
            text.push_str(&format!(" labels {{ l \"{}\"; }}\n", draft.label));
        }
        text.push_str(&format!(" script \"run\" \"echo {}\"\n start \"run\"\n", draft.script));
        if draft.healthcheck && !draft.is_job {
            text.push_str(" healthcheck { exec \"true\"; }\n");
        }
        for position in (0..draft.position).filter(|position| draft.depends_on >> position & 1 == 1) {
            let (dependency, other) = by_position(position);
            let condition = match (other.is_job, other.healthcheck) {
                (true, _) => "completed",
                (false, true) => "healthy",
                (false, false) => "started",
            };
            text.push_str(&format!(" depends-on {dependency:?} condition=\"{condition}\"\n"));
        }
        text.push_str("}\n");
    }
    text
}

fn status() -> impl Strategy<Value = Option<Status>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(Status::Incomplete)),
        1 => Just(Some(Status::Stopped)),
        1 => Just(Some(Status::Lost)),
        1 => Just(Some(Status::Running { health: Health::Starting })),
        1 => Just(Some(Status::Exited { exit: Exit::Code { code: 1 } })),
        1 => Just(Some(Status::Exited { exit: Exit::Code { code: 0 } })),
    ]
}

#[derive(Clone, Debug)]
struct Story {
    before: Vec<(&'static str, Draft)>,
    after: Vec<(&'static str, Draft)>,
    statuses: Vec<Option<Status>>,
    image_changed: bool,
    built: bool,
    wait: bool,
    cut: Index,
}

fn story() -> impl Strategy<Value = Story> {
    let world = (prop::collection::vec(status(), NAMES.len()), any::<bool>(), any::<bool>(), any::<bool>());
    (drafts(), drafts(), world, any::<Index>()).prop_map(
        |(before, after, (statuses, image_changed, built, wait), cut)| Story {
            before,
            after,
            statuses,
            image_changed,
            built,
            wait,
            cut,
        },
    )
}

impl Story {
    fn policy(&self) -> Policy {
        Policy { remove_orphans: true, wait: self.wait, ..Policy::default() }
    }

    /// What is there when the second project comes: the first one, with something happening to each sandbox.
    fn world(&self, desired: &Model) -> Snapshot {
        let mut world = brought_up(&model(&kdl(&self.before)));
        for (sandbox, status) in world.sandboxes.values_mut().zip(&self.statuses) {
            if let Some(status) = status {
                sandbox.status = status.clone();
            }
        }
        self.look(&mut world, desired);
        world
    }

    fn look(&self, world: &mut Snapshot, desired: &Model) {
        let mut contents = BTreeMap::new();
        if self.image_changed {
            contents.insert("/shop/image0".to_owned(), "something else".to_owned());
        }
        observe_images(world, desired, &contents, self.built);
    }
}

fn brought_up(model: &Model) -> Snapshot {
    let mut world = nothing();
    observe_images(&mut world, model, &BTreeMap::new(), false);
    let (plan, _) = plan(Some(model), &world, &Policy::default()).unwrap();
    simulate(&plan, &world)
}

/// Everything but how often a sandbox was replaced, which differs when an `up` was cut off.
fn end(world: &Snapshot) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    world
        .sandboxes
        .iter()
        .map(|(name, sandbox)| (name.clone(), sandbox.spec.clone(), sandbox.status.clone()))
        .collect()
}

/// What is up when everything is as declared.
fn is_settled(world: &Snapshot, desired: &Model) -> bool {
    desired.sandboxes().len() == world.sandboxes.len()
        && world.sandboxes.values().all(|sandbox| match sandbox.spec.definition.role {
            Role::Service => matches!(sandbox.status, Status::Running { .. }),
            Role::Job => {
                matches!(sandbox.status, Status::Exited { ref exit } if exit.is_success())
                    || matches!(sandbox.status, Status::Running { .. })
            }
        })
}

/// Whether a sandbox's start is among the steps that were begun.
fn begun_start(begun: &BTreeSet<StepId>, name: &str) -> bool {
    begun.iter().any(|id| id.as_str().split('@').next() == Some(&format!("start/{name}")))
}

/// What an undo's steps do, where all go well.
fn take_back(undo: &Undo, now: &Snapshot) -> Snapshot {
    let mut world = now.clone();
    for id in order(&undo.plan) {
        let ensure = &undo.plan.steps[id].ensure;
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
            }
            Ensure::Condition { .. } => assert!(matches!(sandbox.status, Status::Running { .. }), "{id}"),
            other => panic!("{id}: {other:?} is not taken back"),
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_reaches_the_desired_state_and_the_next_is_empty(story in story()) {
        let desired = model(&kdl(&story.after));
        let world = story.world(&desired);
        let (first, report) = plan(Some(&desired), &world, &story.policy()).unwrap();
        let after = simulate(&first, &world);
        prop_assert!(is_settled(&after, &desired));
        for sandbox in desired.sandboxes() {
            let recorded = &after.sandboxes[sandbox.name()];
            prop_assert_eq!(&recorded.spec.definition, sandbox.definition());
            prop_assert_eq!(&recorded.spec.image.reference, sandbox.image());
        }
        let (again, quiet) = plan(Some(&desired), &after, &story.policy()).unwrap();
        prop_assert!(again.is_empty(), "{:?}", again.steps.keys());
        prop_assert_eq!(quiet.count(Action::Unchanged), desired.sandboxes().len());
        // What is reported as unchanged is not touched, and the other way round.
        for change in &report.changes {
            let touched = first.steps.values().any(|step| {
                step.ensure.identity().is_some_and(|identity| identity.name == change.name)
                    && !matches!(step.ensure, Ensure::Condition { .. })
            });
            prop_assert_eq!(touched, change.action != Action::Unchanged, "{:?}", change);
        }
    }

    #[test]
    fn an_apply_cut_off_anywhere_is_brought_to_the_same_end(story in story()) {
        let desired = model(&kdl(&story.after));
        let world = story.world(&desired);
        let (first, _) = plan(Some(&desired), &world, &story.policy()).unwrap();
        let whole = simulate(&first, &world);
        let count = story.cut.index(first.steps.len() + 1);
        let mut cut = simulate_some(&first, &world, count);
        // The step that was running may have left its sandbox half made.
        if let Some(id) = order(&first).get(count)
            && let Ensure::Sandbox { identity, spec } = &first.steps[*id].ensure
            && !cut.sandboxes.contains_key(&identity.name)
        {
            let half = schemas::snapshot::ObservedSandbox {
                id: identity.id.clone(),
                generation: identity.generation,
                spec: (**spec).clone(),
                status: Status::Incomplete,
                hook_due: false,
                made: false,
                wanted: false,
            };
            cut.sandboxes.insert(identity.name.clone(), half);
        }
        let (rest, _) = plan(Some(&desired), &cut, &story.policy()).unwrap();
        let finished = simulate(&rest, &cut);
        prop_assert_eq!(end(&finished), end(&whole));
    }

    #[test]
    fn what_was_applied_is_taken_back_but_for_disks_that_are_gone(story in story()) {
        let desired = model(&kdl(&story.after));
        let world = story.world(&desired);
        let (first, _) = plan(Some(&desired), &world, &story.policy()).unwrap();
        let count = story.cut.index(first.steps.len() + 1);
        let begun = order(&first).into_iter().take(count).cloned().collect();
        let now = simulate_some(&first, &world, count);
        let undo = undo(&first, &begun, &world, &now);
        let back = take_back(&undo, &now);
        for (name, was) in &world.sandboxes {
            let Some(is) = back.sandboxes.get(name) else {
                prop_assert!(undo.gone.contains(name) || was.status == Status::Incomplete, "{}", name);
                continue;
            };
            prop_assert_eq!((&was.id, &was.spec), (&is.id, &is.spec));
            let runs = |status: &Status| matches!(status, Status::Running { .. });
            // A job that ran on by itself to its end is not run again.
            let ended = was.spec.definition.role == Role::Job && !runs(&is.status);
            prop_assert!(runs(&was.status) == runs(&is.status) || ended, "{name}: {:?} {:?}", was.status, is.status);
        }
        prop_assert!(back.sandboxes.keys().all(|name| world.sandboxes.contains_key(name)));
        // Dependents end before what they were started after.
        let places: Vec<_> = order(&undo.plan);
        let end = |name: &str| places.iter().position(|id| {
            [format!("remove/{name}"), format!("stop/{name}")].iter().any(|end| id.as_str() == end)
        });
        for sandbox in desired.sandboxes() {
            for dependency in sandbox.definition().depends_on.keys() {
                if let (Some(dependent), Some(dependency)) = (end(sandbox.name().as_str()), end(dependency.as_str()))
                    && begun_start(&begun, sandbox.name().as_str())
                {
                    prop_assert!(dependent < dependency, "{:?}", places);
                }
            }
        }
    }

    #[test]
    fn without_starting_nothing_starts_and_what_runs_goes_on(story in story()) {
        let desired = model(&kdl(&story.after));
        let world = story.world(&desired);
        let policy = Policy { start: false, ..story.policy() };
        let (planned, _) = plan(Some(&desired), &world, &policy).unwrap();
        let after = simulate(&planned, &world);
        for sandbox in desired.sandboxes() {
            let was = world.sandboxes.get(sandbox.name()).map(|was| &was.status);
            let is = &after.sandboxes[sandbox.name()].status;
            match was {
                Some(Status::Running { .. }) => prop_assert_eq!(Some(is), was),
                _ => prop_assert!(!matches!(is, Status::Running { .. } | Status::Incomplete), "{:?}", is),
            }
        }
        let (again, _) = plan(Some(&desired), &after, &policy).unwrap();
        prop_assert!(again.is_empty(), "{:?}", again.steps.keys());
    }

    #[test]
    fn down_leaves_nothing_and_removes_dependents_first(story in story()) {
        let desired = model(&kdl(&story.after));
        let world = story.world(&desired);
        let (down, report) = plan(None, &world, &Policy::default()).unwrap();
        prop_assert_eq!(report.count(Action::Remove), world.sandboxes.len());
        prop_assert!(simulate(&down, &world).sandboxes.is_empty());
        let removed: Vec<_> = order(&down).iter().map(|id| &down.steps[*id].ensure.identity().unwrap().name).collect();
        let at = |name| removed.iter().position(|removed| *removed == name);
        for (name, sandbox) in &world.sandboxes {
            for dependency in sandbox.spec.definition.depends_on.keys() {
                prop_assert!(at(name) < at(dependency), "{name} {dependency}");
            }
        }
    }

    #[test]
    fn the_order_of_the_file_changes_no_byte(story in story(), keys in prop::collection::vec(any::<u8>(), NAMES.len())) {
        let mut shuffled = story.after.clone();
        shuffled.sort_by_key(|(_, draft)| keys[draft.position]);
        let (one, two) = (model(&kdl(&story.after)), model(&kdl(&shuffled)));
        let world = story.world(&one);
        let bytes = |model: &Model| serde_json::to_vec(&plan(Some(model), &world, &story.policy()).unwrap()).unwrap();
        prop_assert!(bytes(&one) == bytes(&two));
    }

    #[test]
    fn nothing_starts_before_its_dependencies(story in story()) {
        // The simulation refuses a start whose dependencies' conditions do not hold. Here: waits are in the plan
        // only for those that start, or when they were asked for.
        let desired = model(&kdl(&story.after));
        let world = story.world(&desired);
        let (planned, _) = plan(Some(&desired), &world, &Policy { wait: false, ..story.policy() }).unwrap();
        for (id, step) in &planned.steps {
            if let Ensure::Condition { identity, condition } = &step.ensure {
                let waiting = planned.steps.values().filter(|other| other.after.contains(id));
                for other in waiting {
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
