//! Spawns a virtual machine: its disks, its console, its link, its file server, and the monitor's process.

use super::Machine;
use crate::supervisor::devices::{BASE_DISK, WRITABLE_DISK};
use crate::supervisor::logs::kernel::KernelLog;
use crate::supervisor::logs::runtime::MonitorLog;
use executor_host::disk::{self, DiskError};
use executor_jail::{Cgroup, InternalCommand, Limits};
use executor_share::{ServerSpec, Share, ShareProcess, Transport};
use executor_vm::{
    Backend, ConsolePort, Disk, DiskFormat, LaunchError, Launched, MountsLink, MountsTransport, NetworkLink,
    VmSpec, VmmCommand,
};
use protocol::latest::AGENT_PORT_NAME;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

/// Starts the monitors of virtual machines, and the file servers of their mounts.
pub trait Launcher {
    /// Starts a monitor whose own messages go to `log`.
    fn launch(
        &self,
        backend: &Backend,
        spec: VmSpec,
        log: OwnedFd,
        cgroup: Arc<Cgroup>,
    ) -> Result<Launched, LaunchError>;

    /// Starts a file server whose messages go to `log`.
    fn serve(
        &self,
        spec: ServerSpec,
        log: OwnedFd,
        cgroup: Arc<Cgroup>,
    ) -> Result<ShareProcess, executor_jail::SpawnError>;
}

/// Starts them as processes of this very program: `msb vmm` and `msb share`.
pub struct SelfLauncher;

/// The path of this very program. Not its own path: a newer msb may be there by now, or none.
const OWN_PROGRAM: &str = "/proc/self/exe";

impl SelfLauncher {
    /// Returns the command that becomes a virtual machine, with this file for its messages.
    pub fn vmm(log: OwnedFd, cgroup: Arc<Cgroup>) -> VmmCommand {
        Self::command("vmm", log, cgroup)
    }

    /// Returns the command that becomes a file server, with this file for its messages.
    pub fn share(log: OwnedFd, cgroup: Arc<Cgroup>) -> InternalCommand {
        Self::command("share", log, cgroup)
    }

    fn command(name: &str, log: OwnedFd, cgroup: Arc<Cgroup>) -> InternalCommand {
        let (executable, arguments) = (PathBuf::from(OWN_PROGRAM), vec![name.into()]);
        InternalCommand { executable, arguments, log, cgroup: Some(cgroup) }
    }
}

impl Launcher for SelfLauncher {
    fn launch(
        &self,
        backend: &Backend,
        spec: VmSpec,
        log: OwnedFd,
        cgroup: Arc<Cgroup>,
    ) -> Result<Launched, LaunchError> {
        executor_vm::launch(Self::vmm(log, cgroup), backend, spec)
    }

    fn serve(
        &self,
        spec: ServerSpec,
        log: OwnedFd,
        cgroup: Arc<Cgroup>,
    ) -> Result<ShareProcess, executor_jail::SpawnError> {
        executor_share::launch(Self::share(log, cgroup), spec)
    }
}

/// The memory of a sandbox's processes besides that of its guest, in MiB: the monitor with what it translates for the guest,
/// the file server, and some of the files in the host's cache.
const OVERHEAD_MIB: u32 = 1024;
/// The processes and threads of a sandbox on the host: a few, and one for each request to a disk that is under way.
const TASKS_MAX: u32 = 512;
/// The processors for disks, files and the network, besides those of the guest.
const PROCESSORS_FOR_DEVICES: u32 = 2;

/// Returns what the processes of a sandbox may use on the host.
pub fn host_limits(cpus: u32, memory_mib: u32) -> Limits {
    Limits {
        memory_bytes: u64::from(memory_mib.saturating_add(OVERHEAD_MIB)) << 20,
        tasks: TASKS_MAX,
        processors: cpus.saturating_add(PROCESSORS_FOR_DEVICES),
    }
}

/// A machine that has just been spawned.
pub(super) struct Spawned {
    /// Its monitor, and the addresses of its devices.
    pub vm: Launched,
    /// The file server of its mounts, if it has any that need one.
    pub server: Option<ShareProcess>,
    /// The supervisor's end of the socket on which the file server reports changes.
    pub reports: Option<AsyncFd<OwnedFd>>,
    /// The supervisor's end of the link to its agent. Only the monitor has the other end, which closes with it.
    pub stream: UnixStream,
    /// The output of its kernel.
    pub kernel_log: KernelLog,
    /// The output of the monitor.
    pub monitor_log: MonitorLog,
}

impl Machine<'_> {
    pub(super) fn spawn(
        &self,
        network: Option<NetworkLink>,
        shares: Vec<Share>,
    ) -> Result<Spawned, SpawnError> {
        let spec = self.store.spec();
        let definition = &spec.definition;
        let (ours, theirs) =
            std::os::unix::net::UnixStream::pair().map_err(SpawnError::io("make a socket pair"))?;
        ours.set_nonblocking(true).map_err(SpawnError::io("make a socket pair"))?;
        let stream = UnixStream::from_std(ours).map_err(SpawnError::io("make a socket pair"))?;
        let (console, console_end) = io::pipe().map_err(SpawnError::io("make a pipe"))?;
        let kernel_log =
            KernelLog::keep(console.into(), &self.folder.logs(), self.limits.clone(), self.store.events())
                .map_err(SpawnError::io("open kernel.log"))?;
        let (monitor, log) = io::pipe().map_err(SpawnError::io("make a pipe"))?;
        let monitor_log = MonitorLog::keep(monitor.into()).map_err(SpawnError::io("read from a pipe"))?;
        let base = executor_image::rootfs_path(&self.home.images(), &spec.image.digest);
        let base = File::open(&base).map_err(SpawnError::io(format!("open the disk {}", base.display())))?;
        // The machine holds the lock as long as it lives, even without this supervisor.
        let writable = disk::take(&self.folder.disk()).map_err(SpawnError::Disk)?;
        let mut disks = vec![
            Disk { id: BASE_DISK.to_owned(), file: base.into(), read_only: true, format: DiskFormat::Raw },
            Disk {
                id: WRITABLE_DISK.to_owned(),
                file: writable.into(),
                read_only: false,
                format: DiskFormat::Raw,
            },
        ];
        disks.extend(self.volumes.disks().map_err(SpawnError::io("hand over the volumes"))?);
        let log = OwnedFd::from(log);
        let files = self.volumes.shares().map_err(SpawnError::io("hand over the volumes"))?;
        let shares = shares.into_iter().chain(files).collect();
        let cgroup = Arc::new(Cgroup::create(&host_limits(definition.cpus, definition.memory_mib)));
        let Served { server, mounts, reports } = self.serve(shares, &log, cgroup.clone())?;
        let vm = VmSpec {
            kernel: self.launch.boot.kernel.clone(),
            initramfs: self.launch.boot.initramfs.clone(),
            extra_cmdline: Vec::new(),
            vcpus: u8::try_from(definition.cpus).unwrap_or(u8::MAX),
            memory_mib: definition.memory_mib,
            disks,
            ports: vec![ConsolePort { name: AGENT_PORT_NAME.to_owned(), socket: theirs.into() }],
            network,
            mounts,
            console: console_end.into(),
        };
        let vm = self.launcher.launch(&self.launch.boot.backend, vm, log, cgroup).map_err(SpawnError::Vm)?;
        Ok(Spawned { vm, server, reports, stream, kernel_log, monitor_log })
    }

    /// Starts the file server, if there is anything to serve.
    fn serve(&self, shares: Vec<Share>, log: &OwnedFd, cgroup: Arc<Cgroup>) -> Result<Served, SpawnError> {
        if shares.is_empty() {
            return Ok(Served::default());
        }
        let (ours, theirs) =
            std::os::unix::net::UnixStream::pair().map_err(SpawnError::io("make a socket pair"))?;
        let (reports, reporter) = packet_pair().map_err(SpawnError::io("make a socket pair"))?;
        let transport = match self.launch.boot.backend.features().mounts {
            MountsTransport::VhostUser => Transport::VhostUser,
            MountsTransport::Fuse => Transport::Fuse,
        };
        let spec = ServerSpec {
            transport,
            socket: ours.into(),
            reports: reporter,
            shares,
            limits: Default::default(),
        };
        let log = log.try_clone().map_err(SpawnError::io("duplicate a pipe"))?;
        let server = self.launcher.serve(spec, log, cgroup).map_err(SpawnError::Server)?;
        let reports = watched(reports).map_err(SpawnError::io("watch a socket"))?;
        let mounts = MountsLink { socket: theirs.into() };
        Ok(Served { server: Some(server), mounts: Some(mounts), reports: Some(reports) })
    }
}

/// A file server that has just been started, if any.
#[derive(Default)]
struct Served {
    server: Option<ShareProcess>,
    /// The machine's end of their link.
    mounts: Option<MountsLink>,
    /// The supervisor's end of the socket for reports.
    reports: Option<AsyncFd<OwnedFd>>,
}

/// Returns the ends of a socket that keeps the borders of packets.
fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Watches a descriptor.
#[allow(unsafe_code, reason = "tokio wants a promise about the descriptor")]
pub(super) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is that of the same file until the `AsyncFd` that owns it is dropped.
    Ok(unsafe { AsyncFd::register(descriptor)? })
}

/// A failure to spawn a monitor.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error("cannot {action}")]
    Io { action: String, source: io::Error },
    #[error(transparent)]
    Disk(DiskError),
    #[error("cannot start the file server of the mounts")]
    Server(#[source] executor_jail::SpawnError),
    #[error("cannot start the virtual machine")]
    Vm(#[source] executor_vm::LaunchError),
}

impl SpawnError {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
