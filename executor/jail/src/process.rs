//! A running child, as its launcher sees it.

use crate::cgroup::Cgroup;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

/// A running child. Dropping it kills the child.
#[derive(Debug)]
pub struct ChildProcess {
    pid: Pid,
    pidfd: OwnedFd,
    /// Its end, which the kernel tells once.
    ended: Option<ExitStatus>,
    /// Its control group, which is removed after it.
    cgroup: Option<Arc<Cgroup>>,
}

impl ChildProcess {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, ended: None, cgroup: None }
    }

    /// Keeps the control group that the process is in.
    pub(crate) fn keep_until_its_end(&mut self, cgroup: Arc<Cgroup>) {
        self.cgroup = Some(cgroup);
    }

    /// Returns its pid, valid until [`ChildProcess::wait`] or [`ChildProcess::try_wait`] has returned its end.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
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
        self.wait_with(WaitIdOptions::NOHANG)
    }

    /// Blocks until it ends.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.wait_with(WaitIdOptions::empty())? {
                return Ok(status);
            }
        }
    }

    fn wait_with(&mut self, options: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let waited = rustix::io::retry_on_intr(|| {
                waitid(WaitId::PidFd(self.pidfd.as_fd()), options | WaitIdOptions::EXITED)
            });
            self.ended = waited?.map(|status| to_exit_status(&status));
        }
        Ok(self.ended)
    }

    /// Sends SIGKILL. The process has ended when [`ChildProcess::wait`] returns.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            // It has ended.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Converts to the encoding of wait(2): the exit code in the second byte, or the signal in the first.
fn to_exit_status(status: &WaitIdStatus) -> ExitStatus {
    let code = status.exit_status().map(|code| (code & 0xff) << 8);
    ExitStatus::from_raw(code.or(status.terminating_signal()).unwrap_or_default())
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Both are no-ops after the process has been waited for.
        let _ = self.kill();
        let _ = self.wait();
    }
}
