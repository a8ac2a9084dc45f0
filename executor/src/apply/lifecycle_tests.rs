//! Plans that start, change, stop and remove a sandbox, with real supervisors over a fake driver.
//!
//! Each supervisor is this test program once more, as [`supervisor_process`].

use super::{Applier, Interrupt, Outcome, ProjectLock, Settings, StepResult, SuperviseCommand, Waiting};
use crate::catalog::Catalog;
use crate::images::{ImageQuery, Pull};
use crate::launch::BootSettings;
use crate::observe::observe;
use crate::reporter::Silent;
use crate::supervisor::fake_vm::{Boot, FakeDriver, Guest, Main};
use crate::supervisor::{Inherited, RuntimeLog, Supervisor};
use executor_host::home::{Home, make_private_folder};
use executor_host::process::ProcessIdentity;
use executor_host::state::{Phase, State, read_state};
use executor_log::Rotation;
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName};
use schemas::plan::{Ensure, Identity, PLAN_VERSION, PlanGraph, Step, StepId};
use schemas::spec::{
    Definition, ImageReference, PinnedImage, RestartPolicy, Role, SandboxSpec, Secret, SecretSource,
    UpstreamProxy, ValueName,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The variable with the arguments of a supervisor.
const ARGUMENTS: &str = "SUPERVISOR_ARGUMENTS";
/// The variable with the home of a supervisor.
const HOME: &str = "SUPERVISOR_HOME";
/// The variable with the name of its guests' behaviour.
const GUEST: &str = "SUPERVISOR_GUEST";

fn guest(name: &str) -> Guest {
    let guest = Guest::default();
    match name {
        "runs" => guest,
        "ignores shutdown" => Guest { ignores_shutdown: true, ..guest },
        "has no such program" => Guest { main: Main::NotFound, ..guest },
        "boot fails" => Guest { boot: Boot::Fails("no disk"), ..guest },
        _ => panic!("there is no guest that {name}"),
    }
}

#[test]
#[ignore = "the other tests start it as their supervisors"]
#[allow(unsafe_code, reason = "a descriptor that was inherited comes as a number")]
fn supervisor_process() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let words: Vec<_> = arguments.split(' ').collect();
    let ["supervise", id, "--watcher", watcher, ref rest @ ..] = words[..] else { panic!("{words:?}") };
    // SAFETY: the spawner passed it for this process to own, and nothing else here uses its number.
    let inherited = |number: &str| unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) };
    let secrets = match rest {
        [] => None,
        ["--secrets", secrets] => Some(inherited(secrets)),
        _ => panic!("{words:?}"),
    };
    let watcher = Some(inherited(watcher));
    let home = Home::open(std::env::var_os(HOME).unwrap().into()).unwrap();
    let driver = FakeDriver::new(guest(&std::env::var(GUEST).unwrap()));
    let supervisor = Supervisor {
        home: &home,
        id: &serde_json::from_value::<SandboxId>(id.into()).unwrap(),
        describe: |_, _| String::new(),
        runtime_log: &RuntimeLog::default(),
        rotation: Rotation::default(),
        metrics_capacity: 16,
    };
    supervisor.run_with(Inherited { watcher, lease: None, secrets }, &driver).unwrap();
}

/// A project `shop` with one service `web`.
struct World {
    applier: Arc<Applier>,
    identity: Identity,
    spec: SandboxSpec,
    _scratch: tempfile::TempDir,
}

impl World {
    fn new(guest: &str, kill: bool) -> Self {
        let scratch = tempfile::Builder::new().prefix("m-").tempdir().unwrap();
        let home = Home::open(scratch.path().join("h")).unwrap();
        let name = SandboxName::new("web").unwrap();
        let identity = Identity { id: SandboxId::derive(&project(), &name, 1), name, generation: 1 };
        let reference = ImageReference::Local { path: "/image".into() };
        let image = PinnedImage { reference, digest: Digest::of_bytes(b"image") };
        let mut definition = Definition::with_defaults(Role::Service);
        definition.start = Some(vec!["/serve".to_owned()]);
        let rootfs = executor_image::rootfs_path(&home.images(), &image.digest);
        make_private_folder(rootfs.parent().unwrap()).unwrap();
        fs::write(rootfs, "image").unwrap();
        let program = scratch.path().join("msb");
        let test = std::env::current_exe().unwrap();
        let name = concat!(module_path!(), "::supervisor_process");
        let name = name.split_once("::").unwrap().1;
        let script = format!(
            "#!/bin/sh\nexport {ARGUMENTS}=\"$*\"\nexec '{}' --exact {name} --ignored --nocapture\n",
            test.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
        let settings = Settings {
            boot: Some(BootSettings {
                backend: executor_vm::Backend::Krun,
                kernel: "/dev/null".into(),
                initramfs: "/dev/null".into(),
            }),
            supervise: SuperviseCommand {
                program,
                environment: vec![(HOME.into(), home.root().into()), (GUEST.into(), guest.into())],
                lease: None,
            },
            parallel: None,
            fail_fast: false,
            stop_timeout: Some(Duration::from_secs(60)),
            kill,
            waiting: Waiting::default(),
            registries: Arc::default(),
            folder: None,
            pools: executor_net::Pools::default(),
        };
        let catalog = Arc::new(Catalog::open(&home.catalog()).unwrap());
        let applier = Arc::new(Applier { home, catalog, settings, reporter: Arc::new(Silent) });
        Self { applier, identity, spec: SandboxSpec { image, definition }, _scratch: scratch }
    }

    /// Applies a plan of one step after the other; returns their outcomes, or the first failure.
    async fn apply(&self, ensures: impl IntoIterator<Item = Ensure>) -> Result<Vec<Outcome>, String> {
        let Applier { home, catalog, .. } = &*self.applier;
        let lock = ProjectLock::acquire(home, &project(), "test", Duration::ZERO).unwrap();
        let query = ImageQuery {
            references: BTreeSet::new(),
            pins: Default::default(),
            pull: Pull::Never,
            pull_of: Default::default(),
            registries: Arc::default(),
            ports: BTreeSet::new(),
            external: Default::default(),
            mount_obstacle: None,
            secret_problems: Default::default(),
            compare_values: false,
        };
        let mut before: Option<StepId> = None;
        let steps = ensures.into_iter().map(|ensure| {
            let web = (&self.identity.name).into();
            let id = match &ensure {
                Ensure::Sandbox { .. } => StepId::Sandbox(web),
                Ensure::Started { .. } => StepId::Start(web),
                Ensure::Live { .. } => StepId::Live(web),
                Ensure::Stopped { .. } => StepId::Stop(web),
                Ensure::Removed { .. } => StepId::Remove(web),
                other => panic!("{other:?} is no step of these tests"),
            };
            let after = before.replace(id.clone()).into_iter().collect();
            (id, Step { ensure, after })
        });
        let plan = PlanGraph {
            version: PLAN_VERSION,
            project: project(),
            snapshot: observe(home, catalog, &project(), &query).unwrap().digest(),
            steps: steps.collect(),
        };
        let (_interrupt, interrupts) = watch::channel(Interrupt::None);
        let results = self.applier.apply(&plan, &lock, &query, interrupts).await.unwrap();
        results
            .into_values()
            .map(|result| match result {
                StepResult::Succeeded { outcome, .. } => Ok(outcome),
                StepResult::Failed(failure) => Err(failure.message),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn made(&self) -> Ensure {
        Ensure::Sandbox { identity: self.identity.clone(), spec: Box::new(self.spec.clone()) }
    }

    fn started(&self) -> Ensure {
        Ensure::Started { identity: self.identity.clone(), spec: self.spec.digest() }
    }

    fn stopped(&self) -> Ensure {
        Ensure::Stopped { identity: self.identity.clone(), spec: self.spec.digest() }
    }

    fn removed(&self) -> Ensure {
        Ensure::Removed { identity: self.identity.clone() }
    }

    fn state(&self) -> State {
        read_state(&self.applier.home.sandbox(&self.identity.id)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that has failed leaves no supervisor behind.
        if let Some(state) = read_state(&self.applier.home.sandbox(&self.identity.id)) {
            state.supervisor.kill();
        }
    }
}

fn project() -> ProjectName {
    ProjectName::new("shop").unwrap()
}

/// Waits until a process has ended: it may still be exiting when its lock and its state say that it stopped.
async fn wait_for_end(process: &ProcessIdentity) {
    let ended = async {
        while process.is_alive() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the process ends");
}

#[tokio::test]
async fn a_plan_applied_twice_changes_nothing_the_second_time() {
    use Outcome::{Added, NotNeeded, Updated};
    let world = World::new("runs", false);
    let up = || [world.made(), world.started()];
    assert_eq!(world.apply(up()).await, Ok(vec![Added, Added]));
    let first = world.state();
    assert_eq!(first.phase, Phase::Running);
    assert_eq!(world.apply(up()).await, Ok(vec![NotNeeded, NotNeeded]));
    assert_eq!(world.state().supervisor, first.supervisor);

    assert_eq!(world.apply([world.stopped()]).await, Ok(vec![Updated]));
    assert_eq!(world.state().phase, Phase::Stopped);
    wait_for_end(&first.supervisor).await;
    wait_for_end(&first.vmm.unwrap()).await;
    assert_eq!(world.apply([world.stopped()]).await, Ok(vec![NotNeeded]));

    assert_eq!(world.apply(up()).await, Ok(vec![NotNeeded, Added]));
    let folder = world.applier.home.sandbox(&world.identity.id);
    assert_eq!(world.apply([world.removed()]).await, Ok(vec![Updated]));
    assert!(!folder.path().exists());
    assert_eq!(world.apply([world.removed()]).await, Ok(vec![NotNeeded]));
}

#[tokio::test]
async fn a_running_sandbox_follows_a_change_once() {
    let mut world = World::new("runs", true);
    world.apply([world.made(), world.started()]).await.unwrap();
    let supervisor = world.state().supervisor;
    world.spec.definition.restart = RestartPolicy::Always;
    let live = || Ensure::Live {
        identity: world.identity.clone(),
        spec: Box::new(world.spec.clone()),
        values: BTreeSet::new(),
    };
    assert_eq!(world.apply([live()]).await, Ok(vec![Outcome::Updated]));
    assert_eq!(world.apply([live()]).await, Ok(vec![Outcome::NotNeeded]));
    // Its next start would be of another machine, so a running one refuses that.
    world.spec.definition.memory_mib += 1;
    let live = Ensure::Live {
        identity: world.identity.clone(),
        spec: Box::new(world.spec.clone()),
        values: BTreeSet::new(),
    };
    let failure = world.apply([live]).await.unwrap_err();
    assert_eq!(failure, "the supervisor did not take the change: the change takes a restart");
    assert_eq!(world.state().supervisor, supervisor);
    world.apply([world.removed()]).await.unwrap();
}

#[tokio::test]
async fn changed_values_are_noticed_and_passed_on_once() {
    let mut world = World::new("runs", true);
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, value: &str| {
        let path = files.path().join(name);
        fs::write(&path, value).unwrap();
        SecretSource::File { path: path.to_str().unwrap().to_owned() }
    };
    let secret = |source| Secret::new(source, ["a.example".parse().unwrap()].into());
    // The second one is read by a command, which is not run to compare it.
    let command =
        SecretSource::Command { argv: ["cat", "/proc/sys/kernel/random/uuid"].map(str::to_owned).into() };
    let secrets = [("TOKEN", secret(file("token", "first"))), ("UUID", secret(command))];
    world.spec.definition.secrets = secrets.map(|(name, secret)| (name.to_owned(), secret)).into();
    let (url, password) = ("http://me@127.0.0.1:9".parse().unwrap(), Some(file("password", "first")));
    world.spec.definition.network.proxy = Some(UpstreamProxy { url, password });
    world.apply([world.made(), world.started()]).await.unwrap();
    let Applier { home, catalog, .. } = &*world.applier;
    let query = ImageQuery { compare_values: true, ..ImageQuery::default() };
    let changed = || {
        let mut snapshot = observe(home, catalog, &project(), &query).unwrap();
        snapshot.changed_values.remove(&world.identity.name).unwrap_or_default()
    };
    assert_eq!(changed(), [].into());

    let (token, proxy) = (ValueName::Secret("TOKEN".to_owned()), ValueName::ProxyPassword);
    file("token", "second");
    assert_eq!(changed(), [token.clone()].into());
    file("password", "second");
    let both: BTreeSet<_> = [token, proxy].into();
    assert_eq!(changed(), both);
    let live = || Ensure::Live {
        identity: world.identity.clone(),
        spec: Box::new(world.spec.clone()),
        values: both.clone(),
    };
    let supervisor = world.state().supervisor;
    assert_eq!(world.apply([live()]).await, Ok(vec![Outcome::Updated]));
    assert_eq!(changed(), [].into());
    assert_eq!(world.apply([live()]).await, Ok(vec![Outcome::NotNeeded]));
    assert_eq!(world.state().supervisor, supervisor);

    // One that cannot be read is no change, and cannot be passed on.
    fs::remove_file(files.path().join("token")).unwrap();
    assert_eq!(changed(), [].into());
    let failure = world.apply([live()]).await.unwrap_err();
    assert!(failure.starts_with("web: the secret TOKEN: there is no file "), "{failure}");
    world.apply([world.removed()]).await.unwrap();
}

#[tokio::test]
async fn starts_that_fail_say_why() {
    for (guest, restart, message) in [
        ("boot fails", RestartPolicy::No, "web: the guest could not come up: no disk"),
        ("has no such program", RestartPolicy::No, "web did not start: no such file"),
        (
            "boot fails",
            RestartPolicy::Always,
            "web: the guest could not come up: no disk, 3 times in a row; its restart policy goes on",
        ),
    ] {
        let mut world = World::new(guest, true);
        world.spec.definition.restart = restart;
        let failure = world.apply([world.made(), world.started()]).await.unwrap_err();
        assert_eq!(failure, message);
        world.apply([world.removed()]).await.unwrap();
    }
}

#[tokio::test]
async fn a_guest_that_does_not_answer_is_killed_on_request() {
    let world = World::new("ignores shutdown", true);
    world.apply([world.made(), world.started()]).await.unwrap();
    let vmm = world.state().vmm.unwrap();
    assert_eq!(world.apply([world.stopped()]).await, Ok(vec![Outcome::Updated]));
    wait_for_end(&vmm).await;
    assert_eq!(world.state().phase, Phase::Stopped);
}

#[tokio::test]
async fn a_supervisor_that_was_killed_is_replaced() {
    let world = World::new("runs", true);
    let up = || [world.made(), world.started()];
    world.apply(up()).await.unwrap();
    let first = world.state();
    first.supervisor.kill();
    // While it dies, two observations may differ.
    wait_for_end(&first.supervisor).await;
    assert_eq!(world.apply(up()).await, Ok(vec![Outcome::NotNeeded, Outcome::Added]));
    wait_for_end(&first.vmm.unwrap()).await;
    assert_ne!(world.state().supervisor, first.supervisor);
    world.apply([world.removed()]).await.unwrap();
}
