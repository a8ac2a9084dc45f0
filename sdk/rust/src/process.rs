//! A command that runs in a guest: its streams, its events, and its end.

use crate::error::{Error, Result};
use crate::session::Session;
use crate::streams::{ProcessInput, ProcessOutput, Stream};
use protocol::latest::{ExecRequest, ExecResize, ExecSignal, ExecStdin, Message};
use std::sync::Arc;
use std::time::Duration;

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// The exit code, or 128 + the number of the signal that ended the command.
    pub exit_code: i32,
    /// The number of that signal.
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.exit_code == 0
    }
}

/// The end of a command with all its output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOutput {
    /// The end.
    pub status: ExitStatus,
    /// The standard output; all output of a command with a terminal.
    pub stdout: Vec<u8>,
    /// The standard error.
    pub stderr: Vec<u8>,
}

impl ExecOutput {
    /// Returns the exit code.
    pub fn exit_code(&self) -> i32 {
        self.status.exit_code
    }

    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Returns the standard output as UTF-8; invalid bytes become U+FFFD.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the standard error as UTF-8; invalid bytes become U+FFFD.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// An event of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecEvent {
    /// It runs.
    Started {
        /// Its process id in the guest.
        pid: u32,
    },
    /// Standard output; all output of a command with a terminal.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// Input was dropped, mostly because the command has closed its standard input; with the reason.
    StdinError(String),
    /// It has ended. The last event.
    Exited(ExitStatus),
}

impl ExecEvent {
    /// Returns the number of bytes of output.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Stdout(data) | Self::Stderr(data) => data.len(),
            _ => 0,
        }
    }
}

/// A command that runs in a guest.
///
/// Read its output from [`stdout`](Self::stdout) and [`stderr`](Self::stderr), or take its events with
/// [`next`](Self::next); both take from the same queue. Output that is not read stops the command, as a full pipe does,
/// unless nothing has ever been read: then [`wait`](Self::wait) discards it.
///
/// Dropping it ends the command: SIGTERM, then SIGKILL after the grace period. [`detach`](Self::detach) lets it run on.
/// When the connection closes, the relay ends it in any case.
#[derive(Debug)]
pub struct Process {
    /// The standard input; `None` unless it is a pipe or a terminal, or after it was taken.
    pub stdin: Option<ProcessInput>,
    /// The standard output; all output of a command with a terminal.
    pub stdout: ProcessOutput,
    /// The standard error.
    pub stderr: ProcessOutput,
    running: Running,
    pid: u32,
    has_tty: bool,
}

/// Ends the command when it is dropped.
#[derive(Debug)]
struct Running {
    session: Arc<Session>,
    is_detached: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_detached {
            self.session.end_soon();
        }
    }
}

impl Process {
    /// Sends a request, and waits until the command runs. Dropping the future ends the command.
    pub(crate) async fn start(
        link: Arc<crate::link::Link>,
        request: ExecRequest,
        has_input: bool,
        grace: Duration,
    ) -> Result<Self> {
        let closed = |_| Error::new("closed", "this client has been closed");
        let turn = link.while_alive(async { link.starting.acquire().await.map_err(closed) }).await?;
        let stream = link.raw.open().map_err(|error| link.error(&error))?;
        let has_tty = request.tty;
        let request = Message::from(request).encode(stream.id()).map_err(crate::convert::message)?;
        let session = Session::start(link.clone(), stream, grace);
        let running = Running { session: session.clone(), is_detached: false };
        link.while_alive(async {
            // A connection that has failed is reported by the session, with its cause.
            let _ = link.raw.send_frame(request).await;
            if !has_input {
                session.post(&ExecStdin { data: Vec::new() }.into());
            }
            session
                .until(|state| match (state.pid, state.status, &state.error) {
                    (Some(_), _, _) | (_, Some(_), _) => Some(Ok(())),
                    (None, None, Some(error)) => Some(Err(error.clone())),
                    (None, None, None) => None,
                })
                .await
        })
        .await?;
        drop(turn);
        let pid = session.lock().pid.unwrap_or_default();
        Ok(Self {
            stdin: has_input.then(|| ProcessInput::new(session.clone(), has_tty)),
            stdout: ProcessOutput::new(session.clone(), Stream::Stdout),
            stderr: ProcessOutput::new(session, Stream::Stderr),
            running,
            pid,
            has_tty,
        })
    }

    fn session(&self) -> &Session {
        &self.running.session
    }

    /// Returns the process id in the guest.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the number of the session in its connection, as the log has it.
    pub fn id(&self) -> u32 {
        self.session().id
    }

    /// Returns the end, if it is known.
    pub fn status(&self) -> Option<ExitStatus> {
        self.session().lock().status
    }

    /// Returns the next event; `None` after [`ExecEvent::Exited`]. A cancelled call loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionLost`] if the connection ends before the command has reported its end.
    pub async fn next(&mut self) -> Result<Option<ExecEvent>> {
        let session = self.session();
        session
            .until(|state| {
                state.is_observed = true;
                if let Some(event) = session.take_event(state) {
                    session.consume(state, event.bytes());
                    return Some(Ok(Some(event)));
                }
                match (&state.error, state.status) {
                    (Some(error), _) => Some(Err(error.clone())),
                    (None, Some(_)) => Some(Ok(None)),
                    (None, None) => None,
                }
            })
            .await
    }

    /// Waits for the end of the command. It never invents an exit code.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionLost`] if the connection ends before the command has reported its end.
    pub async fn wait(&self) -> Result<ExitStatus> {
        if !self.session().lock().is_observed {
            self.session().discard();
        }
        self.session().ended().await
    }

    /// Waits for the end of the command, at most for a time; the command runs on after it.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; also as [`Process::wait`].
    pub async fn wait_with_timeout(&self, timeout: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(timeout, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::timed_out(format!("the command did not end within {timeout:?}"))),
        }
    }

    /// Reads all remaining output, waits for the end, and returns both.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the output exceeds 256 MiB, which ends the command; also as [`Process::wait`].
    pub async fn collect(mut self) -> Result<ExecOutput> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let limit = crate::exec::MAX_OUTPUT_BYTES;
        let status = self.collect_into(&mut stdout, &mut stderr, limit).await?;
        Ok(ExecOutput { status, stdout, stderr })
    }

    pub(crate) async fn collect_into(
        &mut self,
        stdout: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
        limit: usize,
    ) -> Result<ExitStatus> {
        stdout.append(&mut self.stdout.take_buffer());
        stderr.append(&mut self.stderr.take_buffer());
        while let Some(event) = self.next().await? {
            match event {
                ExecEvent::Stdout(data) => stdout.extend_from_slice(&data),
                ExecEvent::Stderr(data) => stderr.extend_from_slice(&data),
                ExecEvent::Exited(status) => return Ok(status),
                ExecEvent::Started { .. } | ExecEvent::StdinError(_) => {}
            }
            if stdout.len() + stderr.len() > limit {
                self.session().end_soon();
                return Err(Error::new("too-large", format!("the command wrote more than {limit} bytes")));
            }
        }
        self.session().ended().await
    }

    /// Sends a signal, 1 to 64, to the process group of the command. One that has ended is no error.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for another number, and [`Error::ConnectionLost`].
    pub async fn signal(&self, signal: i32) -> Result<()> {
        if !(1..=64).contains(&signal) {
            return Err(Error::invalid("a signal must be from 1 to 64"));
        }
        self.send(&ExecSignal { signal }.into()).await
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// As [`Process::signal`].
    pub async fn terminate(&self) -> Result<()> {
        self.signal(15).await
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    ///
    /// As [`Process::signal`].
    pub async fn kill(&self) -> Result<()> {
        self.signal(9).await
    }

    /// Sets the size of the terminal.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the command has no terminal, and [`Error::ConnectionLost`].
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        if !self.has_tty {
            return Err(Error::invalid("the command has no terminal to resize; start it with `tty`"));
        }
        self.send(&ExecResize { rows, cols }.into()).await
    }

    async fn send(&self, message: &Message) -> Result<()> {
        let session = self.session();
        let ended = {
            let state = session.lock();
            (state.status, state.error.clone())
        };
        match ended {
            (Some(_), _) => Ok(()),
            (None, Some(error)) => Err(error),
            (None, None) => {
                let frame = message.encode(session.id).map_err(crate::convert::message)?;
                session.link.raw.send_frame(frame).await.map_err(|error| session.link.error(&error))
            }
        }
    }

    /// Ends the command, and waits for its end: SIGTERM, then SIGKILL after the grace period. Dropping the future does not
    /// stop that.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`], and [`Error::Unresponsive`] if it does not end even then.
    pub async fn end(&self) -> Result<ExitStatus> {
        self.session().end_soon();
        match tokio::time::timeout(self.session().end_timeout(), self.session().ended()).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::new("unresponsive", "the guest did not end the killed command")),
        }
    }

    /// Lets the command run on, as long as the connection is open; its output is discarded.
    pub fn detach(mut self) {
        self.running.is_detached = true;
        self.session().discard();
    }
}
