//! Starts a copy of this process in new namespaces.
#![allow(unsafe_code, reason = "clone3 and fork have no safe interface")]

use crate::namespaces::Namespace;
use crate::process::ChildProcess;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The exit code of a copy that has become no program.
const NO_PROGRAM: libc::c_int = 127;

/// Starts a copy of this process, which has only the calling thread, in new namespaces. The copy calls `child`, and ends.
///
/// # Safety
///
/// Other threads of this process may hold locks, so `child` must only make system calls, and must not allocate.
pub(crate) unsafe fn start(namespaces: &[Namespace], child: impl FnOnce()) -> io::Result<ChildProcess> {
    let mut pidfd: RawFd = -1;
    let flags = namespaces.iter().fold(0, |flags, kind| flags | kind.flag());
    let arguments = libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: the arguments outlive the call. Without CLONE_VM the copy has memory and a stack of its own.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match pid {
        0 => {
            child();
            end()
        }
        -1 => {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::ENOSYS) && namespaces.is_empty() {
                // Some containers hide clone3, as filters cannot read its arguments.
                // SAFETY: the caller keeps this function's promise.
                return unsafe { fork(child) };
            }
            Err(error)
        }
        pid => {
            // SAFETY: the kernel has just opened it for this process.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(ChildProcess::new(to_pid(pid)?, pidfd))
        }
    }
}

/// As [`start`], without namespaces.
unsafe fn fork(child: impl FnOnce()) -> io::Result<ChildProcess> {
    // SAFETY: the caller of `start` promises that the copy only makes system calls.
    match unsafe { libc::fork() } {
        0 => {
            child();
            end()
        }
        -1 => Err(io::Error::last_os_error()),
        pid => {
            let pid = to_pid(pid.into())?;
            // The pid is not reused before the child has been waited for.
            Ok(ChildProcess::new(pid, pidfd_open(pid, PidfdFlags::empty())?))
        }
    }
}

/// Ends a copy without the exit handlers of the process that it is a copy of.
fn end() -> ! {
    // SAFETY: there is nothing that the copy must clean up.
    unsafe { libc::_exit(NO_PROGRAM) }
}

fn to_pid(pid: libc::c_long) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
