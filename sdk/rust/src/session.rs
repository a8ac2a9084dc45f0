//! The session of a command: a task receives its frames, and ends the command when it is told to.

use crate::convert;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::process::{ExecEvent, ExitStatus};
use executor_client::agent::RawStream;
use executor_client::deadline::until;
use protocol::frame::{Flags, Frame};
use protocol::latest::{ExecOutputAck, ExecSignal, Message};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest wait for the end of a killed command.
pub(crate) const END_TIMEOUT: Duration = Duration::from_secs(5);
/// The output that is acknowledged at once, in bytes: a quarter of the guest's window.
const ACK_BYTES: u64 = 256 * 1024;
/// The most queued output, in bytes, and what is counted for each event. A guest that keeps to its window sends less.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
const EVENT_BYTES: usize = 128;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// What the task of a command and its users share.
#[derive(Debug)]
pub(crate) struct Session {
    pub link: Arc<Link>,
    pub id: u32,
    grace: Duration,
    state: Mutex<State>,
    /// Tells the task to end the command.
    end: Notify,
}

/// The state of a command.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub pid: Option<u32>,
    pub status: Option<ExitStatus>,
    pub error: Option<Error>,
    events: VecDeque<ExecEvent>,
    queued: usize,
    /// Output that was taken from the queue on behalf of the other stream.
    pub stdout: VecDeque<u8>,
    pub stderr: VecDeque<u8>,
    consumed: u64,
    acked: u64,
    /// Whether output was ever read. Unless it was, waiting for the end discards it.
    pub is_observed: bool,
    is_discarding: bool,
    is_ending: bool,
    /// The input that the command has read, in bytes.
    pub stdin_taken: u64,
    pub stdin_error: Option<String>,
    wakers: Vec<Waker>,
}

impl Session {
    /// Starts the task of a new session.
    pub fn start(link: Arc<Link>, stream: RawStream, grace: Duration) -> Arc<Self> {
        let (state, end) = (Mutex::default(), Notify::new());
        let session = Arc::new(Self { link, id: stream.id(), grace, state, end });
        tokio::spawn(receive(stream, session.clone()));
        session
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the state is as wanted.
    pub async fn until<T>(&self, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        poll_fn(|context| self.poll(context, &mut check)).await
    }

    /// Polls for a state.
    pub fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut check: impl FnMut(&mut State) -> Option<T>,
    ) -> Poll<T> {
        let mut state = self.lock();
        match check(&mut state) {
            Some(found) => Poll::Ready(found),
            None => {
                if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Waits for the end of the command.
    pub async fn ended(&self) -> Result<ExitStatus> {
        self.until(|state| state.status.map(Ok).or_else(|| state.error.clone().map(Err))).await
    }

    /// Sends a message without waiting. A failed connection is reported by the state.
    pub fn post(&self, message: &Message) {
        if let Ok(frame) = message.encode(self.id) {
            let _ = self.link.raw.post_frame(frame);
        }
    }

    /// Counts output that has reached the user, so that the guest may send as much again.
    pub fn consume(&self, state: &mut State, bytes: usize) {
        state.consumed += bytes as u64;
        if state.consumed - state.acked >= ACK_BYTES && state.is_running() {
            state.acked = state.consumed;
            self.post(&ExecOutputAck { bytes: state.acked }.into());
        }
    }

    /// Takes the next queued event. Its output is not counted as consumed.
    pub fn take_event(&self, state: &mut State) -> Option<ExecEvent> {
        let event = state.events.pop_front()?;
        state.queued -= event.bytes() + EVENT_BYTES;
        Some(event)
    }

    /// Discards all output, queued and future.
    pub fn discard(&self) {
        let mut state = self.lock();
        state.is_discarding = true;
        let queued: usize = state.events.iter().map(ExecEvent::bytes).sum();
        let bytes = queued + state.stdout.len() + state.stderr.len();
        state.events.clear();
        state.queued = 0;
        state.stdout.clear();
        state.stderr.clear();
        self.consume(&mut state, bytes);
    }

    /// Ends the command without waiting: SIGTERM now, and SIGKILL after the grace period. Its output is discarded.
    pub fn end_soon(&self) {
        self.discard();
        let mut state = self.lock();
        if state.is_running() && !state.is_ending {
            state.is_ending = true;
            self.end.notify_one();
        }
    }

    /// Returns the longest time until the command has ended, or was given up, after [`Session::end_soon`].
    pub fn end_timeout(&self) -> Duration {
        self.grace.saturating_add(END_TIMEOUT)
    }

    fn signal(&self, signal: i32) {
        self.post(&ExecSignal { signal }.into());
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.lock();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn fail(&self, error: Error) {
        self.change(|state| {
            if state.is_running() {
                state.error = Some(error);
            }
        });
    }

    /// Handles a frame; returns whether the session goes on.
    fn handle(&self, frame: &Frame) -> Result<bool> {
        match Message::decode(frame).map_err(convert::message)? {
            Message::ExecStdout(piece) => self.queue(ExecEvent::Stdout(piece.data))?,
            Message::ExecStderr(piece) => self.queue(ExecEvent::Stderr(piece.data))?,
            Message::ExecStarted(started) => {
                self.queue(ExecEvent::Started { pid: started.pid })?;
                self.change(|state| state.pid = Some(started.pid));
            }
            Message::ExecExited(exited) => {
                let status = ExitStatus { exit_code: exited.code, signal: exited.signal };
                self.queue(ExecEvent::Exited(status))?;
                self.change(|state| state.status = Some(status));
                return Ok(false);
            }
            Message::ExecFailed(failed) => return Err(convert::exec_failed(failed)),
            Message::ExecStdinAck(ack) => {
                self.change(|state| state.stdin_taken = state.stdin_taken.max(ack.bytes));
            }
            Message::ExecStdinError(error) => {
                let message = convert::text(&error.message);
                self.queue(ExecEvent::StdinError(message.clone()))?;
                self.change(|state| state.stdin_error = Some(message));
            }
            Message::Error(report)
                if frame.flags().contains(Flags::TERMINAL) || self.lock().pid.is_none() =>
            {
                return Err(convert::refusal(&report));
            }
            _ => {}
        }
        Ok(true)
    }

    fn queue(&self, event: ExecEvent) -> Result<()> {
        let bytes = event.bytes();
        if bytes == 0 && matches!(event, ExecEvent::Stdout(_) | ExecEvent::Stderr(_)) {
            return Ok(());
        }
        let mut is_full = false;
        self.change(|state| {
            if state.is_discarding {
                self.consume(state, bytes);
                return;
            }
            state.events.push_back(event);
            state.queued += bytes + EVENT_BYTES;
            is_full = state.queued > QUEUE_BYTES_MAX;
        });
        if is_full {
            self.signal(SIGKILL);
            return Err(Error::new("protocol-error", "the guest sent more output than its window allows"));
        }
        Ok(())
    }
}

impl State {
    /// Whether the end of the command is not known yet.
    pub fn is_running(&self) -> bool {
        self.status.is_none() && self.error.is_none()
    }
}

/// Receives the frames of a session, and ends its command when it is told to.
async fn receive(mut stream: RawStream, session: Arc<Session>) {
    let (mut kill_at, mut give_up_at) = (None, None);
    loop {
        tokio::select! {
            // A guest that sends without end must not delay its own end.
            biased;
            () = session.end.notified() => {
                session.signal(SIGTERM);
                kill_at = Some(Instant::now() + session.grace.min(Duration::from_secs(86_400)));
            }
            () = until(kill_at), if kill_at.is_some() => {
                session.signal(SIGKILL);
                kill_at = None;
                give_up_at = Some(Instant::now() + END_TIMEOUT);
            }
            () = until(give_up_at), if give_up_at.is_some() => {
                return session.fail(Error::new("unresponsive", "the guest did not end the killed command"));
            }
            next = stream.next() => match next {
                Ok(Some(frame)) => match session.handle(&frame) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => return session.fail(error),
                },
                Ok(None) => {
                    return session.fail(Error::new("protocol-error", "the guest ended a command without its exit code"));
                }
                Err(error) => return session.fail(session.link.error(&error)),
            },
        }
    }
}
