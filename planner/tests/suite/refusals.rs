//! What cannot be planned, and what a plan's check finds.

use crate::fixtures::{model, name, names, nothing, observe_images, project};
use crate::simulate::simulate;
use planner::check::{Unsound, check};
use planner::{Change, PlanError, Policy, Staleness, State, Subject, plan, rollback, staleness};
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId};
use schemas::plan::{Ensure, PlanGraph, StepId};
use schemas::report::Action;
use schemas::snapshot::{Exit, Snapshot, Status, UnreadableSandbox};
use std::collections::{BTreeMap, BTreeSet};

const CHAIN: &str = r#"
    sandbox "db" { image "./image"; }
    sandbox "api" { image "./image"; depends-on "db" condition="started"; }
    sandbox "web" { image "./image"; depends-on "api" condition="started"; }
    sandbox "lone" { image "./image"; }
"#;

fn chain() -> (Snapshot, PlanGraph) {
    let model = model(CHAIN);
    let mut snapshot = nothing();
    observe_images(&mut snapshot, &model, &BTreeMap::new(), false);
    let (plan, _) = plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    (snapshot, plan)
}

fn id(text: &str) -> StepId {
    text.parse().unwrap()
}

#[test]
fn an_image_nobody_looked_at_is_the_callers_mistake() {
    let error = plan(Some(&model(CHAIN)), &nothing(), &Policy::default()).unwrap_err();
    assert_eq!(error.to_string(), "the image /shop/image of api was not observed");
}

#[test]
fn another_projects_snapshot_is_refused() {
    let snapshot = Snapshot { project: ProjectName::new("other").unwrap(), ..nothing() };
    let error = plan(Some(&model(CHAIN)), &snapshot, &Policy::default()).unwrap_err();
    assert_eq!(error.to_string(), "the model is of project shop, the snapshot of project other");
}

#[test]
fn targets_bring_their_dependencies_up_and_their_dependents_down() {
    let (snapshot, all) = chain();
    let unknown = Policy { targets: names(&["nobody"]), ..Policy::default() };
    for desired in [Some(&model(CHAIN)), None] {
        let error = plan(desired, &snapshot, &unknown).unwrap_err();
        assert_eq!(error, PlanError::UnknownTarget { name: name("nobody") });
    }
    let api = Policy { targets: names(&["api"]), ..Policy::default() };
    let (up, report) = plan(Some(&model(CHAIN)), &snapshot, &api).unwrap();
    let touched: Vec<_> =
        up.steps.keys().map(ToString::to_string).filter(|id| id.starts_with("start")).collect();
    assert_eq!(touched, ["start/api", "start/db"]);
    assert_eq!((report.count(Action::Create), report.count(Action::Unchanged)), (2, 0));

    let up = simulate(&all, &snapshot);
    let (down, report) = plan(None, &up, &api).unwrap();
    assert_eq!(down.steps.keys().map(ToString::to_string).collect::<Vec<_>>(), ["remove/api", "remove/web"]);
    assert!(down.steps[&id("remove/api")].after.contains(&id("remove/web")));
    assert_eq!(report.count(Action::Remove), 2);
}

#[test]
fn records_that_disagree_are_removed_all_the_same() {
    let (snapshot, all) = chain();
    let mut up = simulate(&all, &snapshot);
    let web = up.sandboxes[&name("web")].spec.definition.depends_on.clone();
    let db = up.sandboxes.get_mut(&name("db")).unwrap();
    db.spec.definition.depends_on = web;
    let (down, _) = plan(None, &up, &Policy::default()).unwrap();
    check(&down).unwrap();
    assert!(simulate(&down, &up).sandboxes.is_empty());
}

#[test]
fn the_check_finds_broken_plans() {
    let (_, good) = chain();
    assert_eq!(check(&good), Ok(()));
    let broken = |change: &dyn Fn(&mut PlanGraph)| {
        let mut plan = good.clone();
        change(&mut plan);
        check(&plan).unwrap_err()
    };
    let start = id("start/web");
    let after = |plan: &mut PlanGraph, step: &str, before: &str| {
        plan.steps.get_mut(&id(step)).unwrap().after.insert(id(before));
    };
    assert!(matches!(broken(&|plan| drop(plan.steps.remove(&id("sandbox/web")))), Unsound::Dangling { .. }));
    assert!(matches!(broken(&|plan| after(plan, "sandbox/db", "start/web")), Unsound::Cycle { .. }));
    let unordered =
        broken(&|plan| assert!(plan.steps.get_mut(&start).unwrap().after.remove(&id("sandbox/web"))));
    assert_eq!(unordered, Unsound::Disorder { earlier: id("sandbox/web"), later: start.clone() });
    let of_another_generation = |plan: &mut PlanGraph| {
        let Ensure::Started { identity, .. } = &mut plan.steps.get_mut(&start).unwrap().ensure else {
            panic!()
        };
        identity.id = SandboxId::derive(&project(), &identity.name, 2);
    };
    assert_eq!(broken(&of_another_generation), Unsound::TwoInstances { name: name("web") });
    let removed = |plan: &mut PlanGraph| {
        let identity = plan.steps[&start].ensure.identity().unwrap().clone();
        plan.steps.get_mut(&id("sandbox/web")).unwrap().ensure = Ensure::Removed { identity };
    };
    assert_eq!(broken(&removed), Unsound::Revived { step: start.clone() });
}

#[test]
fn images_whose_digests_begin_alike_are_two_steps() {
    let model = model("sandbox \"a\" { image \"./a\"; }\nsandbox \"b\" { image \"./b\"; }\n");
    let mut snapshot = nothing();
    observe_images(&mut snapshot, &model, &BTreeMap::new(), false);
    for (image, last) in snapshot.images.values_mut().zip(["0", "1"]) {
        image.digest = Digest::try_from(format!("sha256:{}{last}", "a".repeat(63))).unwrap();
    }
    let (plan, _) = plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    let images = plan.steps.values().filter(|step| matches!(step.ensure, Ensure::Image { .. })).count();
    assert_eq!(images, 2);
}

#[test]
fn a_record_that_cannot_be_read_stops_up_and_not_down() {
    let model = model(CHAIN);
    let mut snapshot = nothing();
    observe_images(&mut snapshot, &model, &BTreeMap::new(), true);
    let (first, _) = plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    let mut up = simulate(&first, &snapshot);
    let api = up.sandboxes.remove(&name("api")).unwrap();
    let reason = "its spec is of version 9".to_owned();
    let unreadable = UnreadableSandbox { id: api.id.clone(), generation: api.generation, reason };
    up.unreadable.insert(name("api"), unreadable);
    let error = plan(Some(&model), &up, &Policy::default()).unwrap_err();
    assert_eq!(error.to_string(), "the record of api cannot be read: its spec is of version 9");

    let removed = |targets: &[&str]| -> Vec<_> {
        let policy = Policy { targets: names(targets), ..Policy::default() };
        let (down, _) = plan(None, &up, &policy).unwrap();
        down.steps.keys().map(ToString::to_string).collect()
    };
    assert_eq!(removed(&["api"]), ["remove/api"]);
    assert!(removed(&[]).contains(&"remove/api".to_owned()));
    assert_eq!(removed(&[]).len(), up.sandboxes.len() + 1);
}

#[test]
fn what_ended_by_itself_is_not_started_again_by_taking_back() {
    let model = model("sandbox \"web\" { image \"./image\"; hook \"post-start\" \"run\"; }\n");
    let mut snapshot = nothing();
    observe_images(&mut snapshot, &model, &BTreeMap::new(), true);
    let (first, _) = plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    let mut before = simulate(&first, &snapshot);
    before.sandboxes.get_mut(&name("web")).unwrap().post_start_pending = true;
    let (hook, _) = plan(Some(&model), &before, &Policy::default()).unwrap();
    let begun: BTreeSet<_> = hook.steps.keys().cloned().collect();
    assert!(begun.contains(&id("hook/web/post-start")), "{begun:?}");
    let mut now = simulate(&hook, &before);
    now.sandboxes.get_mut(&name("web")).unwrap().status = Status::Exited { exit: Exit::Code { code: 1 } };
    assert!(rollback(&hook, &begun, &before, &now).plan.is_empty());
}

#[test]
fn what_has_changed_since_is_reported() {
    let (snapshot, all) = chain();
    let then = simulate(&all, &snapshot);
    assert!(staleness(&then, &then).is_empty());
    let mut now = then.clone();
    now.sandboxes.get_mut(&name("api")).unwrap().status = Status::Stopped;
    now.sandboxes.get_mut(&name("db")).unwrap().spec.definition.memory_mib += 1;
    now.sandboxes.get_mut(&name("web")).unwrap().id = now.sandboxes[&name("db")].id.clone();
    let lone = now.sandboxes.remove(&name("lone")).unwrap();
    now.sandboxes.insert(name("new"), lone);
    now.images.values_mut().for_each(|image| image.digest = schemas::digest::Digest::of_bytes(b"other"));
    let sandbox = |text: &str, change| Staleness { subject: Subject::Sandbox(name(text)), change };
    let expected = [
        sandbox("api", Change::StateChanged { from: State::Running, to: State::Stopped }),
        sandbox("db", Change::FieldsChanged { first: "memory".to_owned(), more: 0 }),
        sandbox("lone", Change::Removed),
        sandbox("new", Change::Added),
        sandbox("web", Change::Replaced),
        Staleness { subject: Subject::Image("/shop/image".to_owned()), change: Change::ContentsChanged },
    ];
    assert_eq!(staleness(&then, &now), expected);
}
