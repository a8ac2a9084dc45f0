//! The log of the guest's kernel, and its last lines for reports of failed boots.

use crate::supervisor::DRAIN_TIMEOUT;
use crate::supervisor::logs::events::EventLog;
use crate::supervisor::logs::oom::OomKills;
use executor_client::deadline::until;
use executor_client::event::SandboxEvent;
use executor_client::guest_text::keep_end;
use executor_log::{KERNEL_LOG, Limits, TextWriter};
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// The size of the kept end of the console in bytes.
const TAIL_BYTES: usize = 4096;
/// The most lines in a report.
const TAIL_LINES: usize = 5;
/// The size of a read in bytes.
const READ_BYTES: usize = 4096;

/// The console of one machine.
pub struct KernelLog {
    end: Rc<RefCell<Vec<u8>>>,
    kills: Rc<RefCell<OomKills>>,
    copying: JoinHandle<()>,
}

impl KernelLog {
    /// Copies the console to the log in this folder until the VM closes it.
    ///
    /// Reading continues if the log cannot be written, as a guest blocks on an unread console.
    pub fn keep(
        console: OwnedFd,
        logs: &Path,
        limits: Limits,
        events: Rc<RefCell<EventLog>>,
    ) -> io::Result<Self> {
        let mut log = TextWriter::open(logs, KERNEL_LOG, limits)?;
        let mut receiver = pipe::Receiver::from_owned_fd(console)?;
        let end = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&end);
        let kills = Rc::<RefCell<OomKills>>::default();
        let found = Rc::clone(&kills);
        let copying = tokio::task::spawn_local(async move {
            let mut buffer = [0; READ_BYTES];
            let kills = found;
            let report = |event: Option<SandboxEvent>| {
                if let Some(event) = event {
                    events.borrow_mut().write(&event);
                }
            };
            loop {
                let due = kills.borrow().due();
                let count = tokio::select! {
                    count = receiver.read(&mut buffer) => count,
                    () = until(due.map(Into::into)) => {
                        report(kills.borrow_mut().take_due(Instant::now()));
                        continue;
                    }
                };
                let Ok(count @ 1..) = count else { break };
                keep_end(&mut kept.borrow_mut(), &buffer[..count], TAIL_BYTES);
                let _ = log.write(&buffer[..count]);
                report(kills.borrow_mut().scan(&buffer[..count], Instant::now()));
                // A flood of output must not starve other tasks.
                tokio::task::yield_now().await;
            }
            report(kills.borrow_mut().finish());
        });
        Ok(Self { end, kills, copying })
    }

    /// Waits a short time until a closed console has been read.
    pub async fn drain(&mut self) {
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut self.copying).await;
    }

    /// Returns the reason of the kernel's panic; `None` without one.
    pub fn panic(&self) -> Option<String> {
        self.kills.borrow().panic().map(str::to_owned)
    }

    /// Returns whether the kernel has killed any process because memory was exhausted.
    pub fn has_oom_kill(&self) -> bool {
        self.kills.borrow().any()
    }

    /// Returns the last lines of the console.
    pub fn tail(&self) -> Vec<String> {
        let end = self.end.borrow();
        let text = String::from_utf8_lossy(&end);
        let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(ToString::to_string).collect()
    }
}
