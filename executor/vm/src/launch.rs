//! Starts a VM's process: the launcher's side.

use crate::config::VmConfig;
use crate::devices::DeviceMap;
use crate::driver::Backend;
use crate::monitor::Monitor;
use crate::process::VmProcess;
use crate::spec::{ConsolePort, Disk, MountsLink, NetworkLink, SpecError, VmSpec};
pub use executor_jail::InternalCommand as VmmCommand;
use executor_jail::probe::ProbeTargets;
use executor_jail::{IdMapError, Inheritance, JailReport, SpawnError, Wish, spawn};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A failure to start a VM's process.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The specification is invalid.
    #[error("the VM's specification is not sound")]
    Spec {
        /// The error in it.
        #[from]
        source: SpecError,
    },
    /// The kernel or the initramfs cannot be read.
    #[error("cannot open the {what} {}", path.display())]
    Open {
        /// The kind of the file.
        what: &'static str,
        /// The expected path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The users of the guest cannot exist on this host.
    #[error("the VM's process cannot have its users")]
    Users {
        /// The failed step.
        source: IdMapError,
    },
    /// The configuration cannot be written, or the monitor's socket not be created.
    #[error("cannot hand over the VM's configuration")]
    Handover {
        /// The cause.
        source: io::Error,
    },
    /// The program does not start.
    #[error("cannot start {}", executable.display())]
    Spawn {
        /// The program.
        executable: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl From<SpawnError> for LaunchError {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Handover { source } => Self::Handover { source },
            SpawnError::Users { source } => Self::Users { source },
            SpawnError::Spawn { executable, source } => Self::Spawn { executable, source },
        }
    }
}

/// A VM that has just been started.
#[derive(Debug)]
pub struct Launched {
    /// Its process.
    pub process: VmProcess,
    /// The addresses of its devices in the guest.
    pub devices: DeviceMap,
}

/// Starts a VM.
///
/// The VM dies with the *thread* that calls this, as `PR_SET_PDEATHSIG` is about threads: call it from a thread that
/// lasts, such as the main one, never from a thread pool.
///
/// # Errors
///
/// If the specification is invalid, a file cannot be opened, or the program does not start.
pub fn launch(command: VmmCommand, backend: &Backend, spec: VmSpec) -> Result<Launched, LaunchError> {
    start(command, backend, spec, None)
}

/// As [`launch`]; with targets, the process probes its jail instead of becoming a VM.
pub(crate) fn start(
    command: VmmCommand,
    backend: &Backend,
    spec: VmSpec,
    probe: Option<ProbeTargets>,
) -> Result<Launched, LaunchError> {
    spec.check()?;
    let devices = DeviceMap::new(backend.features().disk_addressing, &spec.disks);
    let handover = |source: io::Error| LaunchError::Handover { source };
    let wish = Wish::All(backend.driver().users(spec.mounts.is_some()));
    let (report, report_end) = JailReport::pipe().map_err(handover)?;
    let (mut config, mut descriptors) = lower(backend, spec, report_end)?;
    config.probe = probe;
    let mut monitor = None;
    if backend.driver().has_monitor() {
        let (ours, theirs) = UnixStream::pair().map_err(handover)?;
        config.monitor = Some(theirs.as_raw_fd());
        descriptors.push(theirs.into());
        monitor = Some(Monitor::new(ours).map_err(handover)?);
    }
    let inheritance = Inheritance { name: "msb-vm-config", config: &config, descriptors };
    let process = VmProcess::new(spawn(command, inheritance, wish)?.process, monitor, report);
    Ok(Launched { process, devices })
}

/// Splits a specification into its description and its descriptors.
fn lower(backend: &Backend, spec: VmSpec, report: OwnedFd) -> Result<(VmConfig, Vec<OwnedFd>), LaunchError> {
    let VmSpec {
        kernel,
        initramfs,
        extra_cmdline,
        vcpus,
        memory_mib,
        disks,
        ports,
        network,
        mounts,
        console,
    } = spec;
    let mut descriptors = Vec::new();
    let mut keep = |descriptor: OwnedFd| {
        let number = descriptor.as_raw_fd();
        descriptors.push(descriptor);
        number
    };
    let config = VmConfig {
        backend: backend.clone(),
        kernel: keep(open_boot_file("guest kernel", &kernel)?),
        initramfs: keep(open_boot_file("initramfs", &initramfs)?),
        cmdline: backend.driver().kernel_cmdline(&extra_cmdline),
        vcpus,
        memory_mib,
        disks: disks
            .into_iter()
            .map(|Disk { id, file, read_only, format }| Disk { id, file: keep(file), read_only, format })
            .collect(),
        ports: ports
            .into_iter()
            .map(|ConsolePort { name, socket }| ConsolePort { name, socket: keep(socket) })
            .collect(),
        network: network.map(|NetworkLink { socket, mac }| NetworkLink { socket: keep(socket), mac }),
        mounts: mounts.map(|MountsLink { socket }| MountsLink { socket: keep(socket) }),
        console: keep(console),
        monitor: None,
        report: keep(report),
        probe: None,
    };
    Ok((config, descriptors))
}

fn open_boot_file(what: &'static str, path: &Path) -> Result<OwnedFd, LaunchError> {
    let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|error| LaunchError::Open { what, path: path.to_owned(), source: error.into() })
}
