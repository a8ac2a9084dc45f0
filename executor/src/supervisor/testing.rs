//! A sandbox for tests of its supervisor: files, state and logs, without a guest.

use super::agent_link::exec_logger::ExecLogger;
use super::logs::Logs;
use super::logs::events::EventLog;
use super::machine::{Launcher, Machine};
use super::metrics::Metrics;
use super::state_store::StateStore;
use crate::launch::{BootSettings, LaunchSpec};
use executor_client::event::SandboxEvent;
use executor_host::home::{Home, SandboxFolder, make_private_folder};
use executor_host::process::ProcessIdentity;
use executor_host::state::STATE_VERSION;
use executor_image::ImageConfig;
use executor_log::{Limits, Rotation};
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName};
use schemas::spec::{Definition, ImageReference, PinnedImage, Role, SandboxSpec};
use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

/// No test takes this long, on a busy machine either, or by a clock that is paused.
const TEST_TIMEOUT: Duration = Duration::from_secs(600);

/// Returns the launch spec of a service `shop-web` that changes nothing of its image.
pub fn launch_spec() -> LaunchSpec {
    let (project, name) = (ProjectName::new("shop").unwrap(), SandboxName::new("web").unwrap());
    let reference = ImageReference::Local { path: "/srv/image".to_owned() };
    let image = PinnedImage { reference, digest: Digest::of_bytes(b"image") };
    LaunchSpec {
        version: STATE_VERSION,
        id: SandboxId::derive(&project, &name, 1),
        full_name: "shop-web".to_owned(),
        name,
        project,
        folder: None,
        spec: SandboxSpec { image, definition: Definition::with_defaults(Role::Service) },
        volumes: Default::default(),
        external: Default::default(),
        anonymous: Default::default(),
        warnings: Vec::new(),
        boot: BootSettings {
            backend: executor_vm::Backend::Krun,
            kernel: "/dev/null".into(),
            initramfs: "/dev/null".into(),
        },
        addresses: None,
    }
}

/// One sandbox, ready to be started.
pub struct Sandbox {
    pub home: Home,
    pub launch: LaunchSpec,
    pub folder: SandboxFolder,
    pub store: Rc<StateStore>,
    pub exec_log: Rc<RefCell<ExecLogger>>,
    metrics: Metrics,
    limits: Limits,
    volumes: super::devices::volumes::Volumes,
    pub guest: tokio::sync::watch::Sender<Option<super::agent_link::relay::ReadyGuest>>,
    _root: tempfile::TempDir,
}

impl Sandbox {
    pub fn new(change: impl FnOnce(&mut Definition)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(root.path().to_owned()).unwrap();
        let mut launch = launch_spec();
        change(&mut launch.spec.definition);
        let folder = home.sandbox(&launch.id);
        make_private_folder(&folder.logs()).unwrap();
        fs::write(folder.disk(), "disk").unwrap();
        let rootfs = executor_image::rootfs_path(&home.images(), &launch.spec.image.digest);
        make_private_folder(rootfs.parent().unwrap()).unwrap();
        fs::write(rootfs, "image").unwrap();
        let limits = Limits::from(Rotation::default());
        let exec_log = Rc::new(RefCell::new(ExecLogger::open(&folder.logs(), limits.clone()).unwrap()));
        let events = EventLog::open(&folder.logs(), &limits).unwrap();
        let logs = Logs::new(limits.clone(), Rotation::default(), exec_log.clone(), events);
        let supervisor = ProcessIdentity::current().unwrap();
        let store = StateStore::new(folder.clone(), &launch, ImageConfig::default(), supervisor, logs);
        Self {
            home,
            launch,
            folder,
            store: Rc::new(store),
            exec_log,
            metrics: Metrics::none(),
            limits,
            volumes: Default::default(),
            guest: tokio::sync::watch::Sender::new(None),
            _root: root,
        }
    }

    /// Returns its machine, whose monitors are started by this launcher.
    pub fn machine<'a>(&'a self, launcher: &'a dyn Launcher) -> Machine<'a> {
        Machine {
            home: &self.home,
            launch: &self.launch,
            launcher,
            describe: |_, _| "sandbox".to_owned(),
            folder: &self.folder,
            volumes: &self.volumes,
            store: &self.store,
            exec_log: &self.exec_log,
            guest: &self.guest,
            interception: None,
            metrics: &self.metrics,
            limits: &self.limits,
        }
    }

    /// Whether relay clients are connected to a guest.
    pub fn has_guest(&self) -> bool {
        self.guest.borrow().is_some()
    }

    /// Returns the recorded events in words.
    pub fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.logs().join(executor_log::EVENTS_LOG)).unwrap();
        let event = |line| serde_json::from_str::<SandboxEvent>(line).unwrap().to_string();
        text.lines().map(event).collect()
    }
}

/// Runs a test on an event loop as the supervisor's.
pub fn on_event_loop(test: impl AsyncFnOnce()) {
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&event_loop, async {
        tokio::time::timeout(TEST_TIMEOUT, test()).await.expect("the test does not end");
    });
}
