//! Runs a guest that is up: its main process, its health check, its shutdown.

use super::{BOOT_TIMEOUT, ExitCause, LifeOutcome, Machine, SHUTDOWN_MARGIN, failure};
use crate::supervisor::agent_link::health;
use crate::supervisor::agent_link::jobs::{Job, JobKind, Life};
use crate::supervisor::agent_link::link::Link;
use executor_client::deadline::within;
use executor_host::state::Phase;
use protocol::frame::{Flags, LINK_ID};
use protocol::latest::{ExecRequest, ExecSignal, Message, Shutdown};
use schemas::signal::parse_signal;
use schemas::snapshot::{Exit, Health};
use schemas::spec::{HealthCheck, HookEvent, Role, SandboxSpec};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The timeout of the other processes after the main process has ended by itself.
const END_TIMEOUT: Duration = Duration::from_secs(10);

impl Machine<'_> {
    /// Runs the main process, if there is one, until it exits or the sandbox is stopped.
    pub(super) async fn main(&self, link: &Rc<Link>, events: &mut mpsc::Receiver<Message>) -> LifeOutcome {
        let start = self.store.spec().definition.start.clone();
        let main = match start {
            None => None,
            Some(argv) => {
                let started = tokio::select! {
                    started = tokio::time::timeout(BOOT_TIMEOUT, self.start(link, &argv, JobKind::Main)) => started
                        .unwrap_or_else(|_| Err(failure("the guest does not start the main process").into())),
                    _ = self.store.stop_requested() => Err(ExitCause::Stopped.into()),
                };
                match started {
                    Ok(main) => Some(main),
                    Err(lived) => {
                        shut_down(link, events, END_TIMEOUT).await;
                        return lived;
                    }
                }
            }
        };
        let checked = self.store.spec().definition.health_check().is_some();
        let health = if checked { Health::Starting } else { Health::Unchecked };
        self.store.change(|state| {
            (state.phase, state.health, state.last_probe) = (Phase::Running, health, None);
            state.main_ended = false;
        });
        let prints =
            if self.store.spec().definition.role == Role::Job { Prints::Use } else { Prints::Nothing };
        let (ended, timeout) = tokio::select! {
            exit = main_exit(link, main.as_deref(), prints) => match exit {
                Some(exit) => {
                    // The shutdown takes time, during which the sandbox must not count as up.
                    self.store.change(|state| state.main_ended = true);
                    (ExitCause::Exited(exit), END_TIMEOUT)
                }
                None => return LifeOutcome::Lost(link.lost().await),
            },
            timeout = self.store.stop_requested() => (ExitCause::Stopped, timeout),
            exit = self.store.limit_reached() => {
                self.store.change(|state| state.main_ended = true);
                (ExitCause::Exited(exit), END_TIMEOUT)
            }
            // It could not shut down.
            hung = self.hangs(link) => return hung.into(),
            never = self.check_health(link) => match never {},
        };
        let in_order = async {
            self.resume_to_stop().await;
            let is_limit = matches!(ended, ExitCause::Exited(Exit::Limit { .. }));
            if is_limit {
                self.run_pre_stop(link).await;
            }
            let timeout = match &main {
                Some(main) if is_limit || matches!(ended, ExitCause::Stopped) => {
                    self.ask_to_stop(link, main, timeout).await
                }
                _ => timeout,
            };
            shut_down(link, events, timeout).await;
        };
        tokio::select! {
            () = in_order => {}
            // A paused guest receives nothing.
            () = self.store.guest_waits_for_space() => {
                let note = "killed: the host's disk is full, so the guest could not shut down";
                self.exec_log.borrow_mut().system(note);
            }
        }
        ended.into()
    }

    /// Runs the `pre-stop` hook, which a stop on request leaves to the client.
    async fn run_pre_stop(&self, link: &Link) {
        let hook = self.store.spec().definition.hooks.get(&HookEvent::PreStop).cloned();
        let Some(command) = hook else { return };
        let ended = within(END_TIMEOUT, async {
            let hook = self.start(link, &command, JobKind::Detached { stdin: false }).await.ok()?;
            main_exit(link, Some(&hook), Prints::Nothing).await
        });
        match ended.await {
            Ok(Some(exit)) if exit.is_success() => {}
            Ok(Some(exit)) => tracing::warn!("the pre-stop hook {exit}"),
            Ok(None) => tracing::warn!("the pre-stop hook could not be run"),
            Err(late) => tracing::warn!("the pre-stop hook: {late}"),
        }
    }

    /// Sends the declared or the image's stop signal to the main process first, if it is not SIGTERM. Returns the rest of
    /// the timeout.
    async fn ask_to_stop(&self, link: &Link, main: &Job, timeout: Duration) -> Duration {
        let declared = self.store.spec().definition.stop_signal.as_deref().and_then(parse_signal);
        let signal = declared.or_else(|| self.store.image().stop_signal_number());
        let signal = signal.filter(|signal| *signal != SIGTERM);
        let Some(signal) = signal else { return timeout };
        let asked = Instant::now();
        let Ok(frame) = Message::from(ExecSignal { signal }).encode(main.session()) else { return timeout };
        if link.send(frame).await.is_ok() {
            let _ = tokio::time::timeout(timeout, main_exit(link, Some(main), Prints::Nothing)).await;
        }
        timeout.saturating_sub(asked.elapsed())
    }

    async fn start(&self, link: &Link, argv: &[String], kind: JobKind) -> Result<Rc<Job>, LifeOutcome> {
        let Ok((job, frames)) = link.begin_job(ExecRequest::command(argv), kind) else {
            return Err(LifeOutcome::Lost(link.lost().await));
        };
        // A closed link ends the wait.
        let _ = link.send_all(frames).await;
        match job.started().await {
            Life::Running | Life::Ended { .. } => Ok(job),
            Life::NotStarted { code, message } => {
                Err(ExitCause::Exited(Exit::NotStarted { code, message }).into())
            }
            Life::Refused { message } => Err(failure(message).into()),
            Life::Starting | Life::Lost => Err(LifeOutcome::Lost(link.lost().await)),
        }
    }

    async fn probe(&self, link: &Link, check: &HealthCheck) {
        let states = self.store.states();
        health::watch(link, check, states, |health, probe| self.store.probed(health, probe)).await;
    }

    /// Runs the health check, and starts over when it is changed.
    async fn check_health(&self, link: &Link) -> Infallible {
        let mut specs = self.store.specs();
        loop {
            let check = specs.borrow_and_update().definition.health_check().cloned();
            match &check {
                Some(check) => tokio::select! {
                    () = self.probe(link, check) => {}
                    () = changed_check(&mut specs, Some(check)) => {}
                },
                None => changed_check(&mut specs, None).await,
            }
            let checked = specs.borrow().definition.health_check().is_some();
            let health = if checked { Health::Starting } else { Health::Unchecked };
            self.store.change(|state| (state.health, state.last_probe) = (health, None));
        }
    }
}

/// The signal of a shutdown.
const SIGTERM: i32 = 15;

async fn changed_check(specs: &mut watch::Receiver<Rc<SandboxSpec>>, known: Option<&HealthCheck>) {
    // The sender lives as long as the supervisor.
    let _ = specs.wait_for(|spec| spec.definition.health_check() != known).await;
}

/// What output of a process means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prints {
    /// The sandbox is in use.
    Use,
    /// Nothing.
    Nothing,
}

/// Waits for the main process; `None` if the link is lost before its exit.
async fn main_exit(link: &Link, main: Option<&Job>, prints: Prints) -> Option<Exit> {
    let Some(main) = main else {
        link.lost().await;
        return None;
    };
    let mut ended = std::pin::pin!(main.ended());
    loop {
        tokio::select! {
            life = &mut ended => {
                return match life {
                    Life::Ended { exited, .. } => Some(Exit::Code { code: exited.code }),
                    _ => None,
                };
            }
            () = main.printed(), if prints == Prints::Use => drop(link.in_use()),
        }
    }
}

/// Requests the guest's shutdown, and waits for its answer, its end or the timeout.
async fn shut_down(link: &Link, events: &mut mpsc::Receiver<Message>, timeout: Duration) {
    let timeout_ms = u64::try_from(timeout.as_millis()).ok();
    let Ok(frame) = Message::from(Shutdown { timeout_ms }).encode_with(LINK_ID, Flags::SHUTDOWN) else {
        return;
    };
    let answered = tokio::time::timeout(timeout + SHUTDOWN_MARGIN, async {
        // A guest that reads no more does not answer either.
        if link.send(frame).await.is_err() {
            return false;
        }
        while let Some(message) = events.recv().await {
            if matches!(message, Message::Shutdown(_)) {
                return true;
            }
        }
        false
    });
    if !matches!(answered.await, Ok(true)) {
        tracing::warn!("the guest did not shut down in time and is killed");
    }
}
