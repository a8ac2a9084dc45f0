//! The VM's process, as its launcher holds it.

use crate::monitor::Monitor;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

/// A running VM. Dropping it kills the VM.
#[derive(Debug)]
pub struct VmProcess {
    child: Child,
    pidfd: OwnedFd,
    monitor: Option<Monitor>,
}

/// How a VM's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmExit {
    /// The guest ended it: it rebooted, or its kernel panicked (the console tells which).
    Guest,
    /// The process gave up by itself; its log says why.
    Failed {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it: SIGKILL where somebody wanted that or memory ran out.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
}

impl From<ExitStatus> for VmExit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Guest,
            (Some(code), _) => Self::Failed { code },
            (None, signal) => Self::Signalled { signal: signal.unwrap_or_default() },
        }
    }
}

impl VmProcess {
    /// Takes over a child that has just been spawned and nobody has waited for.
    pub(crate) fn new(mut child: Child) -> io::Result<Self> {
        // Until it is waited for, the pid belongs to this child, dead or alive.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let opened = pid.ok_or(io::Error::from(io::ErrorKind::InvalidInput));
        match opened.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
            Ok(pidfd) => Ok(Self { child, pidfd, monitor: None }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Its pid, good until [`VmProcess::wait`] or [`VmProcess::try_wait`] has told of its end.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// A descriptor that becomes readable when the process ends; for `AsyncFd`, clone it with
    /// `try_clone_to_owned`.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Adds the connection that its events come over.
    pub(crate) fn with_monitor(mut self, monitor: Option<Monitor>) -> Self {
        self.monitor = monitor;
        self
    }

    /// The connection that its events come over; `None` if its driver reports none, or if it was taken before.
    pub fn take_monitor(&mut self) -> Option<Monitor> {
        self.monitor.take()
    }

    /// How it ended, if it did.
    pub fn try_wait(&mut self) -> io::Result<Option<VmExit>> {
        Ok(self.child.try_wait()?.map(VmExit::from))
    }

    /// Blocks until it ends.
    pub fn wait(&mut self) -> io::Result<VmExit> {
        self.child.wait().map(VmExit::from)
    }

    /// Sends SIGKILL. The VM has ended once [`VmProcess::wait`] returns.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }
}

impl Drop for VmProcess {
    fn drop(&mut self) {
        // Both do nothing to a process that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
