//! One life of one virtual machine: spawn, boot document, ready, main process, shutdown.

use super::Describe;
use super::health;
use super::keeper::Keeper;
use super::kernel_log::KernelLog;
use super::link::{LINK_EVENTS, Link};
use super::network::{self, Network, NetworkError};
use super::relay::ReadyGuest;
use super::runtime_log::MonitorLog;
use super::tap::Tap;
use super::volumes::Volumes;
use crate::home::{Home, SandboxFolder};
use crate::process::ProcessIdentity;
use crate::state::{Orders, Phase};
use executor_log::Rotation;
use executor_vm::{Choice, ConsolePort, Disk, NetworkLink, VmExit, VmProcess, VmSpec, VmmCommand};
use schemas::protocol::frame::{Flags, LINK_ID};
use schemas::protocol::latest::{
    AGENT_PORT_NAME, BOOT_DOCUMENT_VERSION, BootDocument, Disk as GuestDisk, DiskAt, ExecRequest, ExecSignal,
    Message, Shutdown,
};
use schemas::snapshot::{Exit, Health};
use schemas::spec::SandboxSpec;
use schemas::spec::limits::OWN_SANDBOXFILE_BYTES_MAX;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

/// How long a guest may take to come up. Emulated, on a busy host, it takes seconds.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long processes have when the main process has ended by itself.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what a guest said last may lie in the link when its machine is gone already: how it ended stands there.
const LAST_WORDS: Duration = Duration::from_millis(20);
/// How long a guest has to answer, on top of the time that its processes have.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);

/// What one life of a machine needs.
pub struct Machine<'a> {
    /// Where everything is.
    pub home: &'a Home,
    /// How to boot.
    pub orders: &'a Orders,
    /// Writes what the sandbox is shown of itself.
    pub describe: Describe,
    /// Disk and logs.
    pub folder: &'a SandboxFolder,
    /// What outlives the sandbox.
    pub volumes: &'a Volumes,
    /// Told of every step.
    pub keeper: &'a Rc<Keeper>,
    /// Told of every output.
    pub tap: &'a Rc<RefCell<Tap>>,
    /// Told when the guest is up.
    pub guest: &'a watch::Sender<Option<ReadyGuest>>,
    /// How much is kept of logs.
    pub rotation: Rotation,
}

/// A machine that has just been spawned.
struct Spawned {
    vmm: VmProcess,
    stream: UnixStream,
    kernel_log: KernelLog,
    monitor_log: MonitorLog,
}

/// How a life ended.
pub enum Ended {
    /// Somebody wanted it to.
    Stopped,
    /// By itself.
    Exited(Exit),
}

/// A failure in a person's words.
fn failure(message: impl Into<String>) -> Ended {
    Ended::Exited(Exit::Failure { message: message.into() })
}

impl Machine<'_> {
    /// Lives one life. Whatever happens, no VMM is left afterwards.
    pub async fn run(&self) -> Ended {
        let (network, link) = match self.network() {
            Ok(started) => started,
            Err(error) => return failure(with_causes(&error)),
        };
        let ended = self.run_with(network.as_ref(), link).await;
        self.keeper.set_network(None);
        ended
    }

    /// The network, and the end of it that is the VM's.
    fn network(&self) -> Result<(Option<Rc<Network>>, Option<NetworkLink>), NetworkError> {
        let Some(addresses) = self.orders.addresses else { return Ok((None, None)) };
        let (network, link) = Network::start(addresses, self.orders, self.keeper, self.tap)?;
        Ok((Some(network), Some(link)))
    }

    async fn run_with(&self, network: Option<&Rc<Network>>, link: Option<NetworkLink>) -> Ended {
        self.keeper.set_network(network.cloned());
        let Spawned { mut vmm, stream, mut kernel_log, mut monitor_log } = match self.spawn(link) {
            Ok(spawned) => spawned,
            Err(error) => return failure(with_causes(&error)),
        };
        let spawned = Instant::now();
        let identity = ProcessIdentity::of(vmm.pid());
        self.keeper.change(|state| (state.vmm, state.boot_ms) = (identity, None));
        let lived = {
            let mut live = std::pin::pin!(self.live(stream, spawned, &kernel_log));
            tokio::select! {
                ended = &mut live => Ok(ended),
                status = wait_for_exit(&vmm) => match tokio::time::timeout(LAST_WORDS, &mut live).await {
                    Ok(ended @ (Ended::Stopped | Ended::Exited(Exit::Code { .. }))) => Ok(ended),
                    _ => Err(status),
                },
                () = self.keeper.kill_requested() => Ok(Ended::Stopped),
            }
        };
        self.guest.send_replace(None);
        let _ = vmm.kill();
        // Its last words, and its kernel's, are in the logs before anything is said about its end.
        monitor_log.drain().await;
        kernel_log.drain().await;
        match lived {
            Ok(ended) => ended,
            Err(Ok(())) => failure(explain_exit(&mut vmm, &kernel_log)),
            Err(Err(error)) => failure(format!("cannot watch the virtual machine: {error}")),
        }
    }

    fn spawn(&self, network: Option<NetworkLink>) -> Result<Spawned, SpawnError> {
        let spec = self.keeper.spec();
        let definition = &spec.definition;
        let (ours, theirs) =
            std::os::unix::net::UnixStream::pair().map_err(SpawnError::io("make a socket pair"))?;
        ours.set_nonblocking(true).map_err(SpawnError::io("make a socket pair"))?;
        let stream = UnixStream::from_std(ours).map_err(SpawnError::io("make a socket pair"))?;
        let (console, console_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| SpawnError::io("make a pipe")(error.into()))?;
        let kernel_log = KernelLog::keep(console, &self.folder.logs(), self.rotation)
            .map_err(SpawnError::io("open kernel.log"))?;
        let (monitor, log) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| SpawnError::io("make a pipe")(error.into()))?;
        let monitor_log = MonitorLog::keep(monitor).map_err(SpawnError::io("read from a pipe"))?;
        let base = open_disk(&self.home.rootfs(&spec.image.digest), true)?;
        let writable = open_disk(&self.folder.disk(), false)?;
        let mut disks = vec![
            Disk { id: BASE_DISK.to_owned(), file: base.into(), read_only: true },
            Disk { id: WRITABLE_DISK.to_owned(), file: writable.into(), read_only: false },
        ];
        disks.extend(self.volumes.disks().map_err(SpawnError::io("hand over the volumes"))?);
        let vm = VmSpec {
            kernel: self.orders.boot.kernel.clone(),
            initramfs: self.orders.boot.initramfs.clone(),
            extra_cmdline: Vec::new(),
            vcpus: u8::try_from(definition.cpus).unwrap_or(u8::MAX),
            memory_mib: definition.memory_mib,
            disks,
            ports: vec![ConsolePort { name: AGENT_PORT_NAME.to_owned(), socket: theirs.into() }],
            network,
            console: console_end,
        };
        // Not by its path: a newer msb may stand there by now, or none.
        let executable = PathBuf::from("/proc/self/exe");
        let command = VmmCommand { executable, arguments: vec!["vmm".into()], log };
        let choice = Choice { backend: self.orders.boot.backend.clone(), reason: String::new() };
        let vmm = executor_vm::launch(command, &choice, vm).map_err(SpawnError::Vm)?;
        Ok(Spawned { vmm, stream, kernel_log, monitor_log })
    }

    /// From the boot document to the end, as far as the guest tells; cancelled when the VMM ends.
    async fn live(&self, stream: UnixStream, spawned: Instant, kernel_log: &KernelLog) -> Ended {
        let (events, mut events_in) = mpsc::channel(LINK_EVENTS);
        let (lost, lost_in) = oneshot::channel();
        let link = Link::start(stream, self.tap.clone(), events, lost);
        let lived = async {
            match self.boot(&link, &mut events_in, (spawned, kernel_log)).await {
                Ok(()) => self.main(&link, &mut events_in).await,
                Err(ended) => ended,
            }
        };
        tokio::select! {
            ended = lived => ended,
            Ok(why) = lost_in => {
                tracing::warn!("{why}");
                // The VMM's own end says more; it is waited for elsewhere, but not for ever.
                tokio::time::sleep(SHUTDOWN_MARGIN).await;
                failure(why)
            }
        }
    }

    async fn boot(
        &self,
        link: &Rc<Link>,
        events: &mut mpsc::Receiver<Message>,
        (spawned, kernel_log): (Instant, &KernelLog),
    ) -> Result<(), Ended> {
        let spec = self.keeper.spec();
        let sandboxfile = Some((self.describe)(self.orders, &self.keeper.declared())).filter(|text| {
            let fits = text.len() <= OWN_SANDBOXFILE_BYTES_MAX;
            if !fits {
                let limit = OWN_SANDBOXFILE_BYTES_MAX >> 10;
                let note = format!("there is no /.msb/Sandboxfile: it would be larger than {limit} KiB");
                self.tap.borrow_mut().system(&note);
            }
            fits
        });
        let mut document = boot_document(self.orders, &spec, self.volumes, sandboxfile);
        document.directories = self.keeper.image().volumes.iter().cloned().collect();
        let frames = document.to_frames().map_err(|error| failure(with_causes(&error)))?;
        for frame in frames {
            link.send(frame).await.map_err(|error| failure(error.to_string()))?;
        }
        let answer = tokio::select! {
            answer = tokio::time::timeout(BOOT_TIMEOUT, events.recv()) => answer,
            _ = self.keeper.stop_requested() => return Err(Ended::Stopped),
        };
        let ready = match answer {
            Ok(Some(Message::Ready(ready))) => Message::Ready(ready),
            Ok(Some(Message::BootFailed(failed))) => {
                return Err(failure(format!("the guest could not come up: {}", failed.message)));
            }
            Ok(Some(other)) => {
                return Err(failure(format!("the guest said {} before it was ready", other.message_type())));
            }
            Ok(None) => return Err(failure("the link to the guest is closed")),
            Err(_) => {
                let lines = kernel_log.tail();
                let said = if lines.is_empty() {
                    "nothing".to_owned()
                } else {
                    format!("\n  {}", lines.join("\n  "))
                };
                let seconds = BOOT_TIMEOUT.as_secs();
                return Err(failure(format!(
                    "the guest did not come up within {seconds}s; its kernel last said: {said}"
                )));
            }
        };
        let boot_ms = u64::try_from(spawned.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.tap.borrow_mut().system(&format!("guest ready after {boot_ms} ms"));
        self.keeper.change(|state| state.boot_ms = Some(boot_ms));
        let ready = ready.encode(LINK_ID).map_err(|error| failure(with_causes(&error)))?;
        self.guest.send_replace(Some(ReadyGuest { link: link.clone(), ready }));
        Ok(())
    }

    /// Runs the main process, if there is one, until it or somebody ends it.
    async fn main(&self, link: &Rc<Link>, events: &mut mpsc::Receiver<Message>) -> Ended {
        let start = self.keeper.spec().definition.start.clone();
        let mut main = match start {
            None => None,
            Some(argv) => {
                let started = tokio::select! {
                    started = tokio::time::timeout(BOOT_TIMEOUT, self.start_main(link, &argv)) => started
                        .unwrap_or_else(|_| Err(failure("the guest does not start the main process"))),
                    _ = self.keeper.stop_requested() => Err(Ended::Stopped),
                };
                match started {
                    Ok(main) => Some(main),
                    Err(ended) => {
                        shut_down(link, events, END_TIMEOUT).await;
                        return ended;
                    }
                }
            }
        };
        let checked = self.keeper.spec().definition.healthcheck.is_some();
        let health = if checked { Health::Starting } else { Health::Unchecked };
        self.keeper
            .change(|state| (state.phase, state.health, state.last_probe) = (Phase::Running, health, None));
        let (ended, timeout) = tokio::select! {
            exit = main_exit(main.as_mut()) => (Ended::Exited(exit), END_TIMEOUT),
            timeout = self.keeper.stop_requested() => (Ended::Stopped, timeout),
            () = self.check_health(link) => unreachable_end(),
        };
        let timeout = match (&ended, main) {
            (Ended::Stopped, Some(main)) => self.ask_to_stop(link, main, timeout).await,
            _ => timeout,
        };
        shut_down(link, events, timeout).await;
        ended
    }

    /// Where the image names a signal of its own for it, the main process is asked to end by that one first.
    /// Gives the time that is left for all else.
    async fn ask_to_stop(&self, link: &Link, mut main: MainProcess, timeout: Duration) -> Duration {
        let signal = self.keeper.image().stop_signal_number().filter(|signal| *signal != SIGTERM);
        let Some(signal) = signal else { return timeout };
        let asked = Instant::now();
        let Ok(frame) = Message::from(ExecSignal { signal }).encode(main.id) else { return timeout };
        if link.send(frame).await.is_ok() {
            let _ = tokio::time::timeout(timeout, main_exit(Some(&mut main))).await;
        }
        timeout.saturating_sub(asked.elapsed())
    }

    async fn start_main(&self, link: &Link, argv: &[String]) -> Result<MainProcess, Ended> {
        let request = ExecRequest::command(argv);
        let (id, mut session) =
            link.own_session(request.into(), true).await.map_err(|error| failure(error.to_string()))?;
        // An empty chunk is the end of input: a main process has nobody to read from.
        let end_of_input = Message::from(schemas::protocol::latest::ExecStdin { data: Vec::new() });
        if let Ok(frame) = end_of_input.encode(id) {
            let _ = link.send(frame).await;
        }
        loop {
            match session.recv().await {
                Some(Message::ExecStarted(_)) => return Ok(MainProcess { id, session }),
                Some(Message::ExecFailed(failed)) => {
                    self.tap.borrow_mut().system(&failed.message);
                    return Err(Ended::Exited(Exit::Code { code: failed.kind.exit_code() }));
                }
                Some(Message::Error(report)) => return Err(failure(report.message)),
                Some(_) => {}
                None => return Err(failure("the guest is gone")),
            }
        }
    }

    /// Follows the health check, and begins anew with another one when it is changed. Never ends.
    async fn check_health(&self, link: &Link) {
        let mut specs = self.keeper.specs();
        loop {
            let check = specs.borrow_and_update().definition.healthcheck.clone();
            match &check {
                Some(check) => tokio::select! {
                    () = health::watch(link, check, |health, probe| self.keeper.probed(health, probe)) => {}
                    () = changed_check(&mut specs, Some(check)) => {}
                },
                None => changed_check(&mut specs, None).await,
            }
            let checked = specs.borrow().definition.healthcheck.is_some();
            let health = if checked { Health::Starting } else { Health::Unchecked };
            self.keeper.change(|state| (state.health, state.last_probe) = (health, None));
        }
    }
}

fn explain_exit(vmm: &mut VmProcess, kernel_log: &KernelLog) -> String {
    let how = match vmm.wait() {
        Ok(VmExit::Guest) => "the guest rebooted, or its kernel panicked".to_owned(),
        Ok(VmExit::Failed { code }) => {
            format!("its monitor exited with code {code}, runtime.log says more")
        }
        Ok(VmExit::Signalled { signal }) => format!("its monitor was ended by signal {signal}"),
        Err(error) => error.to_string(),
    };
    let lines = kernel_log.tail();
    if lines.is_empty() {
        format!("the virtual machine ended unexpectedly ({how})")
    } else {
        format!(
            "the virtual machine ended unexpectedly ({how}); its kernel last said:\n  {}",
            lines.join("\n  ")
        )
    }
}

/// The main process, once it runs.
struct MainProcess {
    /// The session's.
    id: u32,
    session: mpsc::Receiver<Message>,
}

/// What asks every process to end at shutdown.
const SIGTERM: i32 = 15;

/// The serial numbers of the two disks.
const BASE_DISK: &str = "base";
const WRITABLE_DISK: &str = "writable";

/// The health check never ends before the sandbox does.
fn unreachable_end() -> (Ended, Duration) {
    (failure("the health check ended"), END_TIMEOUT)
}

async fn changed_check(
    specs: &mut watch::Receiver<Rc<SandboxSpec>>,
    known: Option<&schemas::spec::HealthCheck>,
) {
    // The sender lives as long as the supervisor.
    let _ = specs.wait_for(|spec| spec.definition.healthcheck.as_ref() != known).await;
}

/// Waits for the main process; without one, for ever.
async fn main_exit(main: Option<&mut MainProcess>) -> Exit {
    let Some(main) = main else { return std::future::pending().await };
    while let Some(message) = main.session.recv().await {
        if let Message::ExecExited(exited) = message {
            return Exit::Code { code: exited.code };
        }
    }
    // The link is gone; why is told by whoever watches the VMM.
    std::future::pending().await
}

/// Asks the guest to end its processes and to sync its disks; returns when it has, or is too late.
async fn shut_down(link: &Link, events: &mut mpsc::Receiver<Message>, timeout: Duration) {
    let timeout_ms = u64::try_from(timeout.as_millis()).ok();
    let Ok(frame) = Message::from(Shutdown { timeout_ms }).encode_with(LINK_ID, Flags::SHUTDOWN) else {
        return;
    };
    if link.send(frame).await.is_err() {
        return;
    }
    let answered = tokio::time::timeout(timeout + SHUTDOWN_MARGIN, async {
        while let Some(message) = events.recv().await {
            if matches!(message, Message::Shutdown(_)) {
                return true;
            }
        }
        false
    });
    if !matches!(answered.await, Ok(true)) {
        tracing::warn!("the guest did not shut down in time and is killed");
    }
}

#[allow(unsafe_code, reason = "tokio wants a promise about the descriptor that no type can make")]
async fn wait_for_exit(vmm: &VmProcess) -> io::Result<()> {
    let pidfd = vmm.pidfd().try_clone_to_owned()?;
    // SAFETY: the descriptor is ours alone and moves in; it stays open until it is dropped in there.
    let pidfd = unsafe { AsyncFd::register(pidfd)? };
    let _ = pidfd.readable().await?;
    Ok(())
}

fn boot_document(
    orders: &Orders,
    spec: &SandboxSpec,
    volumes: &Volumes,
    sandboxfile: Option<String>,
) -> BootDocument {
    let definition = &spec.definition;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let disk = |index| GuestDisk { at: DiskAt::Index(index), file_system: "ext4".to_owned() };
    BootDocument {
        version: BOOT_DOCUMENT_VERSION,
        hostname: orders.name.to_string(),
        env: definition.env.clone(),
        workdir: definition.workdir.clone(),
        user: definition.user.clone(),
        shell: definition.shell.clone(),
        scripts: definition
            .scripts
            .iter()
            .map(|(name, body)| (name.clone(), body.clone().into_bytes().into()))
            .collect(),
        sandboxfile,
        base: disk(0),
        writable: disk(1),
        directories: Vec::new(),
        volumes: volumes.mounts(definition, orders.boot.backend.kind()),
        mounts: Vec::new(),
        network: orders
            .addresses
            .as_ref()
            .map(|addresses| network::guest_network(addresses, orders.boot.backend.kind())),
        clock_unix_ns: u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX),
    }
}

fn open_disk(path: &Path, read_only: bool) -> Result<File, SpawnError> {
    let action = format!("open the disk {}", path.display());
    OpenOptions::new().read(true).write(!read_only).open(path).map_err(SpawnError::io(action))
}

/// Why a VMM could not be spawned.
#[derive(Debug, thiserror::Error)]
enum SpawnError {
    #[error("cannot {action}")]
    Io { action: String, source: io::Error },
    #[error("cannot start the virtual machine")]
    Vm(#[source] executor_vm::LaunchError),
}

impl SpawnError {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// An error and its causes on one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
