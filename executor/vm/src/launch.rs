//! Starts a VM's process: the launcher's side.
#![allow(unsafe_code, reason = "what must happen between fork and exec has no safe interface")]

use crate::config::VmConfig;
use crate::devices::DeviceMap;
use crate::driver::Backend;
use crate::monitor::Monitor;
use crate::process::VmProcess;
use crate::spec::{ConsolePort, Disk, NetworkLink, SpecError, VmSpec};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, getppid, getrlimit, setrlimit};
use std::ffi::OsString;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first descriptor after stdin, stdout and stderr.
const FIRST_DESCRIPTOR: RawFd = 3;
/// The last descriptor that is marked on kernels before 5.11, which cannot mark a range.
const DESCRIPTORS_MARKED_MAX: RawFd = 4096;

/// The program that becomes the VM: it calls [`crate::vmm::run_vmm`] with its last argument.
#[derive(Debug)]
pub struct VmmCommand {
    /// The program, by absolute path.
    pub executable: PathBuf,
    /// Its arguments before the number of the configuration's descriptor.
    pub arguments: Vec<OsString>,
    /// Its stderr, for its own errors. Never contains output of the guest.
    pub log: OwnedFd,
}

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
    spec.check()?;
    let devices = DeviceMap::new(backend.features().disk_addressing, &spec.disks);
    let handover = |source: io::Error| LaunchError::Handover { source };
    let (mut config, mut descriptors) = lower(backend, spec)?;
    let mut monitor = None;
    if backend.driver().has_monitor() {
        let (ours, theirs) = UnixStream::pair().map_err(handover)?;
        config.monitor = Some(theirs.as_raw_fd());
        descriptors.push(theirs.into());
        monitor = Some(Monitor::new(ours).map_err(handover)?);
    }
    let config_file = write_config(&config).map_err(handover)?;
    let VmmCommand { executable, arguments, log } = command;
    let mut program = Command::new(&executable);
    program.args(arguments).arg(config_file.as_raw_fd().to_string());
    descriptors.push(config_file);
    // The VM gets neither the launcher's environment, which may contain secrets, nor its folder.
    program.env_clear().current_dir("/").process_group(0);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let kept: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let launcher = getpid();
    // SAFETY: between fork and exec only system calls are made, nothing is allocated and no lock is taken;
    // the descriptors in `kept` are open, as `descriptors` outlives the spawn below.
    unsafe { program.pre_exec(move || prepare_child(launcher, &kept)) };
    let spawned = program.spawn().and_then(|child| VmProcess::new(child, monitor));
    drop(descriptors);
    let process = spawned.map_err(|source| LaunchError::Spawn { executable, source })?;
    Ok(Launched { process, devices })
}

/// Splits a specification into its description and its descriptors.
fn lower(backend: &Backend, spec: VmSpec) -> Result<(VmConfig, Vec<OwnedFd>), LaunchError> {
    let VmSpec { kernel, initramfs, extra_cmdline, vcpus, memory_mib, disks, ports, network, console } = spec;
    let mut descriptors = Vec::new();
    let mut keep = |descriptor: OwnedFd| {
        let number = descriptor.as_raw_fd();
        descriptors.push(descriptor);
        number
    };
    let config = VmConfig {
        backend: backend.clone(),
        parent_pid: getpid().as_raw_nonzero().get(),
        kernel: keep(open_boot_file("guest kernel", &kernel)?),
        initramfs: keep(open_boot_file("initramfs", &initramfs)?),
        cmdline: backend.driver().kernel_cmdline(vcpus, &extra_cmdline),
        vcpus,
        memory_mib,
        disks: disks
            .into_iter()
            .map(|Disk { id, file, read_only }| Disk { id, file: keep(file), read_only })
            .collect(),
        ports: ports
            .into_iter()
            .map(|ConsolePort { name, socket }| ConsolePort { name, socket: keep(socket) })
            .collect(),
        network: network.map(|NetworkLink { socket, mac }| NetworkLink { socket: keep(socket), mac }),
        console: keep(console),
        monitor: None,
    };
    Ok((config, descriptors))
}

fn open_boot_file(what: &'static str, path: &Path) -> Result<OwnedFd, LaunchError> {
    let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|error| LaunchError::Open { what, path: path.to_owned(), source: error.into() })
}

/// Writes the configuration to an anonymous file in memory.
fn write_config(config: &VmConfig) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("msb-vm-config", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&serde_json::to_vec(config)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// Prepares the child before its exec.
fn prepare_child(launcher: Pid, kept: &[RawFd]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The launcher may have died before that call, which then has no effect.
    if getppid() != Some(launcher) {
        return Err(Errno::SRCH.into());
    }
    rustix::thread::set_no_new_privs(true)?;
    // A core dump would contain the guest's memory.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // libkrun's virtio-fs needs a descriptor per inode.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    Ok(keep_descriptors(kept)?)
}

/// Leaves only these descriptors besides the first three to the program that is executed next. The caller holds them
/// open.
///
/// Only makes system calls, so it may be called between fork and exec.
///
/// # Errors
///
/// If one of them is not open.
pub fn keep_descriptors(kept: &[RawFd]) -> Result<(), Errno> {
    close_on_exec_from(FIRST_DESCRIPTOR);
    for &descriptor in kept {
        // SAFETY: used at once, for a call that answers EBADF when no such descriptor is open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    Ok(())
}

/// Marks every descriptor from `first` on as close-on-exec. msb opens its own ones so; this is for inherited ones.
fn close_on_exec_from(first: RawFd) {
    // SAFETY: marks descriptors, closes none, and touches no memory.
    let marked = unsafe {
        libc::close_range(first.cast_unsigned(), u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed())
    };
    if marked == 0 {
        return;
    }
    for number in first..DESCRIPTORS_MARKED_MAX {
        // SAFETY: used at once, for a call that answers EBADF when no such descriptor is open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
}
