//! Services that end after they were up; the tests play their supervisors.

use super::settle::SETTLE_TIME;
use super::{Applier, Interrupt, Outcome, Settings, StepResult, SuperviseCommand, Waiting};
use crate::catalog::{Catalog, SandboxRow};
use crate::images::ImageQuery;
use crate::observe::observe;
use crate::reporter::Silent;
use executor_client::control::{Event, LineReader, Request, write_line};
use executor_host::home::{Home, make_private_folder};
use executor_host::process::ProcessIdentity;
use executor_host::state::{Phase, Probe, State, write_state};
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName, full_name};
use schemas::plan::{Ensure, Identity, PLAN_VERSION, PlanGraph, Step, StepId};
use schemas::snapshot::{Exit, Health, Status};
use schemas::spec::{Condition, Definition, ImageReference, PinnedImage, Role, SandboxSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::watch;

/// A project with one sandbox, `web`, that came up right now.
struct World {
    applier: Arc<Applier>,
    states: watch::Sender<State>,
    identity: Identity,
    _scratch: tempfile::TempDir,
}

fn project() -> ProjectName {
    ProjectName::new("shop").unwrap()
}

fn identity(name: &str) -> Identity {
    let name = SandboxName::new(name).unwrap();
    Identity { id: SandboxId::derive(&project(), &name, 1), name, generation: 1 }
}

fn running() -> State {
    State {
        phase: Phase::Running,
        health: Health::Unchecked,
        ..State::booting(Some(identity("web").id), ProcessIdentity::current().unwrap())
    }
}

/// What depends on the sandbox of the world.
fn dependent() -> Identity {
    identity("app")
}

fn exited(code: i32) -> Phase {
    Phase::Exited { exit: Exit::Code { code } }
}

impl World {
    fn new(role: Role, waiting: Waiting) -> Self {
        let scratch = tempfile::Builder::new().prefix("m-").tempdir().unwrap();
        let home = Home::open(scratch.path().join("h")).unwrap();
        let catalog = Arc::new(Catalog::open(&home.catalog()).unwrap());
        let identity = identity("web");
        let reference = ImageReference::Local { path: "/image".into() };
        let image = PinnedImage { reference, digest: Digest::of_bytes(b"") };
        let spec = SandboxSpec { image, definition: Definition::with_defaults(role) };
        for identity in [&identity, &dependent()] {
            let row = SandboxRow {
                id: identity.id.clone(),
                project: project(),
                name: identity.name.clone(),
                generation: 1,
                spec: spec.clone(),
                created: true,
                should_run: true,
                hook_done: true,
            };
            catalog.begin_sandbox(&row).unwrap();
            catalog.set_should_run(&identity.id, true).unwrap();
        }
        make_private_folder(home.sandbox(&identity.id).path()).unwrap();
        let run_folder = home.sandbox_run(&full_name(&project(), &identity.name));
        make_private_folder(run_folder.path()).unwrap();
        let states = watch::Sender::new(running());
        let listener = UnixListener::bind(run_folder.control_socket()).unwrap();
        tokio::spawn(serve(listener, states.clone()));
        let settings = Settings {
            boot: None,
            supervise: SuperviseCommand { program: "/none".into(), environment: Vec::new(), lease: None },
            parallel: None,
            fail_fast: false,
            stop_timeout: Some(Duration::ZERO),
            kill: false,
            waiting,
            registries: Arc::default(),
            folder: None,
            pools: executor_net::Pools::default(),
        };
        let applier = Arc::new(Applier { home, catalog, settings, reporter: Arc::new(Silent) });
        let world = Self { applier, states, identity, _scratch: scratch };
        world.become_(|_| {});
        world
    }

    /// The supervisor says something new.
    fn become_(&self, change: impl FnOnce(&mut State)) {
        self.states.send_modify(change);
        write_state(&self.applier.home.sandbox(&self.identity.id), &self.states.borrow()).unwrap();
    }

    /// Its restart policy goes once around.
    fn restart(&self, code: i32) {
        self.become_(|state| state.main_ended = true);
        self.become_(|state| {
            state.phase = Phase::Backoff { exit: Exit::Code { code } };
            (state.main_ended, state.health) = (false, Health::Booting);
            state.restarts += 1;
        });
    }

    /// Checks again a plan that has started it and waited for it with success.
    async fn check_settled(&self, condition: Condition, interrupt: watch::Receiver<Interrupt>) -> StepResult {
        let wait = StepId::Wait(self.identity.name.clone(), condition);
        let started =
            Ensure::Started { identity: self.identity.clone(), spec: Digest::of_bytes(b"").clone() };
        let steps = [
            (StepId::Start((&self.identity.name).into()), started),
            (wait.clone(), Ensure::Condition { identity: self.identity.clone(), condition }),
        ];
        let steps = steps.map(|(id, ensure)| (id, Step { ensure, after: BTreeSet::new() }));
        let now = Instant::now();
        let succeeded = StepResult::Succeeded { outcome: Outcome::Added, began: now, ended: now };
        let mut results: BTreeMap<_, _> =
            steps.iter().map(|(id, _)| (id.clone(), succeeded.clone())).collect();
        let plan = PlanGraph {
            version: PLAN_VERSION,
            project: project(),
            snapshot: Digest::of_bytes(b""),
            steps: steps.into(),
        };
        self.applier.check_settled(&plan, &mut results, interrupt).await;
        results.remove(&wait).unwrap()
    }

    /// The same, while the supervisor goes on.
    async fn look_while(&self, condition: Condition, goes_on: impl Future<Output = ()>) -> StepResult {
        let (_keep, interrupt) = watch::channel(Interrupt::None);
        tokio::join!(self.check_settled(condition, interrupt), goes_on).0
    }
}

async fn serve(listener: UnixListener, states: watch::Sender<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let mut states = states.subscribe();
        tokio::spawn(async move {
            let (reader, mut writer) = stream.into_split();
            let mut reader = LineReader::new(reader);
            let _: Option<Request> = reader.next().await.unwrap();
            loop {
                let state = Box::new(states.borrow_and_update().clone());
                if write_line(&mut writer, &Event::State { state }).await.is_err()
                    || states.changed().await.is_err()
                {
                    return;
                }
            }
        });
    }
}

fn message(result: &StepResult) -> &str {
    match result {
        StepResult::Failed(failure) => &failure.message,
        other => panic!("it did not fail: {other:?}"),
    }
}

/// Gives the look the time to hear what was said last.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_service_that_ends_behind_its_start_has_not_come_up() {
    for code in [3, 0] {
        let world = World::new(Role::Service, Waiting::default());
        let result = world.look_while(Condition::Started, async {
            a_moment().await;
            world.become_(|state| state.main_ended = true);
            // To shut a guest down may take longer than the look itself.
            tokio::time::sleep(SETTLE_TIME).await;
            world.become_(|state| (state.phase, state.main_ended) = (exited(code), false));
        });
        assert_eq!(message(&result.await), format!("web exited with code {code}"));
    }
}

#[tokio::test]
async fn a_service_that_is_ending_is_not_up_for_a_plan() {
    let world = World::new(Role::Service, Waiting::default());
    let status = || {
        let Applier { home, catalog, .. } = &*world.applier;
        let observed = observe(home, catalog, &project(), &ImageQuery::default()).unwrap();
        observed.sandboxes[&world.identity.name].status.clone()
    };
    assert_eq!(status(), Status::Running { health: Health::Unchecked });
    world.become_(|state| state.main_ended = true);
    assert_eq!(status(), Status::Running { health: Health::Booting });
}

#[tokio::test]
async fn an_ended_service_is_judged_by_its_file() {
    let world = World::new(Role::Service, Waiting::default());
    world.become_(|state| {
        state.phase = exited(3);
        state.last_probe = Some(Probe { code: Some(0), output: "fine".into(), failures: 0 });
    });
    let socket = world.applier.home.sandbox_run("shop-web").control_socket();
    std::fs::remove_file(socket).unwrap();
    let result = world.look_while(Condition::Healthy, async {}).await;
    assert_eq!(message(&result), "web exited with code 3");
}

#[tokio::test]
async fn a_stable_service_is_up_and_a_job_may_end() {
    let world = World::new(Role::Service, Waiting::default());
    let result = world.look_while(Condition::Started, async {}).await;
    assert!(matches!(result, StepResult::Succeeded { .. }), "{result:?}");
    let world = World::new(Role::Job, Waiting::default());
    world.become_(|state| state.phase = exited(0));
    for condition in [Condition::Completed, Condition::Started] {
        let result = world.look_while(condition, async {}).await;
        assert!(matches!(result, StepResult::Succeeded { .. }), "{result:?}");
    }
}

#[tokio::test]
async fn a_crash_loop_is_not_up_and_a_recovered_service_is() {
    let world = World::new(Role::Service, Waiting::default());
    let result = world.look_while(Condition::Started, async {
        for _ in 0..3 {
            a_moment().await;
            world.restart(1);
            a_moment().await;
            world.become_(|state| state.phase = Phase::Running);
        }
    });
    let result = result.await;
    assert_eq!(message(&result), "web exits with code 1 after every start; its restart policy goes on");

    let world = World::new(Role::Service, Waiting::default());
    let result = world.look_while(Condition::Healthy, async {
        a_moment().await;
        world.restart(1);
        a_moment().await;
        world.become_(|state| (state.phase, state.health) = (Phase::Running, Health::Starting));
        // It is not up again before its health check says so.
        tokio::time::sleep(SETTLE_TIME).await;
        world.become_(|state| state.health = Health::Healthy);
    });
    let began = Instant::now();
    let result = result.await;
    assert!(matches!(result, StepResult::Succeeded { .. }), "{result:?}");
    assert!(began.elapsed() >= SETTLE_TIME * 2, "it was taken for up before it was");

    // It was restarted before it was observed: how long it has been up is unknown.
    let world = World::new(Role::Service, Waiting::default());
    world.become_(|state| state.restarts = 1);
    let result = world.look_while(Condition::Started, async {
        tokio::time::sleep(SETTLE_TIME / 2).await;
        world.become_(|state| state.phase = exited(1));
    });
    assert_eq!(message(&result.await), "web exited with code 1");

    // Its policy gives up.
    let world = World::new(Role::Service, Waiting::default());
    let result = world.look_while(Condition::Started, async {
        world.restart(7);
        a_moment().await;
        world.become_(|state| state.phase = exited(7));
    });
    assert_eq!(message(&result.await), "web exited with code 7");
}

#[tokio::test]
async fn an_interrupt_ends_the_last_look() {
    let world = World::new(Role::Service, Waiting::default());
    world.restart(1);
    let (sender, interrupt) = watch::channel(Interrupt::None);
    let interrupts = async {
        a_moment().await;
        sender.send_replace(Interrupt::Finish);
    };
    let (result, ()) = tokio::join!(world.check_settled(Condition::Started, interrupt), interrupts);
    assert!(matches!(result, StepResult::Interrupted), "{result:?}");
}

#[tokio::test]
async fn a_dependent_is_not_started_when_its_dependency_has_ended() {
    let world = World::new(Role::Service, Waiting::default());
    let api = Ensure::Started { identity: identity("api"), spec: Digest::of_bytes(b"") };
    let needs = |condition| vec![(world.identity.clone(), condition)];
    for condition in [Condition::Started, Condition::Healthy] {
        world.become_(|state| (state.phase, state.main_ended) = (Phase::Running, false));
        world.applier.require(&api, &needs(condition)).await.unwrap();
        // It shuts down, which is seen before its end is.
        world.become_(|state| state.main_ended = true);
        let ends = async {
            a_moment().await;
            world.become_(|state| (state.phase, state.main_ended) = (exited(3), false));
        };
        let needs = needs(condition);
        let (required, ()) = tokio::join!(world.applier.require(&api, &needs), ends);
        let failure = required.unwrap_err();
        assert_eq!(failure.message, "api depends on web, and web exited with code 3");
        assert_eq!(failure.hint.as_deref(), Some("msb logs web"));
    }
    // A restart policy that is at work may bring it back.
    world.become_(|state| state.phase = Phase::Running);
    world.restart(3);
    world.applier.require(&api, &needs(Condition::Started)).await.unwrap();
    // What was to end has.
    world.become_(|state| state.phase = exited(0));
    world.applier.require(&api, &needs(Condition::Completed)).await.unwrap();
}

#[tokio::test]
async fn with_a_time_limit_what_is_unhealthy_may_become_healthy() {
    for outlasts_unhealthy in [true, false] {
        let world = World::new(Role::Service, Waiting { until_settled: false, outlasts_unhealthy });
        let probe = Probe { code: Some(1), output: "no database".into(), failures: 3 };
        world.become_(|state| (state.health, state.last_probe) = (Health::Unhealthy, Some(probe)));
        let step: StepId = "wait/web/healthy".parse().unwrap();
        let (project, identity) = (project(), world.identity.clone());
        let recovers = async {
            a_moment().await;
            world.become_(|state| state.health = Health::Healthy);
        };
        let waits = world.applier.ensure_condition(&project, &step, &identity, Condition::Healthy);
        let (waited, ()) = tokio::join!(waits, recovers);
        match waited {
            Ok(outcome) => assert!(outlasts_unhealthy && outcome == Outcome::Updated),
            Err(failure) => {
                assert!(!outlasts_unhealthy, "{failure:?}");
                assert_eq!(failure.message, "web is unhealthy");
                assert_eq!(failure.details[1], "it printed: no database");
            }
        }
    }
}

#[tokio::test]
async fn the_last_probe_is_reported_when_a_wait_is_given_up() {
    let world = World::new(Role::Service, Waiting::default());
    // The file does not know of it: a probe that changes nothing is not written down.
    let probe = Probe { code: Some(1), output: "no database".into(), failures: 2 };
    world.states.send_modify(|state| (state.health, state.last_probe) = (Health::Starting, Some(probe)));
    let reported = super::not_yet(&world.applier.home, &project(), &world.identity).await;
    assert_eq!(
        reported.as_deref(),
        Some("the last probe of web exited with code 1, and printed: no database")
    );
}

#[tokio::test]
async fn a_start_is_taken_back_when_its_dependency_has_ended_meanwhile() {
    let world = World::new(Role::Service, Waiting::default());
    let catalog = &world.applier.catalog;
    let should_run = || catalog.sandbox(&dependent().id).unwrap().unwrap().should_run;
    let spec = catalog.sandbox(&dependent().id).unwrap().unwrap().spec.digest();
    let start = Ensure::Started { identity: dependent(), spec };
    let needs = vec![(world.identity.clone(), Condition::Started)];
    world.applier.require_still(&project(), &start, &needs).await.unwrap();
    assert!(should_run());
    world.become_(|state| state.phase = exited(3));
    let failure = world.applier.require_still(&project(), &start, &needs).await.unwrap_err();
    assert_eq!(failure.message, "app depends on web, and web exited with code 3");
    assert_eq!(failure.details.last().unwrap(), "app had just come up, and has been stopped again");
    assert!(!should_run());
}
