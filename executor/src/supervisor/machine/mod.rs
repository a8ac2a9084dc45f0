//! One run of one virtual machine: spawn, boot, main process, shutdown.

mod boot;
mod changes;
mod disk_space;
pub mod effective_spec;
mod live;
mod pausing;
mod server;
mod spawn;
#[cfg(test)]
mod tests;
mod watchdog;

use crate::launch::LaunchSpec;
use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::agent_link::link::{LINK_EVENTS, Link};
use crate::supervisor::agent_link::relay::ReadyGuest;
use crate::supervisor::devices::shares::Shares;
use crate::supervisor::devices::volumes::Volumes;
use crate::supervisor::interception::Interception;
use crate::supervisor::logs::kernel::KernelLog;
use crate::supervisor::metrics::{Metrics, Processes};
use crate::supervisor::network::{Network, NetworkError};
use crate::supervisor::state_store::StateStore;
use crate::supervisor::{DRAIN_TIMEOUT, Describe};
use executor_client::guest_text::GuestText;
use executor_host::home::{Home, SandboxFolder};
use executor_host::process::ProcessIdentity;
use executor_jail::{JailReport, Report};
use executor_log::Limits;
use executor_share::ShareProcess;
use executor_vm::{DeviceMap, Launched, NetworkLink, VmExit, VmProcess};
use schemas::snapshot::{Exit, FailureCause};
pub use spawn::{Launcher, SelfLauncher, host_limits};
use spawn::{Spawned, watched};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

/// The timeout of a guest's boot. Emulated, on a busy host, it takes seconds.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// The time for a guest's answer after its processes' timeout, and for the end of a monitor whose link is lost.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);

/// Parts of the reasons of panics that mean exhausted memory.
const PANICS_OF_MEMORY: [&str; 2] = ["ut of memory", "deadlocked on memory"];

/// Everything that a run of a machine needs.
pub struct Machine<'a> {
    /// The state folder.
    pub home: &'a Home,
    /// The launch spec.
    pub launch: &'a LaunchSpec,
    /// Starts the monitor.
    pub launcher: &'a dyn Launcher,
    /// Writes the declaration that the sandbox is shown of itself.
    pub describe: Describe,
    /// The folder of its disk and logs.
    pub folder: &'a SandboxFolder,
    /// Its volumes.
    pub volumes: &'a Volumes,
    /// The shared state.
    pub store: &'a Rc<StateStore>,
    /// The log of output.
    pub exec_log: &'a Rc<RefCell<ExecLogger>>,
    /// Publishes the guest while it is up.
    pub guest: &'a watch::Sender<Option<ReadyGuest>>,
    /// The proxy that intercepts its TLS, if it has one.
    pub interception: Option<&'a Rc<Interception>>,
    /// Its metrics.
    pub metrics: &'a Metrics,
    /// The limits of logs.
    pub limits: &'a Limits,
}

/// The cause of the end of a run.
pub enum ExitCause {
    /// It was stopped on request.
    Stopped,
    /// It ended by itself.
    Exited(Exit),
}

/// The outcome of a run, as far as the guest has reported it.
enum LifeOutcome {
    /// It has ended.
    Ended(ExitCause),
    /// The link was lost before the guest reported an end; contains the reason.
    Lost(String),
}

impl From<ExitCause> for LifeOutcome {
    fn from(ended: ExitCause) -> Self {
        Self::Ended(ended)
    }
}

/// A boot in progress.
struct Boot<'a> {
    /// The time at which the monitor was started.
    spawned: Instant,
    /// The output of the guest's kernel.
    kernel_log: &'a KernelLog,
    /// The addresses of the machine's devices.
    devices: &'a DeviceMap,
    /// What the file server serves.
    shares: &'a Shares,
    /// The socket on which the file server reports changes.
    reports: Option<&'a AsyncFd<OwnedFd>>,
    /// The monitor's report of what is in force round it, until it has been read.
    jail: &'a Cell<Option<JailReport>>,
}

/// Returns a failure with this message.
fn failure(message: impl Into<String>) -> ExitCause {
    failure_by(FailureCause::Other, message)
}

/// Returns a failure of this kind.
fn failure_by(cause: FailureCause, message: impl Into<String>) -> ExitCause {
    ExitCause::Exited(Exit::Failure { cause, message: message.into() })
}

/// Returns a failure with the message of an error and its causes.
fn failure_of(error: &dyn Error) -> ExitCause {
    failure(with_causes(error))
}

impl Machine<'_> {
    /// Runs the machine to its end. No VMM is left afterwards.
    pub async fn run(&self) -> ExitCause {
        let (network, link) = match self.network() {
            Ok(started) => started,
            Err(error) => return failure_of(&error),
        };
        let ended = self.run_with(network.as_ref(), link).await;
        self.store.set_network(None);
        if let Some(network) = network {
            network.end().await;
        }
        ended
    }

    /// Starts the network, if the sandbox has one; returns it with the VM's end of the link.
    fn network(&self) -> Result<(Option<Rc<Network>>, Option<NetworkLink>), NetworkError> {
        let Some(addresses) = self.launch.addresses else { return Ok((None, None)) };
        let (network, link) = Network::start(self, addresses)?;
        Ok((Some(network), Some(link)))
    }

    async fn run_with(&self, network: Option<&Rc<Network>>, link: Option<NetworkLink>) -> ExitCause {
        self.store.set_network(network.cloned());
        let shares = Shares::new(self.home, self.launch, &self.store.spec().definition);
        let opened = tokio::select! {
            opened = shares.open() => opened,
            _ = self.store.stop_requested() => return ExitCause::Stopped,
            () = self.store.kill_requested() => return ExitCause::Stopped,
        };
        let spawned = match opened {
            Ok(opened) => self.spawn(link, opened),
            Err(error) => return failure_of(&error),
        };
        let Spawned { vm, mut server, reports, stream, mut kernel_log, mut monitor_log } = match spawned {
            Ok(spawned) => spawned,
            Err(error) => return failure_of(&error),
        };
        let Launched { process: mut vmm, devices } = vm;
        let spawned = Instant::now();
        let identity = ProcessIdentity::of(vmm.pid());
        let monitor = vmm.take_monitor();
        let jail = Cell::new(vmm.take_report());
        let processes = Processes { vmm: vmm.pid(), server: server.as_ref().map(ShareProcess::pid) };
        self.store.change(|state| {
            (state.vmm, state.boot_ms, state.host_disk_full) = (identity, None, None);
            state.jail = None;
            state.oom_killed = false;
        });
        let lived = {
            let boot = Boot {
                spawned,
                kernel_log: &kernel_log,
                devices: &devices,
                shares: &shares,
                reports: reports.as_ref(),
                jail: &jail,
            };
            let mut live = std::pin::pin!(self.live(stream, &boot));
            tokio::select! {
                lived = &mut live => lived,
                // Its end of the link has closed with it, so the remaining messages of the guest end the run. The timeout
                // is for a link that another process still holds.
                _ = wait_for_exit(vmm.pidfd()) => {
                    let held = || LifeOutcome::Lost("the link outlives the virtual machine".to_owned());
                    tokio::time::timeout(DRAIN_TIMEOUT, &mut live).await.unwrap_or_else(|_| held())
                }
                why = server::failed(server.as_mut()) => failure(why).into(),
                why = failed(network) => failure(format!("the network of the sandbox failed: {why}")).into(),
                () = self.store.kill_requested() => ExitCause::Stopped.into(),
                never = self.watch_machine(&vmm, monitor) => match never {},
                never = self.metrics.measure(self.store, processes, network.map(|network| &**network)) => match never {},
            }
        };
        // What follows takes time, and clients that lose the guest must not find that the sandbox is up.
        self.store.change(|state| (state.main_ended, state.paused, state.silent) = (true, false, false));
        self.store.request_pause(false);
        self.guest.send_replace(None);
        // If the guest has not reported its end, the monitor's exit explains it.
        let exited = match lived {
            LifeOutcome::Lost(_) => {
                tokio::time::timeout(SHUTDOWN_MARGIN, wait_for_exit(vmm.pidfd())).await.ok()
            }
            LifeOutcome::Ended(_) => None,
        };
        // A machine may end because its file server has failed; the server does not fail because its machine ends.
        let server_failure = server.as_mut().and_then(server::failure);
        let _ = vmm.kill();
        drop(server);
        // The output of monitor and kernel is in the logs before the end is reported.
        monitor_log.drain().await;
        kernel_log.drain().await;
        if kernel_log.has_oom_kill() {
            self.store.change(|state| state.oom_killed = true);
        }
        match (lived, exited) {
            (LifeOutcome::Ended(ended), _) => ended,
            (LifeOutcome::Lost(_), _) if server_failure.is_some() => {
                failure(server_failure.unwrap_or_default())
            }
            (LifeOutcome::Lost(_), Some(Ok(()))) => explain_exit(&mut vmm, &kernel_log),
            (LifeOutcome::Lost(_), Some(Err(error))) => {
                failure(format!("cannot watch the virtual machine: {error}"))
            }
            (LifeOutcome::Lost(why), None) => failure(why),
        }
    }

    /// Notes what is in force round the monitor.
    fn note_jail(&self, report: Option<JailReport>) {
        let Some(Report { confinement: jail, .. }) = report.and_then(JailReport::read) else {
            return tracing::warn!("the virtual machine's process has not reported its jail");
        };
        tracing::info!("jail of the virtual machine's process: {}", jail.in_force().join(", "));
        for gap in jail.gaps() {
            tracing::warn!("not in force round the virtual machine's process: {gap}");
        }
        self.store.change(|state| state.jail = Some(jail));
    }

    /// Boots the guest and runs its main process. Also ends when the link is lost, after all messages have been read.
    async fn live(&self, stream: UnixStream, boot: &Boot<'_>) -> LifeOutcome {
        let (events, mut events_in) = mpsc::channel(LINK_EVENTS);
        let link = Link::start(stream, self.exec_log.clone(), events);
        let lived = match self.boot(&link, &mut events_in, boot).await {
            Ok(features) => {
                self.note_jail(boot.jail.take());
                tokio::select! {
                    lived = self.main(&link, &mut events_in) => lived,
                    never = changes::forward(&link, &features, boot.reports, self.store) => match never {},
                }
            }
            Err(lived) => lived,
        };
        if let LifeOutcome::Lost(why) = &lived {
            tracing::warn!("{why}");
        }
        lived
    }
}

/// Waits until the network fails; returns the reason.
async fn failed(network: Option<&Rc<Network>>) -> String {
    match network {
        Some(network) => network.failed().await,
        None => std::future::pending().await,
    }
}

/// Explains the end of a machine whose guest has not reported one.
fn explain_exit(vmm: &mut VmProcess, kernel_log: &KernelLog) -> ExitCause {
    let panic = kernel_log.panic();
    let (cause, how) = match (vmm.wait(), panic) {
        (Ok(VmExit::Guest), Some(reason)) => {
            let is_memory = PANICS_OF_MEMORY.iter().any(|text| reason.contains(text));
            let cause = if is_memory { FailureCause::GuestOutOfMemory } else { FailureCause::GuestPanic };
            (cause, format!("the guest's kernel panicked: {}", GuestText::message(reason)))
        }
        (Ok(VmExit::Guest), None) => {
            (FailureCause::Other, "the guest rebooted, or its kernel panicked".to_owned())
        }
        (Ok(VmExit::Failed { code }), _) => {
            (FailureCause::VmCrash, format!("its monitor exited with code {code}, runtime.log says more"))
        }
        (Ok(VmExit::Signalled { signal }), _) => {
            (FailureCause::VmCrash, format!("its monitor was ended by signal {signal}"))
        }
        (Err(error), _) => (FailureCause::Other, error.to_string()),
    };
    let lines = kernel_log.tail();
    let message = if lines.is_empty() {
        format!("the virtual machine ended unexpectedly ({how})")
    } else {
        format!(
            "the virtual machine ended unexpectedly ({how}); its kernel last said:\n  {}",
            lines.join("\n  ")
        )
    };
    failure_by(cause, message)
}

async fn wait_for_exit(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let _ = watched(pidfd.try_clone_to_owned()?)?.readable().await?;
    Ok(())
}

/// Formats an error with its causes on one line.
pub fn with_causes(error: &dyn Error) -> String {
    let errors = std::iter::successors(Some(error), |&error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
