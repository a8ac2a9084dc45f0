//! Single recorded sandboxes: dependents are left alone, and nothing is compared.

use crate::fixtures::{model, name, names, nothing, observe_images};
use crate::simulate::simulate;
use planner::{
    LifecycleAction, PlanError, Policy, plan, plan_lifecycle, plan_volume_creation, plan_volume_removal,
};
use schemas::name::VolumeName;
use schemas::plan::StepId;
use schemas::report::Action;
use schemas::snapshot::{Snapshot, Status, UnreadableSandbox};
use schemas::spec::VolumeSpec;
use std::collections::BTreeMap;

const CHAIN: &str = r#"
    sandbox "db" { image "./image"; hook "pre-stop" "flush"; hook "post-start" "warm"; }
    sandbox "api" { image "./image"; depends-on "db" condition="started"; }
"#;

fn up() -> Snapshot {
    let model = model(CHAIN);
    let mut snapshot = nothing();
    observe_images(&mut snapshot, &model, &BTreeMap::new(), true);
    let (first, _) = plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    simulate(&first, &snapshot)
}

fn steps(snapshot: &Snapshot, targets: &[&str], action: LifecycleAction) -> Vec<String> {
    let (plan, _) = plan_lifecycle(snapshot, &names(targets), action).unwrap();
    plan.steps.keys().map(ToString::to_string).filter(|id| !id.starts_with("image/")).collect()
}

fn id(text: &str) -> StepId {
    text.parse().unwrap()
}

fn set(snapshot: &mut Snapshot, sandbox: &str, status: Status) {
    snapshot.sandboxes.get_mut(&name(sandbox)).unwrap().status = status;
}

#[test]
fn only_what_is_named_is_touched() {
    let up = up();
    assert_eq!(steps(&up, &["db"], LifecycleAction::Stop), ["hook/db/pre-stop", "stop/db"]);
    assert_eq!(steps(&up, &["db"], LifecycleAction::Remove), ["hook/db/pre-stop", "remove/db"]);
    assert!(steps(&up, &["db", "api"], LifecycleAction::Start).is_empty(), "they run");
    assert_eq!(
        steps(&up, &["db"], LifecycleAction::Restart),
        ["hook/db/post-start", "hook/db/pre-stop", "start/db", "stop/db", "wait/db/started"]
    );
    // Together they end and start in order.
    let (both, _) = plan_lifecycle(&up, &names(&["db", "api"]), LifecycleAction::Restart).unwrap();
    let after = |step: &str| &both.steps[&id(step)].after;
    assert!(after("hook/db/pre-stop").contains(&id("stop/api")));
    assert!(after("start/api").contains(&id("hook/db/post-start")));
}

#[test]
fn what_is_asked_for_holds_afterwards_and_is_then_nothing_to_do() {
    for (action, running) in
        [(LifecycleAction::Stop, false), (LifecycleAction::Start, true), (LifecycleAction::Restart, true)]
    {
        let mut before = up();
        if action == LifecycleAction::Start {
            set(&mut before, "api", Status::Stopped);
        }
        let (plan, report) = plan_lifecycle(&before, &names(&["api"]), action).unwrap();
        assert_eq!(report.changes.len(), 1);
        let after = simulate(&plan, &before);
        let status = &after.sandboxes[&name("api")].status;
        assert_eq!(matches!(status, Status::Running { .. }), running, "{action:?}");
        assert_eq!(after.sandboxes[&name("db")], before.sandboxes[&name("db")]);
        if action != LifecycleAction::Restart {
            assert!(steps(&after, &["api"], action).is_empty(), "{action:?} twice");
        }
    }
    let before = up();
    let (plan, report) = plan_lifecycle(&before, &names(&["api"]), LifecycleAction::Remove).unwrap();
    assert_eq!(report.count(Action::Remove), 1);
    assert_eq!(simulate(&plan, &before).sandboxes.keys().collect::<Vec<_>>(), [&name("db")]);
}

#[test]
fn what_was_cut_off_is_made_before_it_is_started() {
    let mut before = up();
    set(&mut before, "api", Status::Incomplete);
    assert_eq!(steps(&before, &["api"], LifecycleAction::Start), ["sandbox/api", "start/api"]);
    // One whose supervisor is gone is not to come back by itself.
    set(&mut before, "api", Status::Lost);
    before.sandboxes.get_mut(&name("api")).unwrap().should_run = true;
    assert_eq!(steps(&before, &["api"], LifecycleAction::Stop), ["stop/api"]);
    before.sandboxes.get_mut(&name("api")).unwrap().should_run = false;
    assert!(steps(&before, &["api"], LifecycleAction::Stop).is_empty());
}

#[test]
fn what_cannot_be_read_can_only_be_removed() {
    let mut before = up();
    let api = before.sandboxes.remove(&name("api")).unwrap();
    let reason = "its spec is of version 9".to_owned();
    let unreadable = UnreadableSandbox { id: api.id, generation: api.generation, reason };
    before.unreadable.insert(name("api"), unreadable);
    assert_eq!(steps(&before, &["api"], LifecycleAction::Remove), ["remove/api"]);
    for action in [LifecycleAction::Start, LifecycleAction::Restart, LifecycleAction::Stop] {
        let error = plan_lifecycle(&before, &names(&["api"]), action).unwrap_err();
        assert!(matches!(error, PlanError::Unreadable { .. }), "{action:?}");
    }
    let error = plan_lifecycle(&before, &names(&["nobody"]), LifecycleAction::Start).unwrap_err();
    assert_eq!(error, PlanError::UnknownTarget { name: name("nobody") });
}

#[test]
fn a_volume_is_created_by_itself_and_once() {
    let data = VolumeName::new("data").unwrap();
    let (spec, other) = (VolumeSpec::disk(64), VolumeSpec::directory(None));
    let (creation, report) = plan_volume_creation(&nothing(), &data, &spec).unwrap();
    let ids: Vec<_> = creation.steps.keys().map(ToString::to_string).collect();
    assert_eq!((ids, report.losses().len()), (vec!["volume/data".to_owned()], 0));
    let mut made = simulate(&creation, &nothing());
    assert!(plan_volume_creation(&made, &data, &spec).unwrap().0.is_empty());
    let exists = PlanError::VolumeExists { name: data.clone(), spec: spec.clone() };
    assert_eq!(plan_volume_creation(&made, &data, &other), Err(exists));
    made.volumes.get_mut(&data).unwrap().created = false;
    assert_eq!(plan_volume_creation(&made, &data, &other).unwrap().0.steps.len(), 1);
}

#[test]
fn a_volume_is_removed_unless_a_sandbox_mounts_it() {
    let model = model(
        "volume \"data\" size=\"64M\"\nvolume \"cache\"\n\
         sandbox \"db\" { image \"./image\"; mount \"data\" to=\"/data\"; mount \"cache\" to=\"/cache\"; }",
    );
    let mut snapshot = nothing();
    observe_images(&mut snapshot, &model, &BTreeMap::new(), true);
    let (first, _) = plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    let mut up = simulate(&first, &snapshot);
    let [data, cache, other] = ["data", "cache", "other"].map(|name| VolumeName::new(name).unwrap());
    let both = [data.clone(), cache].into();
    set(&mut up, "db", Status::Stopped);
    let mounted = PlanError::VolumeMounted { name: data.clone(), user: name("db") };
    assert_eq!(plan_volume_removal(&up, &[data.clone()].into()), Err(mounted));
    let (down, _) = plan(None, &up, &Policy::default()).unwrap();
    let down = simulate(&down, &up);
    let (removal, report) = plan_volume_removal(&down, &both).unwrap();
    let ids: Vec<_> = removal.steps.keys().map(ToString::to_string).collect();
    assert_eq!(ids, ["remove-volume/cache", "remove-volume/data"]);
    assert_eq!(report.losses().len(), 2, "the contents are lost");
    assert!(simulate(&removal, &down).volumes.is_empty());
    let unknown = PlanError::UnknownVolume { name: other.clone() };
    assert_eq!(plan_volume_removal(&down, &[other].into()), Err(unknown));
    // Whether it mounts the volume is unknown.
    let mut unreadable = down;
    let record =
        UnreadableSandbox { id: up.sandboxes[&name("db")].id.clone(), generation: 1, reason: "x".to_owned() };
    unreadable.unreadable.insert(name("old"), record);
    assert!(matches!(plan_volume_removal(&unreadable, &both), Err(PlanError::Unreadable { .. })));
}
