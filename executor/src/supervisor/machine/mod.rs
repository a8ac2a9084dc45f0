//! One life of one virtual machine: spawn, boot document, ready, main process, shutdown.

mod boot;
mod disk_space;
pub mod effective_spec;
mod live;
mod spawn;
#[cfg(test)]
mod tests;

use crate::launch::LaunchSpec;
use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::agent_link::link::{LINK_EVENTS, Link};
use crate::supervisor::agent_link::relay::ReadyGuest;
use crate::supervisor::devices::volumes::Volumes;
use crate::supervisor::logs::kernel::KernelLog;
use crate::supervisor::network::{Network, NetworkError};
use crate::supervisor::state_store::StateStore;
use crate::supervisor::{DRAIN_PATIENCE, Describe};
use executor_host::home::{Home, SandboxFolder};
use executor_host::process::ProcessIdentity;
use executor_log::Limits;
use executor_vm::{DeviceMap, Launched, NetworkLink, VmExit, VmProcess};
use schemas::snapshot::Exit;
use spawn::Spawned;
pub use spawn::{Launcher, SelfLauncher};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

/// How long a guest may take to come up. Emulated, on a busy host, it takes seconds.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a guest has to answer, on top of the time that its processes have; and a monitor to end, whose link is lost.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);

/// What one life of a machine needs.
pub struct Machine<'a> {
    /// Where everything is.
    pub home: &'a Home,
    /// How to boot.
    pub launch: &'a LaunchSpec,
    /// Starts the monitor.
    pub launcher: &'a dyn Launcher,
    /// Writes what the sandbox is shown of itself.
    pub describe: Describe,
    /// Disk and logs.
    pub folder: &'a SandboxFolder,
    /// What outlives the sandbox.
    pub volumes: &'a Volumes,
    /// Told of every step.
    pub store: &'a Rc<StateStore>,
    /// Told of every output.
    pub exec_log: &'a Rc<RefCell<ExecLogger>>,
    /// Told when the guest is up.
    pub guest: &'a watch::Sender<Option<ReadyGuest>>,
    /// How much is kept of logs.
    pub limits: &'a Limits,
}

/// How a life ended.
pub enum ExitCause {
    /// Somebody wanted it to.
    Stopped,
    /// By itself.
    Exited(Exit),
}

/// How a life went, as far as the guest told.
enum LifeOutcome {
    /// To its end.
    ExitCause(ExitCause),
    /// Until the link was lost, and nothing that it had said before tells how it ended: why that is.
    Lost(String),
}

impl From<ExitCause> for LifeOutcome {
    fn from(ended: ExitCause) -> Self {
        Self::ExitCause(ended)
    }
}

/// A boot in progress.
struct Boot<'a> {
    /// When the monitor was started.
    spawned: Instant,
    /// The output of the guest's kernel.
    kernel_log: &'a KernelLog,
    /// The addresses of the machine's devices.
    devices: &'a DeviceMap,
}

/// A failure in a person's words.
fn failure(message: impl Into<String>) -> ExitCause {
    ExitCause::Exited(Exit::Failure { message: message.into() })
}

impl Machine<'_> {
    /// Lives one life. Whatever happens, no VMM is left afterwards.
    pub async fn run(&self) -> ExitCause {
        let (network, link) = match self.network() {
            Ok(started) => started,
            Err(error) => return failure(with_causes(&error)),
        };
        let ended = self.run_with(network.as_ref(), link).await;
        self.store.set_network(None);
        if let Some(network) = network {
            network.end().await;
        }
        ended
    }

    /// The network, and the end of it that is the VM's.
    fn network(&self) -> Result<(Option<Rc<Network>>, Option<NetworkLink>), NetworkError> {
        let Some(addresses) = self.launch.addresses else { return Ok((None, None)) };
        let (network, link) = Network::start(self.home, addresses, self.launch, self.store, self.exec_log)?;
        Ok((Some(network), Some(link)))
    }

    async fn run_with(&self, network: Option<&Rc<Network>>, link: Option<NetworkLink>) -> ExitCause {
        self.store.set_network(network.cloned());
        let Spawned { vm, stream, mut kernel_log, mut monitor_log } = match self.spawn(link) {
            Ok(spawned) => spawned,
            Err(error) => return failure(with_causes(&error)),
        };
        let Launched { process: mut vmm, devices } = vm;
        let spawned = Instant::now();
        let identity = ProcessIdentity::of(vmm.pid());
        let monitor = vmm.take_monitor();
        self.store.change(|state| {
            (state.vmm, state.boot_ms, state.host_disk_full) = (identity, None, None);
        });
        let lived = {
            let boot = Boot { spawned, kernel_log: &kernel_log, devices: &devices };
            let mut live = std::pin::pin!(self.live(stream, &boot));
            tokio::select! {
                lived = &mut live => lived,
                // Its end of the link has closed with it: what the guest said last is read, and ends the life. The
                // time is a bound only for a link that something else still holds.
                _ = wait_for_exit(&vmm) => {
                    let held = || LifeOutcome::Lost("the link outlives the virtual machine".to_owned());
                    tokio::time::timeout(DRAIN_PATIENCE, &mut live).await.unwrap_or_else(|_| held())
                }
                why = failed(network) => failure(format!("the network of the sandbox failed: {why}")).into(),
                () = self.store.kill_requested() => ExitCause::Stopped.into(),
                never = self.watch_host_disk(monitor) => match never {},
            }
        };
        self.guest.send_replace(None);
        // Where nothing else tells how it ended, the monitor's own end does.
        let exited = match lived {
            LifeOutcome::Lost(_) => tokio::time::timeout(SHUTDOWN_MARGIN, wait_for_exit(&vmm)).await.ok(),
            LifeOutcome::ExitCause(_) => None,
        };
        let _ = vmm.kill();
        // Its last words, and its kernel's, are in the logs before anything is said about its end.
        monitor_log.drain().await;
        kernel_log.drain().await;
        match (lived, exited) {
            (LifeOutcome::ExitCause(ended), _) => ended,
            (LifeOutcome::Lost(_), Some(Ok(()))) => failure(explain_exit(&mut vmm, &kernel_log)),
            (LifeOutcome::Lost(_), Some(Err(error))) => {
                failure(format!("cannot watch the virtual machine: {error}"))
            }
            (LifeOutcome::Lost(why), None) => failure(why),
        }
    }

    /// From the boot document to the end. Ends also when the link is lost, once all is heard that was said before.
    async fn live(&self, stream: UnixStream, boot: &Boot<'_>) -> LifeOutcome {
        let (events, mut events_in) = mpsc::channel(LINK_EVENTS);
        let link = Link::start(stream, self.exec_log.clone(), events);
        let lived = match self.boot(&link, &mut events_in, boot).await {
            Ok(()) => self.main(&link, &mut events_in).await,
            Err(lived) => lived,
        };
        if let LifeOutcome::Lost(why) = &lived {
            tracing::warn!("{why}");
        }
        lived
    }
}

/// Why the network has failed, once it has.
async fn failed(network: Option<&Rc<Network>>) -> String {
    match network {
        Some(network) => network.failed().await,
        None => std::future::pending().await,
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

#[allow(unsafe_code, reason = "tokio wants a promise about the descriptor that no type can make")]
async fn wait_for_exit(vmm: &VmProcess) -> io::Result<()> {
    let pidfd = vmm.pidfd().try_clone_to_owned()?;
    // SAFETY: the descriptor is ours alone and moves in; it stays open until it is dropped in there.
    let pidfd = unsafe { AsyncFd::register(pidfd)? };
    let _ = pidfd.readable().await?;
    Ok(())
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
