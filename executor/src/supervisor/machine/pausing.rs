//! Pauses and resumes a machine on request, and corrects the guest's clock afterwards.
//!
//! The state says that a machine is paused once it does not run any more, and that it is not once its clock has been
//! corrected, so that a command after a pause finds the right time.

use super::Machine;
use super::boot::unix_ns;
use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::agent_link::relay::ReadyGuest;
use crate::supervisor::state_store::StateStore;
use executor_client::deadline::within;
use executor_vm::VmProcess;
use protocol::frame::LINK_ID;
use protocol::latest::{Clock, Message};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// The timeout of sending the time to a resumed guest.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of a machine's resumption before its shutdown.
const RESUME_TIMEOUT: Duration = Duration::from_secs(5);

impl Machine<'_> {
    /// Returns the requests to pause this machine.
    pub(super) fn pauses(&self) -> Pauses<'_> {
        Pauses {
            store: self.store,
            exec_log: self.exec_log,
            guest: self.guest,
            requests: self.store.pause_requests(),
            is_clock_told: false,
        }
    }

    /// Freezes and thaws the process of a machine without a monitor on request.
    pub(super) async fn freeze_on_request(&self, vmm: &VmProcess) -> Infallible {
        let mut pauses = self.pauses();
        loop {
            let done = if pauses.next().await {
                vmm.freeze().map(|()| pauses.paused())
            } else {
                match vmm.thaw() {
                    Ok(()) => {
                        pauses.resumed().await;
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            };
            if let Err(error) = done {
                tracing::warn!("cannot signal the machine: {error}");
                return pending().await;
            }
        }
    }

    /// Resumes a paused machine, as a paused guest cannot shut down.
    pub(super) async fn resume_to_stop(&self) {
        self.store.request_pause(false);
        if within(RESUME_TIMEOUT, self.store.until_paused(false)).await.is_err() {
            tracing::warn!("the machine does not go on after its pause");
        }
    }
}

/// The requests to pause one machine.
pub(super) struct Pauses<'a> {
    store: &'a StateStore,
    exec_log: &'a Rc<RefCell<ExecLogger>>,
    guest: &'a watch::Sender<Option<ReadyGuest>>,
    requests: watch::Receiver<bool>,
    /// Whether the log says that the clock cannot be corrected.
    is_clock_told: bool,
}

impl Pauses<'_> {
    /// Returns whether the machine is to be paused.
    pub fn is_wanted(&self) -> bool {
        *self.requests.borrow()
    }

    /// Waits until the machine is to be paused and is not, or the reverse; returns whether it is to be. Cancel safe.
    pub async fn next(&mut self) -> bool {
        loop {
            let wanted = *self.requests.borrow_and_update();
            if wanted != self.store.state().paused {
                return wanted;
            }
            if self.requests.changed().await.is_err() {
                // The sender lives as long as the store.
                return pending().await;
            }
        }
    }

    /// Records that the machine does not run any more.
    pub fn paused(&self) {
        self.exec_log.borrow_mut().system("paused");
        self.store.change(|state| state.paused = true);
    }

    /// Corrects the clock of the resumed machine, and records that it runs again.
    pub async fn resumed(&mut self) {
        if within(CLOCK_TIMEOUT, self.correct_clock()).await.is_err() {
            tracing::warn!("the guest does not read the time after its pause");
        }
        self.exec_log.borrow_mut().system("resumed");
        self.store.change(|state| state.paused = false);
    }

    async fn correct_clock(&mut self) {
        let Some(ReadyGuest { link, has_clock, .. }) = self.guest.borrow().clone() else { return };
        if has_clock {
            if let Ok(frame) = Message::from(Clock { unix_ns: unix_ns() }).encode(LINK_ID) {
                // A lost link fails at its next use.
                let _ = link.send(frame).await;
            }
        } else if !std::mem::replace(&mut self.is_clock_told, true) {
            let note = "the clock is slow by the pause: the guest's agent is of an earlier version";
            self.exec_log.borrow_mut().system(note);
        }
    }
}
