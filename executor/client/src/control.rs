//! The control socket: requests of `msb` to a supervisor, and its events.
//!
//! JSON Lines both ways over a Unix stream socket. A client sends one [`Request`] per line; the supervisor answers each
//! with [`Event::Done`] or [`Event::Refused`]. After [`Request::Watch`] it sends [`Event::State`] now and at every change,
//! and after [`Request::Listen`] [`Event::Output`], until either side closes. A file in memory with values of secrets comes as
//! a descriptor beside the request, so that no buffer contains them.

mod descriptor;

use crate::jobs::{JobReport, JobState};
use descriptor::DescriptorReader;
use executor_host::state::State;
use executor_log::Entry;
use protocol::latest::ExecRequest;
use schemas::name::SandboxId;
use schemas::spec::{SandboxSpec, ValueName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// The longest line in bytes. A spec with its scripts fits in.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The timeout of a supervisor's first state.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A request of a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// Send the state now and whenever it changes.
    Watch,
    /// Send output that no log captures.
    Listen,
    /// Shut the guest down, and kill it at a timeout.
    Stop {
        /// The timeout in milliseconds.
        timeout_ms: u64,
        /// Whether to kill it at once: the guest does not sync its disks.
        #[serde(default)]
        kill: bool,
    },
    /// Pause or resume the virtual machine; answered when it is so.
    Pause {
        /// Whether it is to be paused.
        paused: bool,
    },
    /// Run a detached command: its session is the supervisor's, and its output goes to the log.
    Exec {
        /// The command.
        command: Box<ExecRequest>,
        /// Whether its standard input stays open for attached clients.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stdin: bool,
    },
    /// List the jobs of the guest.
    Jobs,
    /// Wait for the end of a job.
    WaitJob {
        /// Its number.
        job: u64,
    },
    /// Send a signal to the processes of a job.
    SignalJob {
        /// Its number.
        job: u64,
        /// The number of the signal in Linux, 1 to 64.
        signal: i32,
    },
    /// Follow another spec; it may differ only in properties that change live.
    Update {
        /// The whole new spec.
        spec: Box<SandboxSpec>,
    },
    /// Compare the values in the file that comes with the request with those of the sandbox.
    CompareValues,
    /// Replace the values of the sandbox that differ from those in the file that comes with the request.
    ReplaceValues,
}

/// A message of a supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The current state.
    State {
        /// The whole state.
        state: Box<State>,
    },
    /// A piece of output that no log captures, with the members of an entry of `exec.log`.
    Output(Entry),
    /// A detached command runs.
    Started {
        /// Its pid in the guest.
        pid: u32,
        /// Its number; `None` from a supervisor of an earlier version.
        #[serde(default)]
        job: Option<u64>,
    },
    /// The jobs of the guest.
    Jobs {
        /// The jobs, by number.
        jobs: Vec<JobReport>,
    },
    /// A job has ended.
    JobEnded {
        /// Its last state.
        state: JobState,
    },
    /// A detached command cannot run.
    NotStarted {
        /// The exit code that stands for the failure.
        code: i32,
        /// The cause.
        message: String,
    },
    /// Values were compared, or replaced.
    ValuesDiffer {
        /// The values that differ, or did.
        names: BTreeSet<ValueName>,
    },
    /// The guest did not answer in time.
    Unresponsive,
    /// The request was carried out.
    Done,
    /// The request was refused.
    Refused {
        /// The cause.
        message: String,
    },
}

/// A connection to a supervisor's control socket.
#[derive(Debug)]
pub struct ControlClient {
    reader: LineReader,
    writer: OwnedWriteHalf,
}

impl ControlClient {
    /// Connects to a supervisor's socket.
    ///
    /// # Errors
    ///
    /// If no supervisor listens there.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self::over(UnixStream::connect(path).await?))
    }

    /// Connects to the supervisor of one sandbox, watches its states and returns the first one. The sandbox is checked by
    /// its id, as another one may have used the name in the socket's path.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] if the supervisor runs another sandbox; otherwise if none listens or answers.
    pub async fn connect_to(path: &Path, id: &SandboxId) -> io::Result<(Self, State)> {
        let answer = async {
            let mut client = Self::watch(path).await?;
            let state = client.next_state().await?;
            Ok((client, state))
        };
        let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "the supervisor does not answer"));
        let (client, state) = tokio::time::timeout(HELLO_TIMEOUT, answer).await.unwrap_or_else(|_| late())?;
        match &state.id {
            Some(other) if other != id => {
                let text = format!("the supervisor there runs the sandbox {other}, not {id}");
                Err(io::Error::new(io::ErrorKind::AddrInUse, text))
            }
            // A supervisor of an earlier version reports no id.
            Some(_) | None => Ok((client, state)),
        }
    }

    /// Connects to a supervisor's socket and watches its states.
    ///
    /// # Errors
    ///
    /// If no supervisor listens there.
    pub async fn watch(path: &Path) -> io::Result<Self> {
        let mut client = Self::connect(path).await?;
        client.send(&Request::Watch).await?;
        Ok(client)
    }

    /// Wraps a connected stream.
    pub fn over(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: LineReader::new(reader), writer }
    }

    /// Sends one request.
    ///
    /// # Errors
    ///
    /// If the connection is closed.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        write_line(&mut self.writer, request).await
    }

    /// Receives the next event; `None` after the supervisor has closed. Cancel safe.
    ///
    /// # Errors
    ///
    /// If the connection fails, or a line is too long or invalid.
    pub async fn next(&mut self) -> io::Result<Option<Event>> {
        self.reader.next().await
    }

    /// Sends a request and waits for its answer, skipping states.
    ///
    /// # Errors
    ///
    /// If the supervisor refuses, the guest does not answer it, or the connection ends.
    pub async fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.answer(request, |event| matches!(event, Event::Done).then_some(())).await
    }

    /// Sends the request [`Request::CompareValues`] or [`Request::ReplaceValues`] with a file of values; returns the values
    /// that differ.
    ///
    /// # Errors
    ///
    /// As [`ControlClient::ask`].
    pub async fn ask_about_values(
        &mut self,
        request: &Request,
        values: &OwnedFd,
    ) -> io::Result<BTreeSet<ValueName>> {
        let line = line(request)?;
        let sent = descriptor::send(&self.writer, &line, values).await?;
        self.writer.write_all(line.get(sent..).unwrap_or_default()).await?;
        self.answered(|event| match event {
            Event::ValuesDiffer { names } => Some(names),
            _ => None,
        })
        .await
    }

    /// Receives the next watched state, skipping other events. Cancel safe.
    ///
    /// # Errors
    ///
    /// If the connection ends or fails, or a line is too long or invalid.
    pub async fn next_state(&mut self) -> io::Result<State> {
        loop {
            match self.next().await? {
                Some(Event::State { state }) => return Ok(*state),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Sends a request and waits for the event that answers it.
    async fn answer<T>(&mut self, request: &Request, read: impl Fn(Event) -> Option<T>) -> io::Result<T> {
        self.send(request).await?;
        self.answered(read).await
    }

    /// Waits for the event that answers the last request.
    async fn answered<T>(&mut self, read: impl Fn(Event) -> Option<T>) -> io::Result<T> {
        loop {
            match self.next().await? {
                Some(Event::Refused { message }) => return Err(io::Error::other(message)),
                Some(Event::Unresponsive) => return Err(io::ErrorKind::TimedOut.into()),
                Some(event) => {
                    if let Some(answer) = read(event) {
                        return Ok(answer);
                    }
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Shuts the sandbox down, kills it at the timeout, and returns after it has ended.
    ///
    /// # Errors
    ///
    /// As [`ControlClient::ask`].
    pub async fn stop_with_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.ask(&Request::Stop { timeout_ms, kill: false }).await
    }

    /// Kills the sandbox and returns after it has ended.
    ///
    /// # Errors
    ///
    /// As [`ControlClient::ask`].
    pub async fn kill(&mut self) -> io::Result<()> {
        self.ask(&Request::Stop { timeout_ms: 0, kill: true }).await
    }

    /// Pauses the sandbox's virtual machine, and returns when it does not run any more.
    ///
    /// # Errors
    ///
    /// As [`ControlClient::ask`].
    pub async fn pause(&mut self) -> io::Result<()> {
        self.ask(&Request::Pause { paused: true }).await
    }

    /// Resumes the sandbox's virtual machine, and returns when it runs and its clock has been corrected.
    ///
    /// # Errors
    ///
    /// As [`ControlClient::ask`].
    pub async fn resume(&mut self) -> io::Result<()> {
        self.ask(&Request::Pause { paused: false }).await
    }
}

/// Asks the supervisor at this control socket for the current state; `None` if it does not answer.
pub async fn current_state(socket: &Path) -> Option<State> {
    ControlClient::watch(socket).await.ok()?.next_state().await.ok()
}

/// Writes a value as one line.
///
/// # Errors
///
/// If the connection is closed.
pub async fn write_line(writer: &mut OwnedWriteHalf, value: &impl Serialize) -> io::Result<()> {
    writer.write_all(&line(value)?).await
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads values, one per line.
#[derive(Debug)]
pub struct LineReader {
    reader: BufReader<DescriptorReader>,
    /// The start of an incomplete line, so that a cancelled read loses nothing.
    line: Vec<u8>,
}

impl LineReader {
    /// Wraps the reading half of a connection.
    pub fn new(reader: OwnedReadHalf) -> Self {
        Self { reader: BufReader::new(DescriptorReader::new(reader)), line: Vec::new() }
    }

    /// Takes the last descriptor that came with the bytes read so far.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.reader.get_mut().received.take()
    }

    /// Reads one line as a value; `None` at the end. Cancel safe.
    ///
    /// # Errors
    ///
    /// If the connection fails, or a line is too long, incomplete or invalid.
    pub async fn next<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let room = (LINE_BYTES_MAX + 1 - self.line.len()) as u64;
        (&mut self.reader).take(room).read_until(b'\n', &mut self.line).await?;
        if self.line.is_empty() {
            return Ok(None);
        }
        if self.line.len() > LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a control line is too long"));
        }
        if !self.line.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line).map(Some).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_host::process::ProcessIdentity;
    use executor_host::state::Phase;
    use schemas::name::{ProjectName, SandboxName};
    use schemas::snapshot::Health;

    fn id(project: &str, name: &str) -> SandboxId {
        SandboxId::derive(&ProjectName::new(project).unwrap(), &SandboxName::new(name).unwrap(), 1)
    }

    /// Connects to `a-b` of `shop` at a supervisor that reports this sandbox.
    async fn connected_to(runs: Option<SandboxId>) -> io::Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let state = State {
            phase: Phase::Running,
            health: Health::Unchecked,
            ..State::booting(runs, ProcessIdentity::current().unwrap())
        };
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let request = LineReader::new(reader).next::<Request>().await;
            assert!(matches!(request, Ok(Some(Request::Watch))));
            write_line(&mut writer, &Event::State { state: Box::new(state) }).await.unwrap();
        };
        let wanted = id("shop", "a-b");
        let (connected, ()) = tokio::join!(ControlClient::connect_to(&path, &wanted), serve);
        connected.map(drop)
    }

    #[tokio::test]
    async fn another_sandbox_of_the_same_full_name_is_not_taken_for_this_one() {
        connected_to(Some(id("shop", "a-b"))).await.unwrap();
        let error = connected_to(Some(id("shop-a", "b"))).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        // A supervisor of an earlier version.
        connected_to(None).await.unwrap();
    }
}
