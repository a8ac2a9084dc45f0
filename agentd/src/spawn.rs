//! Starts commands.
//!
//! `std::process::Command` forks and connects the standard streams. The hook then sets session, terminal, limits, user
//! and directory and executes the program itself: the standard library would pass files that the kernel cannot execute
//! to `/bin/sh`. On failure the hook writes the number of its step to a pipe, and the errno comes back through the
//! standard library's. `spawn` returns when the program runs or has failed.
#![allow(unsafe_code)] // `pre_exec`'s hook runs between fork and exec; rustix has neither execve nor sigprocmask.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use protocol::latest::{BootDocument, ExecFailed, ExecRequest, FailureKind, Rlimit};
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fcntl_setfl, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit as KernelLimit, chdir, ioctl_tiocsctty, setrlimit, setsid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::candidate::{Candidate, inspect};
use crate::environment::{DEFAULT_PATH, Sources, TrustVariables, merge};
use crate::failure::{Attempt, Stage, classify, refused};
use crate::program::{Program, candidates};
use crate::users::{Identity, look_up};

/// The group of terminals in every distribution.
const TTY_GROUP: u32 = 5;

/// A running command. All descriptors are the agent's ends, in non-blocking mode.
pub struct Spawned {
    pub pid: i32,
    pub stdin: OwnedFd,
    /// With a terminal, its master, as `stdin` is.
    pub stdout: OwnedFd,
    pub stderr: Option<OwnedFd>,
}

/// Both ends of the standard streams.
struct Stdio3 {
    ours: (OwnedFd, OwnedFd, Option<OwnedFd>),
    theirs: [OwnedFd; 3],
}

pub fn spawn(
    request: &ExecRequest,
    document: &BootDocument,
    trust: &TrustVariables,
) -> Result<Spawned, ExecFailed> {
    let texts = [&request.cmd].into_iter().chain(&request.args).chain(&request.cwd);
    if let Some(text) = texts.into_iter().find(|text| text.contains('\0')) {
        let message = format!("'{}' contains a NUL byte", text.escape_debug());
        return Err(refused(FailureKind::BadArgs, "arguments", message));
    }
    if request.cmd.is_empty() {
        return Err(refused(FailureKind::NotFound, "arguments", "the command is empty"));
    }
    let user = request.user.as_deref().or(document.user.as_deref()).unwrap_or("0");
    let identity =
        look_up(user).map_err(|error| refused(FailureKind::UserSetupFailed, "user", error.to_string()))?;
    let sources = Sources {
        home: &identity.home,
        hostname: &document.hostname,
        shell: &document.shell,
        tty: request.tty,
        trust,
        sandbox: &document.env,
        request: &request.env,
    };
    let environment = merge(&sources).map_err(|entry| {
        let message = format!("'{}' is no K=V for the environment", entry.escape_debug());
        refused(FailureKind::BadArgs, "environment", message)
    })?;
    // Those of the request come last, so that they apply.
    let limits = document.rlimits.iter().chain(&request.rlimits).map(kernel_limit);
    let limits = limits.collect::<Result<Vec<_>, _>>()?;
    let directory = request.cwd.as_deref().or(document.workdir.as_deref()).unwrap_or("/");

    let stdio = if request.tty {
        terminal(request, &identity).map_err(|error| setup_failed(FailureKind::PtySetupFailed, error))?
    } else {
        pipes().map_err(|error| setup_failed(FailureKind::ResourceLimit, error))?
    };
    let [stdin, stdout, stderr] = stdio.theirs;
    // The hook executes what it has prepared, so neither name nor arguments matter.
    let mut command = Command::new("agentd-child");
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));

    let (stage_reader, stage_writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|error| setup_failed(FailureKind::ResourceLimit, error))?;
    let steps = Steps {
        stage_writer,
        tty: request.tty,
        limits,
        groups: identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
        gid: Gid::from_raw(identity.gid),
        uid: Uid::from_raw(identity.uid),
        directory: CString::new(directory)
            .map_err(|_| refused(FailureKind::BadCwd, "chdir", "the directory contains a NUL byte"))?,
        program: Program::prepare(request, &environment)
            .map_err(|_| refused(FailureKind::BadArgs, "arguments", "an argument contains a NUL byte"))?,
    };
    // SAFETY: the hook only makes system calls on values made above. It allocates nothing and takes no lock, so a lock
    // that another thread held when the process forked cannot block it.
    unsafe { command.pre_exec(move || steps.take()) };
    let spawned = command.spawn();
    // The command owns copies of the child's ends: end of file never comes while they are open.
    drop(command);
    match spawned {
        Ok(child) => {
            let (stdin, stdout, stderr) = stdio.ours;
            Ok(Spawned { pid: child.id().cast_signed(), stdin, stdout, stderr })
        }
        Err(error) => {
            let mut number = [0u8];
            let stage = match read(&stage_reader, &mut number) {
                Ok(1) => Stage::from_number(number[0]),
                _ => None,
            };
            let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
            let candidate = match stage {
                Some(Stage::Execute) => inspect(&candidates(&request.cmd, path), directory),
                _ => Candidate::Nothing,
            };
            let attempt = Attempt { command: &request.cmd, directory, candidate };
            Err(classify(stage, error.raw_os_error().unwrap_or(0), &attempt))
        }
    }
}

/// The mask survives exec, and PID 1 has blocked its signalfd's signals.
fn unblock_signals() {
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initializes the set that sigprocmask then reads; a null old mask is allowed.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// The child's steps between fork and exec, all prepared beforehand.
struct Steps {
    stage_writer: OwnedFd,
    tty: bool,
    limits: Vec<(Resource, KernelLimit)>,
    groups: Vec<Gid>,
    gid: Gid,
    uid: Uid,
    directory: CString,
    program: Program,
}

impl Steps {
    fn take(&self) -> std::io::Result<()> {
        let mut stage = Stage::Session;
        // Each step returns only on failure.
        let errno = match self.take_each(&mut stage) {
            Ok(never) => match never {},
            Err(errno) => errno,
        };
        let _ = write(&self.stage_writer, &[stage as u8]);
        Err(std::io::Error::from_raw_os_error(errno.raw_os_error()))
    }

    fn take_each(&self, stage: &mut Stage) -> Result<Infallible, Errno> {
        // PID 1 is exempt from the OOM killer; its children are not.
        if let Ok(file) = open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            let _ = write(&file, b"0");
        }
        unblock_signals();
        setsid()?;
        if self.tty {
            *stage = Stage::Terminal;
            ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        *stage = Stage::ResourceLimits;
        for (resource, limit) in &self.limits {
            setrlimit(*resource, *limit)?;
        }
        *stage = Stage::Groups;
        set_thread_groups(&self.groups)?;
        *stage = Stage::Gid;
        set_thread_gid(self.gid)?;
        *stage = Stage::Uid;
        set_thread_uid(self.uid)?;
        *stage = Stage::WorkingDirectory;
        chdir(self.directory.as_c_str())?;
        *stage = Stage::Execute;
        Err(self.program.execute())
    }
}

fn pipes() -> Result<Stdio3, Errno> {
    let (stdin_theirs, stdin_ours) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout_ours, stdout_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr_ours, stderr_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&stdin_ours, OFlags::NONBLOCK)?;
    fcntl_setfl(&stdout_ours, OFlags::NONBLOCK)?;
    fcntl_setfl(&stderr_ours, OFlags::NONBLOCK)?;
    let theirs = [stdin_theirs, stdout_theirs, stderr_theirs];
    Ok(Stdio3 { ours: (stdin_ours, stdout_ours, Some(stderr_ours)), theirs })
}

fn terminal(request: &ExecRequest, identity: &Identity) -> Result<Stdio3, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let size = Winsize { ws_row: request.rows, ws_col: request.cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size)?;
    // Programs reopen their terminal by name, as their own user.
    let _ = fchown(&slave, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(TTY_GROUP)));
    fcntl_setfl(&master, OFlags::NONBLOCK)?;
    let input = fcntl_dupfd_cloexec(&master, 3)?;
    let theirs = [fcntl_dupfd_cloexec(&slave, 3)?, fcntl_dupfd_cloexec(&slave, 3)?, slave];
    Ok(Stdio3 { ours: (input, master, None), theirs })
}

fn setup_failed(kind: FailureKind, errno: Errno) -> ExecFailed {
    let errno = errno.raw_os_error();
    ExecFailed { kind, stage: Some("stdio".to_owned()), ..classify(None, errno, &Attempt::default()) }
}

fn kernel_limit(limit: &Rlimit) -> Result<(Resource, KernelLimit), ExecFailed> {
    let resource = match limit.resource.as_str() {
        "cpu" => Resource::Cpu,
        "fsize" => Resource::Fsize,
        "data" => Resource::Data,
        "stack" => Resource::Stack,
        "core" => Resource::Core,
        "rss" => Resource::Rss,
        "nproc" => Resource::Nproc,
        "nofile" => Resource::Nofile,
        "memlock" => Resource::Memlock,
        "as" => Resource::As,
        "locks" => Resource::Locks,
        "sigpending" => Resource::Sigpending,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        unknown => {
            let message = format!("there is no resource limit '{}'", unknown.escape_debug());
            return Err(refused(FailureKind::ResourceLimit, "setrlimit", message));
        }
    };
    let value = |number: u64| (number != u64::MAX).then_some(number);
    Ok((resource, KernelLimit { current: value(limit.soft), maximum: value(limit.hard) }))
}
