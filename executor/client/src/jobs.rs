//! Jobs of a running sandbox: its start command, and detached commands. Their sessions belong to the supervisor, so they
//! outlive every client.
//!
//! [`JobsClient`] starts, lists, signals and awaits jobs over the control socket. A client attaches to a job over the relay,
//! with the message `core.job.attach`.

use crate::control::{ControlClient, Event, Request};
use executor_host::state::FEATURE_JOBS;
use protocol::latest::ExecRequest;
use schemas::name::SandboxId;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// A job as its supervisor describes it.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct JobReport {
    /// Its number in the sandbox: that of its session in `exec.log`. No two jobs of a sandbox have the same.
    pub id: u64,
    /// Its process id in the guest.
    pub pid: u32,
    /// Whether it is the start command of the sandbox.
    pub main: bool,
    /// The program and its arguments; the end of a long command is missing.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input was left open.
    pub stdin: bool,
    /// The number of attached clients.
    pub attached: usize,
    /// The time of its start, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// The time of its end, in milliseconds since 1970; `None` while it runs.
    pub ended_unix_ms: Option<u64>,
    /// Its state.
    #[serde(flatten)]
    pub state: JobState,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum JobState {
    /// It runs.
    Running,
    /// It has exited.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal has ended it.
    Signalled {
        /// The number of the signal.
        signal: i32,
    },
}

impl JobState {
    /// Returns the exit code, which is 128 + n for signal n; `None` while it runs.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Self::Running => None,
            Self::Exited { code } => Some(code),
            Self::Signalled { signal } => Some(signal.saturating_add(128)),
        }
    }
}

/// An error of a request about jobs.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The supervisor is too old for jobs.
    #[error("the sandbox's supervisor cannot {operation}: it is older than this msb")]
    UnsupportedOperation {
        /// The operation.
        operation: &'static str,
    },
    /// The supervisor refused the request.
    #[error("{message}")]
    Refused {
        /// The supervisor's reason.
        message: String,
    },
    /// The command could not be started.
    #[error("{message}")]
    NotStarted {
        /// The exit code that stands for the failure: 126 or 127.
        code: i32,
        /// The guest's reason.
        message: String,
    },
    /// The guest did not answer in time.
    #[error("the guest did not answer in time")]
    Unresponsive,
    /// The connection to the supervisor failed or ended.
    #[error("no answer from the sandbox's supervisor")]
    Connection {
        /// The cause.
        #[from]
        source: io::Error,
    },
}

/// A started job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedJob {
    /// Its process id in the guest.
    pub pid: u32,
    /// Its number; `None` from a supervisor that is too old for jobs.
    pub id: Option<u64>,
}

/// A connection to the supervisor of a sandbox for requests about jobs.
#[derive(Debug)]
pub struct JobsClient {
    control: ControlClient,
    has_jobs: bool,
}

impl JobsClient {
    /// Connects to the supervisor of one sandbox.
    ///
    /// # Errors
    ///
    /// If no supervisor of this sandbox listens there or answers.
    pub async fn connect(socket: &Path, sandbox: &SandboxId) -> Result<Self, JobsError> {
        let (control, state) = ControlClient::connect_to(socket, sandbox).await?;
        let has_jobs = state.features.iter().any(|feature| feature == FEATURE_JOBS);
        Ok(Self { control, has_jobs })
    }

    fn require(&self, operation: &'static str) -> Result<(), JobsError> {
        if self.has_jobs { Ok(()) } else { Err(JobsError::UnsupportedOperation { operation }) }
    }

    /// Starts a command as a job. With `stdin`, its standard input stays open for attached clients; otherwise it is
    /// empty. A terminal requires it to be open.
    ///
    /// # Errors
    ///
    /// If the command cannot be started, or the supervisor is too old for open input.
    pub async fn start(&mut self, command: ExecRequest, stdin: bool) -> Result<StartedJob, JobsError> {
        if stdin {
            self.require("keep the standard input of a detached command open")?;
        }
        self.control.send(&Request::Exec { command: Box::new(command), stdin }).await?;
        self.answer(|event| match event {
            Event::Started { pid, job } => Some(Ok(StartedJob { pid, id: job })),
            Event::NotStarted { code, message } => Some(Err(JobsError::NotStarted { code, message })),
            _ => None,
        })
        .await?
    }

    /// Lists the jobs that run, and the last ones that have ended, by number.
    ///
    /// # Errors
    ///
    /// If the guest is not up, or the supervisor is too old.
    pub async fn list(&mut self) -> Result<Vec<JobReport>, JobsError> {
        self.require("list jobs")?;
        self.control.send(&Request::Jobs).await?;
        self.answer(|event| match event {
            Event::Jobs { jobs } => Some(jobs),
            _ => None,
        })
        .await
    }

    /// Waits until a job has ended; returns its state.
    ///
    /// # Errors
    ///
    /// If there is no such job, the sandbox ends before it, or the supervisor is too old.
    pub async fn wait(&mut self, job: u64) -> Result<JobState, JobsError> {
        self.require("wait for jobs")?;
        self.control.send(&Request::WaitJob { job }).await?;
        self.answer(|event| match event {
            Event::JobEnded { state } => Some(state),
            _ => None,
        })
        .await
    }

    /// Sends a signal to the processes of a job.
    ///
    /// # Errors
    ///
    /// If there is no such job, it has ended, the guest does not answer, or the supervisor is too old.
    pub async fn signal(&mut self, job: u64, signal: i32) -> Result<(), JobsError> {
        self.require("signal jobs")?;
        self.control.send(&Request::SignalJob { job, signal }).await?;
        self.answer(|event| matches!(event, Event::Done).then_some(())).await
    }

    /// Waits for the event that answers the last request.
    async fn answer<T>(&mut self, read: impl Fn(Event) -> Option<T>) -> Result<T, JobsError> {
        loop {
            match self.control.next().await? {
                Some(Event::Refused { message }) => return Err(JobsError::Refused { message }),
                Some(Event::Unresponsive) => return Err(JobsError::Unresponsive),
                Some(event) => {
                    if let Some(answer) = read(event) {
                        return Ok(answer);
                    }
                }
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{LineReader, write_line};
    use executor_host::process::ProcessIdentity;
    use executor_host::state::State;
    use schemas::name::{ProjectName, SandboxName};

    /// A supervisor without the feature gets no request that it does not know.
    #[tokio::test]
    async fn an_older_supervisor_is_asked_for_no_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let id = SandboxId::derive(&ProjectName::new("shop").unwrap(), &SandboxName::new("web").unwrap(), 1);
        let state = State::booting(Some(id.clone()), ProcessIdentity::current().unwrap());
        let older = async {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut requests = LineReader::new(reader);
            assert!(matches!(requests.next::<Request>().await, Ok(Some(Request::Watch))));
            write_line(&mut writer, &Event::State { state: Box::new(state) }).await.unwrap();
            let request = requests.next::<serde_json::Value>().await.unwrap().unwrap();
            // Without new members.
            assert_eq!(request.as_object().unwrap().keys().collect::<Vec<_>>(), ["command", "request"]);
            write_line(&mut writer, &serde_json::json!({ "event": "started", "pid": 7 })).await.unwrap();
            assert!(requests.next::<Request>().await.unwrap().is_none());
        };
        let client = async {
            let mut client = JobsClient::connect(&path, &id).await.unwrap();
            let command = ExecRequest::command(&["sleep".to_owned()]);
            let is_unsupported = |error| matches!(error, JobsError::UnsupportedOperation { .. });
            assert!(is_unsupported(client.start(command.clone(), true).await.unwrap_err()));
            assert!(is_unsupported(client.list().await.unwrap_err()));
            assert!(is_unsupported(client.wait(1).await.unwrap_err()));
            assert!(is_unsupported(client.signal(1, 15).await.unwrap_err()));
            let started = client.start(command, false).await.unwrap();
            assert_eq!(started, StartedJob { pid: 7, id: None });
        };
        tokio::join!(older, client);
    }
}
