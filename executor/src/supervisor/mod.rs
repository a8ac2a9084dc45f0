//! The supervisor of one sandbox: the process that owns its virtual machine, relay, control socket, health check, logs and
//! restart policy.
//!
//! ```text
//!             ┌────────────── restart policy ──────────────┐
//!             ▼                                            │
//!  spawned ─► Booting ─► Running ─► (main process or VM ends, or a limit is reached) ─► Exited
//!             │            │
//!             └── stop ────┴──────────────────────────────────► Stopped
//! ```
//!
//! One task, [`Supervisor::run`], owns the machine; the others communicate with it by the [`state_store::StateStore`].

mod agent_link;
mod control;
mod devices;
#[cfg(test)]
pub(crate) mod fake_vm;
mod interception;
mod limits;
mod logs;
mod machine;
mod memory;
mod metrics;
mod network;
mod state_store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod values;

use crate::launch::LaunchSpec;
use crate::secrets;
use agent_link::exec_logger::ExecLogger;
use agent_link::relay;
use devices::volumes::Volumes;
use executor_host::home::{Home, make_private_folder};
use executor_host::lock::{FileLock, LockError};
use executor_host::process::ProcessIdentity;
use executor_host::state::{Phase, STATE_VERSION, read_json};
use executor_log::{Limits, Rotation};
use interception::Interception;
use logs::Logs;
use logs::events::EventLog;
pub use logs::runtime::RuntimeLog;
pub use machine::effective_spec::is_interactive;
use machine::{ExitCause, Launcher, Machine};
pub use machine::{SelfLauncher, host_limits};
use metrics::Metrics;
use rustix::process::{Resource, Rlimit, setrlimit};
use schemas::name::SandboxId;
use schemas::snapshot::{Exit, FailureCause, Health};
use schemas::spec::{RestartPolicy, SandboxSpec};
use state_store::StateStore;
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use values::HeldValues;

/// The pause before the first restart; it doubles with each further one.
const RESTART_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The uptime after which the next pause is the shortest one again.
const RESTART_STEADY: Duration = Duration::from_secs(10);
/// The timeout of a guest's shutdown after a signal to the supervisor.
const SIGNAL_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of reading the remaining output of an ended machine.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of the last messages to control clients.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// A failure to start a supervisor.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// There is no such sandbox, or its launch spec cannot be read.
    #[error("cannot read the launch spec {}", path.display())]
    LaunchSpec {
        /// The expected path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another supervisor runs it already.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// A socket, file or folder failed.
    #[error("cannot {action}")]
    Io {
        /// The failed action.
        action: String,
        /// The cause.
        source: io::Error,
    },
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> SupervisorError {
    let action = action.into();
    move |source| SupervisorError::Io { action, source }
}

/// Writes the declaration of one sandbox as in a Sandboxfile.
pub type Describe = fn(&LaunchSpec, &SandboxSpec) -> String;

/// Descriptors that the spawner passes on.
#[derive(Debug)]
pub struct Inherited {
    /// One end of a socket pair: the spawner receives every state from the first one on at the other end, as after `watch`
    /// on the control socket.
    pub watcher: Option<OwnedFd>,
    /// The read end of a pipe: the sandbox is stopped when the write end is closed.
    pub lease: Option<OwnedFd>,
    /// A file in memory with the values of the sandbox's secrets and the password of its proxy, if it has any.
    pub secrets: Option<OwnedFd>,
}

/// One sandbox's supervisor.
pub struct Supervisor<'a> {
    /// The state folder.
    pub home: &'a Home,
    /// The sandbox.
    pub id: &'a SandboxId,
    /// Writes the declaration that the sandbox is shown of itself.
    pub describe: Describe,
    /// The destination of everything that is traced.
    pub runtime_log: &'a RuntimeLog,
    /// The size and number of log files, unless the spec says otherwise.
    pub rotation: Rotation,
    /// The number of sandboxes that can have metrics at a time.
    pub metrics_capacity: u32,
}

impl Supervisor<'_> {
    /// Supervises the sandbox until it has ended for good.
    ///
    /// # Errors
    ///
    /// If the launch spec cannot be read, another supervisor runs, or a file or socket cannot be opened. How the
    /// sandbox itself ends is in its state.
    pub fn run(&self, inherited: Inherited) -> Result<(), SupervisorError> {
        self.run_with(inherited, &SelfLauncher)
    }

    /// Supervises the sandbox with monitors of this launcher.
    pub(crate) fn run_with(
        &self,
        inherited: Inherited,
        launcher: &dyn Launcher,
    ) -> Result<(), SupervisorError> {
        let Self { home, id, describe, runtime_log, rotation, metrics_capacity } = *self;
        let folder = home.sandbox(id);
        let missing = |source| SupervisorError::LaunchSpec { path: folder.launch_spec(), source };
        let launch: LaunchSpec = read_json(&folder.launch_spec())
            .and_then(|launch| launch.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(missing)?;
        if launch.version != STATE_VERSION {
            return Err(missing(io::Error::other(format!("it is of version {}", launch.version))));
        }
        let run_folder = home.sandbox_run(&launch.full_name);
        make_private_folder(run_folder.path()).map_err(failed("make the folder of sockets"))?;
        let lock = FileLock::acquire(&run_folder.lock(), "msb supervise", Duration::ZERO)?;
        // `down` may have removed the sandbox before the lock was taken.
        if !folder.launch_spec().exists() {
            lock.remove();
            return Err(missing(io::ErrorKind::NotFound.into()));
        }
        raise_descriptor_limit();
        memory::map_large_pieces();
        let values = inherited.secrets.map(secrets::receive).transpose();
        let values = values.map_err(failed("receive the values of secrets"))?;
        let values = Rc::new(HeldValues::new(values.unwrap_or_default()));
        let interception = Interception::prepare(&launch, &folder, values.clone())?;
        let supervisor = ProcessIdentity::current()
            .ok_or_else(|| failed("read /proc/self/stat")(io::ErrorKind::Other.into()))?;
        make_private_folder(&folder.logs()).map_err(failed("make the folder of logs"))?;
        let limits = Limits::from(logs::rotation(rotation, &launch.spec.definition.logs));
        runtime_log.attach(&folder.logs(), limits.clone()).map_err(failed("open runtime.log"))?;
        let exec_log = ExecLogger::open(&folder.logs(), limits.clone()).map_err(failed("open exec.log"))?;
        let exec_log = Rc::new(RefCell::new(exec_log));
        let events = EventLog::open(&folder.logs(), &limits).map_err(failed("open events.log"))?;
        let logs = Logs::new(limits.clone(), rotation, exec_log.clone(), events);
        logs.follow(&launch.spec.definition.logs);
        let image = executor_image::image_config(&home.images(), &launch.spec.image.digest)
            .map_err(|error| failed("read how the image is run")(io::Error::other(error)))?;
        let metrics = Metrics::register(home, &launch, supervisor, metrics_capacity);
        let store = StateStore::new(folder.clone(), &launch, image, supervisor, logs);
        let store = Rc::new(store.with_values(values.clone()));

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start the event loop"))?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            for socket in [run_folder.agent_socket(), run_folder.control_socket()] {
                // Left behind by a killed supervisor: this one has the lock.
                let _ = std::fs::remove_file(socket);
            }
            let agent_listener =
                UnixListener::bind(run_folder.agent_socket()).map_err(failed("open agent.sock"))?;
            let control_listener =
                UnixListener::bind(run_folder.control_socket()).map_err(failed("open control.sock"))?;
            let (guest, guests) = watch::channel(None);
            tokio::task::spawn_local(relay::serve(agent_listener, guests.clone()));
            tokio::task::spawn_local(control::serve(control_listener, store.clone(), guests.clone()));
            if let Some(watcher) = inherited.watcher {
                let stream = std::os::unix::net::UnixStream::from(watcher);
                stream.set_nonblocking(true).map_err(failed("use the spawner's socket"))?;
                let stream = UnixStream::from_std(stream).map_err(failed("use the spawner's socket"))?;
                tokio::task::spawn_local(control::serve_client(stream, store.clone(), guests));
            }
            if let Some(lease) = inherited.lease {
                let lease = pipe::Receiver::from_owned_fd(lease).map_err(failed("use the lease"))?;
                tokio::task::spawn_local(stop_at_end_of(lease, store.clone()));
            }
            stop_on_signals(&store).map_err(failed("catch signals"))?;
            exec_log.borrow_mut().redact(values.all());
            if let Some(interception) = &interception {
                let logs = (exec_log.clone(), store.events());
                tokio::task::spawn_local(interception.clone().log_events(store.clone(), logs));
            }
            for warning in &launch.warnings {
                exec_log.borrow_mut().system(warning);
            }
            let last = match Volumes::take(home, &launch).await {
                Ok(volumes) => {
                    let machine = Machine {
                        home,
                        launch: &launch,
                        launcher,
                        describe,
                        folder: &folder,
                        volumes: &volumes,
                        store: &store,
                        exec_log: &exec_log,
                        guest: &guest,
                        interception: interception.as_ref(),
                        metrics: &metrics,
                        limits: &limits,
                    };
                    keep(&machine).await
                }
                Err(error) => {
                    let message = machine::with_causes(&error);
                    exec_log.borrow_mut().system(&message);
                    Phase::Exited { exit: Exit::Failure { cause: FailureCause::Other, message } }
                }
            };
            // Sockets are removed before the final state is sent, so that its receivers find nothing of this run.
            for socket in [run_folder.agent_socket(), run_folder.control_socket()] {
                let _ = std::fs::remove_file(socket);
            }
            store.change(|state| (state.phase, state.vmm) = (last, None));
            let _ = tokio::time::timeout(CLOSE_GRACE, store.clients_gone()).await;
            Ok::<_, SupervisorError>(())
        })?;
        // The empty folder stays, as another process may be about to lock it.
        lock.remove();
        Ok(())
    }
}

/// Runs the machine until it is stopped, reaches a limit of its time, or ends for good; returns the final phase.
async fn keep(machine: &Machine<'_>) -> Phase {
    let store = machine.store;
    let limits = async {
        store.reach_limit(limits::reached(store, machine.guest).await);
        std::future::pending().await
    };
    tokio::select! {
        last = run_again(machine) => last,
        last = limits => last,
    }
}

/// Forgets restarts that are older than a time; returns the number of the others.
fn within(restarts: &mut Vec<Instant>, time: Duration) -> u32 {
    restarts.retain(|restart| restart.elapsed() < time);
    u32::try_from(restarts.len()).unwrap_or(u32::MAX)
}

/// Runs the machine and restarts it by the restart policy; returns the final phase.
async fn run_again(machine: &Machine<'_>) -> Phase {
    let store = machine.store;
    let mut pause = RESTART_PAUSE_FIRST;
    let mut recent = Vec::new();
    loop {
        let began = Instant::now();
        let ended = machine.run().await;
        machine.guest.send_replace(None);
        let exit = match ended {
            ExitCause::Stopped => {
                machine.exec_log.borrow_mut().system("stopped");
                return Phase::Stopped;
            }
            ExitCause::Exited(exit) => exit,
        };
        let described = describe(&exit);
        machine.exec_log.borrow_mut().system(&described);
        if !matches!(exit, Exit::Code { .. }) {
            machine.exec_log.borrow_mut().instead_of_main(&described);
        }
        let restarts = store.state().restarts;
        let again = match store.spec().definition.restart {
            _ if matches!(exit, Exit::Limit { .. }) => false,
            RestartPolicy::No => false,
            RestartPolicy::OnFailure { max, window_ms } => {
                let counted = window_ms.map_or(restarts, |ms| within(&mut recent, Duration::from_millis(ms)));
                !exit.is_success() && max.is_none_or(|max| counted < max)
            }
            RestartPolicy::Always => true,
        };
        if !again {
            return Phase::Exited { exit };
        }
        if began.elapsed() > RESTART_STEADY {
            pause = RESTART_PAUSE_FIRST;
        }
        store.change(|state| {
            state.last_exit = Some(exit.clone());
            (state.phase, state.health, state.vmm) = (Phase::Backoff { exit }, Health::Booting, None);
            state.restarts += 1;
        });
        recent.push(Instant::now());
        tokio::select! {
            _ = store.stop_requested() => return Phase::Stopped,
            exit = store.limit_reached() => return Phase::Exited { exit },
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
        store.change(|state| state.phase = Phase::Booting);
    }
}

fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Code { .. } | Exit::NotStarted { .. } | Exit::Limit { .. } => exit.to_string(),
        Exit::Failure { cause: _, message } => message.clone(),
    }
}

/// Shuts the guest down when the client of its lease has ended.
async fn stop_at_end_of(mut lease: pipe::Receiver, store: Rc<StateStore>) {
    // Nothing is ever written to the pipe.
    while matches!(lease.read(&mut [0]).await, Ok(1..)) {}
    tracing::info!("the msb that this sandbox ran for has ended");
    store.request_stop(SIGNAL_STOP_TIMEOUT);
}

/// Shuts the guest down at SIGTERM and SIGINT.
fn stop_on_signals(store: &Rc<StateStore>) -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, store) = (signal(kind)?, store.clone());
        tokio::task::spawn_local(async move {
            signals.recv().await;
            store.request_stop(SIGNAL_STOP_TIMEOUT);
        });
    }
    Ok(())
}

/// Raises the limit on descriptors: 128 clients need more than the usual 1024.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
