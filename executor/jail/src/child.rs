//! Processes of msb's own hidden commands: each gets its configuration and its descriptors, and nothing else.
#![allow(unsafe_code, reason = "what must happen between fork and exec has no safe interface")]

use crate::cgroup::Cgroup;
use crate::clone;
use crate::confinement::Layer;
use crate::id_map::{IdMap, IdMapError};
use crate::namespaces::{Namespace, Obtained, Wish, is_refusal};
use crate::process::ChildProcess;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{PidfdFlags, Resource, Rlimit, Signal, getpid, getrlimit, pidfd_open, setrlimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// The control group with its limits, if it is to have any.
    pub cgroup: Option<Arc<Cgroup>>,
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
    /// The users of the child cannot be mapped.
    #[error("cannot give the process its users")]
    Users {
        /// The failed step.
        source: IdMapError,
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

/// Starts a hidden command: without environment, new privileges and core dumps, in `/`, in a session and, where the host
/// allows, in namespaces of its own. It calls [`enter`] first.
///
/// The child dies with the *thread* that calls this, as `PR_SET_PDEATHSIG` is about threads: call it from a thread that
/// lasts, such as the main one, never from a thread pool.
///
/// # Errors
///
/// If the configuration cannot be written, the users of the child cannot be mapped, or the program does not start.
pub fn spawn<C: Serialize>(
    command: InternalCommand,
    inheritance: Inheritance<'_, C>,
    wish: Wish,
) -> Result<Spawned, SpawnError> {
    let Inheritance { name, config, mut descriptors } = inheritance;
    let InternalCommand { executable, arguments, log, cgroup } = command;
    let handover = |source: io::Error| SpawnError::Handover { source };
    let launcher = pidfd_open(getpid(), PidfdFlags::empty()).map_err(|error| handover(error.into()))?;
    let launcher_number = launcher.as_raw_fd();
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map_err(|error| handover(error.into()))?;
    let null = open_null().map_err(handover)?;
    let mut words = vec![executable.clone().into_os_string()];
    words.extend(arguments);
    words.push(file.as_raw_fd().to_string().into());
    let program = Program::new(&words).map_err(handover)?;
    let mut file = File::from(file);
    let mut kept: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    kept.extend([file.as_raw_fd(), launcher_number]);
    let child = Child { program: &program, kept: &kept, null: null.as_fd(), log: log.as_fd() };
    // SAFETY: only system calls are made, nothing is allocated and no lock is taken.
    let started = start_in(wish, &mut |kinds| unsafe { start_waiting(kinds, &|| child.become_program()) });
    let (mut waiting, namespaces) = started.map_err(|error| error.with(executable.clone()))?;
    let limits = match cgroup {
        Some(cgroup) => {
            let limits = cgroup.add(waiting.process.pid());
            waiting.process.keep_until_its_end(cgroup);
            limits
        }
        None => Layer::Missing { why: "it is to have none".to_owned() },
    };
    // The child reads it only after it has been released.
    let handed = HandedRef { launcher: launcher_number, namespaces: &namespaces, limits, config };
    let written = serde_json::to_vec(&handed)
        .map_err(io::Error::from)
        .and_then(|text| file.write_all(&text))
        .and_then(|()| file.rewind());
    written.map_err(handover)?;
    let released = waiting.release();
    descriptors.clear();
    released.map_err(|source| SpawnError::Spawn { executable, source })?;
    Ok(Spawned { process: waiting.process, namespaces })
}

/// A child that has just been started.
#[derive(Debug)]
pub struct Spawned {
    /// The process.
    pub process: ChildProcess,
    /// Its namespaces.
    pub namespaces: Obtained,
}

/// A failure to start a child in some namespaces.
enum StartError {
    Users(IdMapError),
    Process(io::Error),
}

impl StartError {
    fn with(self, executable: PathBuf) -> SpawnError {
        match self {
            Self::Users(source) => SpawnError::Users { source },
            Self::Process(source) => SpawnError::Spawn { executable, source },
        }
    }
}

/// Starts a child in the best namespaces that are available.
fn start_in(
    wish: Wish,
    start: &mut dyn FnMut(&[Namespace]) -> io::Result<Waiting>,
) -> Result<(Waiting, Obtained), StartError> {
    let map = match wish {
        Wish::All(users) => IdMap::of(users).map_err(StartError::Users)?,
        Wish::HostFiles => None,
    };
    let mut refused = None;
    for kinds in wish.attempts(map.is_some()) {
        let waiting = match start(&kinds) {
            Ok(waiting) => waiting,
            Err(error) if !kinds.is_empty() && is_refusal(&error) => {
                refused = refused.or(error.raw_os_error());
                continue;
            }
            Err(error) => return Err(StartError::Process(error)),
        };
        if let Some(map) = map.filter(|_| kinds.contains(&Namespace::User)) {
            match map.write(waiting.process.pid()) {
                Ok(()) => {}
                Err(IdMapError::Write { source }) => {
                    refused = refused.or(source.raw_os_error());
                    continue;
                }
                Err(error) => return Err(StartError::Users(error)),
            }
        }
        return Ok((waiting, Obtained { kinds, refused }));
    }
    Err(StartError::Process(Errno::PERM.into()))
}

/// A child that waits to be released before it executes its program.
struct Waiting {
    process: ChildProcess,
    go: PipeWriter,
    failure: PipeReader,
}

impl Waiting {
    /// Has the child go on, and waits until it has executed its program.
    fn release(&mut self) -> io::Result<()> {
        // If the child has ended, it has said why.
        let _ = self.go.write_all(&[0]);
        let mut errno = [0; 4];
        match self.failure.read_exact(&mut errno) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
            // Closed by the exec.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A program with its arguments, ready to be executed without an allocation.
struct Program {
    words: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Program {
    fn new(words: &[OsString]) -> io::Result<Self> {
        let words = words.iter().map(|word| Ok(CString::new(word.as_bytes())?));
        let words = words.collect::<io::Result<Vec<_>>>()?;
        let pointers = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Self { words, pointers })
    }

    /// Executes it without an environment; returns the reason if that fails.
    fn execute(&self) -> Errno {
        let (Some(path), environment) = (self.words.first(), [std::ptr::null::<libc::c_char>()]) else {
            return Errno::INVAL;
        };
        // SAFETY: NUL-terminated strings in NULL-terminated arrays, which outlive the call.
        unsafe { libc::execve(path.as_ptr(), self.pointers.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error().raw_os_error().map_or(Errno::INVAL, Errno::from_raw_os_error)
    }
}

/// Starts a child that waits to be released, and then runs a function, which returns the reason if it fails.
///
/// # Safety
///
/// The function must only make system calls, and must not allocate.
unsafe fn start_waiting(namespaces: &[Namespace], run: &dyn Fn() -> Errno) -> io::Result<Waiting> {
    let (wait, go) = io::pipe()?;
    let (failure, report) = io::pipe()?;
    let child = || {
        let error = match wait_for_launcher(&wait, go.as_raw_fd()) {
            Ok(()) => run(),
            Err(error) => error,
        };
        let _ = (&report).write_all(&error.raw_os_error().to_ne_bytes());
    };
    // SAFETY: the caller promises it for `run`, and the rest makes system calls.
    let process = unsafe { clone::start(namespaces, child) }?;
    Ok(Waiting { process, go, failure })
}

/// Ties this process to its launcher, and waits for it; `go` is this process's copy of the launcher's end of the pipe.
fn wait_for_launcher(mut wait: &PipeReader, go: RawFd) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // With it, the read below would not see the launcher's end.
    // SAFETY: nothing in this process uses it.
    unsafe { libc::close(go) };
    // The launcher may have died before the first call, which then has no effect.
    wait.read_exact(&mut [0]).map_err(|_| Errno::SRCH)
}

/// Runs a function in a copy of this process, in namespaces as a hidden command would have them, until it returns.
///
/// # Safety
///
/// Other threads of this process may hold locks, so the function must only make system calls, and must not allocate.
///
/// # Errors
///
/// If the copy does not start.
pub unsafe fn run_in(wish: Wish, function: &dyn Fn(&Obtained)) -> Result<(), SpawnError> {
    let ended = Errno::CANCELED;
    let started = start_in(wish, &mut |kinds| {
        let obtained = Obtained { kinds: kinds.to_vec(), refused: None };
        let run = || {
            function(&obtained);
            ended
        };
        // SAFETY: the caller promises it for the function.
        unsafe { start_waiting(kinds, &run) }
    });
    let executable = || PathBuf::from("/proc/self/exe");
    let (mut waiting, _) = started.map_err(|error| error.with(executable()))?;
    match waiting.release() {
        Err(error) if error.raw_os_error() == Some(ended.raw_os_error()) => Ok(()),
        Err(source) => Err(SpawnError::Spawn { executable: executable(), source }),
        Ok(()) => Err(SpawnError::Spawn { executable: executable(), source: Errno::PIPE.into() }),
    }
}

/// What a child becomes after it has been released.
struct Child<'a> {
    program: &'a Program,
    /// The descriptors that it inherits.
    kept: &'a [RawFd],
    null: BorrowedFd<'a>,
    log: BorrowedFd<'a>,
}

impl Child<'_> {
    /// Prepares this process, and executes the program; returns the reason if that fails. Only makes system calls.
    fn become_program(&self) -> Errno {
        match self.prepare() {
            Ok(()) => self.program.execute(),
            Err(error) => error,
        }
    }

    fn prepare(&self) -> Result<(), Errno> {
        reset_signals();
        // No terminal's signals, and no pid that means the launcher's group.
        rustix::process::setsid()?;
        rustix::process::chdir(c"/")?;
        rustix::thread::set_no_new_privs(true)?;
        // A core dump would contain the guest's memory.
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        // Shared folders need a descriptor per inode.
        let files = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
        rustix::stdio::dup2_stdin(self.null)?;
        rustix::stdio::dup2_stdout(self.null)?;
        rustix::stdio::dup2_stderr(self.log)?;
        keep_descriptors(self.kept)
    }
}

/// Has signals handled as in a new program: an exec keeps ignored and blocked ones.
fn reset_signals() {
    // SAFETY: changes only what signals do in this process, which has one thread.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

fn open_null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
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

/// The content of the configuration's file.
#[derive(Serialize)]
struct HandedRef<'a, C> {
    launcher: RawFd,
    namespaces: &'a Obtained,
    limits: Layer,
    config: &'a C,
}

/// As [`HandedRef`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandedValue<C> {
    launcher: RawFd,
    namespaces: Obtained,
    limits: Layer,
    config: C,
}

/// What a hidden command has been given.
#[derive(Debug)]
pub struct Handed<C> {
    /// Its configuration.
    pub config: C,
    /// Its namespaces.
    pub namespaces: Obtained,
    /// Whether its control group limits what it uses.
    pub limits: Layer,
    /// Its tie to its launcher.
    pub launcher: Launcher,
}

/// A failure to become a hidden command.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The descriptor is not open, or contains no configuration.
    #[error("descriptor {descriptor} holds no configuration: this command is started by msb itself")]
    Config {
        /// The given number.
        descriptor: RawFd,
        /// The cause.
        source: io::Error,
    },
    /// The launcher has ended.
    #[error("the process that launched this one has ended")]
    Orphaned,
    /// The kernel refused to send a signal at the launcher's end.
    #[error("cannot tie this process to its launcher")]
    Tie {
        /// The cause.
        source: io::Error,
    },
}

/// Reads the configuration in the descriptor that the last argument names, and ties this process to its launcher: the first
/// step of a hidden command, before it opens anything.
///
/// # Errors
///
/// If the descriptor is not open or contains no configuration, or the launcher has ended.
pub fn enter<C: DeserializeOwned>(descriptor: RawFd) -> Result<Handed<C>, EnterError> {
    let failed = |source| EnterError::Config { descriptor, source };
    let file = File::from(adopt(descriptor).map_err(failed)?);
    let mut text = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    let HandedValue { launcher, namespaces, limits, config } =
        serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    let launcher = Launcher(adopt(launcher).map_err(failed)?);
    launcher.tie()?;
    Ok(Handed { config, namespaces, limits, launcher })
}

/// A pidfd of the launcher.
#[derive(Debug)]
pub struct Launcher(OwnedFd);

impl Launcher {
    /// Has the kernel end this process when its launcher ends. An exec keeps that, new credentials do not.
    ///
    /// # Errors
    ///
    /// If the launcher has ended already, or the kernel refuses.
    pub fn tie(&self) -> Result<(), EnterError> {
        let refused = |error: Errno| EnterError::Tie { source: error.into() };
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused)?;
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        let ended = poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(refused)?;
        if ended == 0 { Ok(()) } else { Err(EnterError::Orphaned) }
    }
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
