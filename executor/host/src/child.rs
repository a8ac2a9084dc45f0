//! Processes of msb's own hidden commands: each gets its configuration and its descriptors, and nothing else.
#![allow(unsafe_code, reason = "what must happen between fork and exec has no safe interface")]

use rustix::fs::MemfdFlags;
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpid, getppid, getrlimit, pidfd_open, setrlimit,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The first descriptor after stdin, stdout and stderr.
const FIRST_DESCRIPTOR: RawFd = 3;
/// The last descriptor that is marked on kernels before 5.11, which cannot mark a range.
const DESCRIPTORS_MARKED_MAX: RawFd = 4096;
/// The largest configuration in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// A hidden command, which reads its configuration from the descriptor that its last argument names.
#[derive(Debug)]
pub struct InternalCommand {
    /// The program, by absolute path.
    pub executable: PathBuf,
    /// Its arguments before the number of the configuration's descriptor.
    pub arguments: Vec<OsString>,
    /// Its stderr, for its own errors. Never contains output of the guest.
    pub log: OwnedFd,
}

/// The data that a child inherits.
#[derive(Debug)]
pub struct Inheritance<'a, C> {
    /// The name of the configuration's file, which `/proc` shows.
    pub name: &'a str,
    /// The configuration, which refers to descriptors by their numbers.
    pub config: &'a C,
    /// These descriptors. The launcher keeps no copy.
    pub descriptors: Vec<OwnedFd>,
}

/// A failure to start a child.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The configuration cannot be written.
    #[error("cannot hand over the configuration")]
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

/// Starts a hidden command: without environment, new privileges and core dumps, in `/`, in a process group of its own.
///
/// The child dies with the *thread* that calls this, as `PR_SET_PDEATHSIG` is about threads: call it from a thread that
/// lasts, such as the main one, never from a thread pool.
///
/// # Errors
///
/// If the configuration cannot be written, or the program does not start.
pub fn spawn<C: Serialize>(
    command: InternalCommand,
    inheritance: Inheritance<'_, C>,
) -> Result<ChildProcess, SpawnError> {
    let Inheritance { name, config, mut descriptors } = inheritance;
    let config = write_config(name, config).map_err(|source| SpawnError::Handover { source })?;
    let InternalCommand { executable, arguments, log } = command;
    let mut program = Command::new(&executable);
    program.args(arguments).arg(config.as_raw_fd().to_string());
    descriptors.push(config);
    // The child gets neither the launcher's environment, which may contain secrets, nor its folder.
    program.env_clear().current_dir("/").process_group(0);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let kept: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let launcher = getpid();
    // SAFETY: between fork and exec only system calls are made, nothing is allocated and no lock is taken;
    // the descriptors in `kept` are open, as `descriptors` outlives the spawn below.
    unsafe { program.pre_exec(move || prepare_child(launcher, &kept)) };
    let spawned = program.spawn().and_then(ChildProcess::new);
    drop(descriptors);
    spawned.map_err(|source| SpawnError::Spawn { executable, source })
}

/// Writes the configuration to an anonymous file in memory.
fn write_config(name: &str, config: &impl Serialize) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
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
    // Shared folders need a descriptor per inode.
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

/// Reads the configuration in the descriptor that the last argument names: the first step of a hidden command.
///
/// # Errors
///
/// If the descriptor is not open or contains no configuration.
pub fn read_config<C: DeserializeOwned>(descriptor: RawFd) -> io::Result<C> {
    let file = File::from(adopt(descriptor)?);
    let mut text = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Takes ownership of an inherited descriptor. A hidden command calls it once for each number of its configuration, before
/// it opens anything.
///
/// # Errors
///
/// If no such descriptor is open, or it is a standard stream.
pub fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < FIRST_DESCRIPTOR {
        return Err(Errno::BADF.into());
    }
    // SAFETY: used at once, for a call that answers EBADF when no such descriptor is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, the launcher left it to this process alone, and nothing else in it knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Ties this process to its launcher again: an exec keeps the death signal, but a fork in between and new credentials do
/// not. Returns false if the launcher has already ended.
///
/// # Errors
///
/// If the kernel refuses.
pub fn tie_to_launcher(launcher_pid: i32) -> io::Result<bool> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(getppid().map(|parent| parent.as_raw_nonzero().get()) == Some(launcher_pid))
}

/// A running child. Dropping it kills the child.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    pidfd: OwnedFd,
}

impl ChildProcess {
    /// Wraps a child that has just been spawned and not been waited for.
    fn new(mut child: Child) -> io::Result<Self> {
        // The pid is not reused before the child is waited for.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let opened = pid.ok_or(io::Error::from(io::ErrorKind::InvalidInput));
        match opened.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
            Ok(pidfd) => Ok(Self { child, pidfd }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Returns its pid, valid until [`ChildProcess::wait`] or [`ChildProcess::try_wait`] has returned its end.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Returns a pidfd, which becomes readable when the process ends. For `AsyncFd`, clone it with `try_clone_to_owned`.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Returns its end; `None` while it runs.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Blocks until it ends.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Sends SIGKILL. The process has ended when [`ChildProcess::wait`] returns.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Both are no-ops after the process has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
