//! The VM's process, as its launcher sees it.

use crate::monitor::Monitor;
use executor_jail::{ChildProcess, JailReport};
use rustix::process::{Signal, pidfd_send_signal};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A running VM. Dropping it kills the VM.
#[derive(Debug)]
pub struct VmProcess {
    child: ChildProcess,
    monitor: Option<Monitor>,
    report: Option<JailReport>,
}

/// The end of a VM's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmExit {
    /// The guest rebooted, or its kernel panicked; the console shows which.
    Guest,
    /// The process failed; its log contains the reason.
    Failed {
        /// The exit code.
        code: i32,
    },
    /// A signal ended it: SIGKILL from msb, or because memory was exhausted.
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
    pub(crate) fn new(child: ChildProcess, monitor: Option<Monitor>, report: JailReport) -> Self {
        Self { child, monitor, report: Some(report) }
    }

    /// Takes its report of what is in force round it, which it sends before its guest runs; `None` if it was taken before.
    pub fn take_report(&mut self) -> Option<JailReport> {
        self.report.take()
    }

    /// Returns its pid, valid until [`VmProcess::wait`] or [`VmProcess::try_wait`] has returned its end.
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// Returns a pidfd, which becomes readable when the process ends. For `AsyncFd`, clone it with `try_clone_to_owned`.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// Takes the connection for its events; `None` if its driver reports none, or if it was taken before.
    pub fn take_monitor(&mut self) -> Option<Monitor> {
        self.monitor.take()
    }

    /// Returns its end; `None` while it runs.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn try_wait(&mut self) -> io::Result<Option<VmExit>> {
        Ok(self.child.try_wait()?.map(VmExit::from))
    }

    /// Blocks until it ends.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn wait(&mut self) -> io::Result<VmExit> {
        self.child.wait().map(VmExit::from)
    }

    /// Stops the process where it is, for a driver without a monitor; the guest does not notice.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn freeze(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(self.pidfd(), Signal::STOP)?)
    }

    /// Continues a frozen process.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn thaw(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(self.pidfd(), Signal::CONT)?)
    }

    /// Sends SIGKILL. The VM has ended when [`VmProcess::wait`] returns.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }
}
