//! Sessions: commands in a sandbox with this process's streams, for `exec`, `run` and `attach`.

pub mod detach_keys;
pub mod terminal;
pub mod unresponsive;

mod input;
mod output;
mod signals;

use crate::apply::interrupts;
use crate::error::CliError;
use crate::output::print_error;
use detach_keys::{DetachFilter, DetachKeys};
use executor_client::agent::{AgentClient, AgentError, AgentReceiver};
use executor_client::deadline::{START_TIMEOUT, until, within};
use executor_client::jobs::JobReport;
use executor_host::home::RunFolder;
use input::{Input, Session};
use output::{OutputWriter, Stream};
use protocol::latest::{ExecRequest, JobAttach, Message};
use signals::{SignalPolicy, Unanswered};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A command in a sandbox.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Additional environment variables, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// The user and group.
    pub user: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its input is empty, and that of this process is not read.
    pub no_stdin: bool,
    /// Maximum run time.
    pub timeout: Option<Duration>,
}

impl Command {
    /// Returns the request to the agent.
    pub fn request(&self) -> ExecRequest {
        let (rows, cols) = terminal::size();
        ExecRequest {
            env: self.env.clone(),
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            tty: self.tty,
            rows,
            cols,
            ..ExecRequest::command(&self.words)
        }
    }
}

/// Exit code after a timeout, as of the program `timeout`.
const TIMED_OUT: i32 = 124;
/// Maximum number of queued signals.
const QUEUED_SIGNALS_MAX: usize = 4;

/// A failure of a session.
enum Failure {
    /// The guest does not answer.
    Unresponsive,
    /// Any other failure.
    Other(CliError),
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        if unresponsive::is_silence(&error) { Self::Unresponsive } else { Self::Other(error.into()) }
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

/// A job to attach to.
#[derive(Debug)]
pub struct Attach {
    /// The job.
    pub job: JobReport,
    /// The keys that detach this process.
    pub keys: DetachKeys,
    /// Whether the input of this process is not read.
    pub no_stdin: bool,
    /// Whether signals to this process are forwarded to the job.
    pub forward_signals: bool,
}

/// The end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The command has ended with this exit code.
    Exited(i32),
    /// This process was detached from a job that continues.
    Detached,
}

/// The parameters of a session.
struct Plan {
    request: Message,
    tty: bool,
    input: Input,
    timeout: Option<Duration>,
    signals: SignalPolicy,
}

/// Runs a command in a sandbox with this process's streams. Returns its exit code.
///
/// # Errors
///
/// If the guest does not answer, or the sandbox ends before the command.
pub fn run(folder: &RunFolder, name: &str, command: &Command) -> Result<i32, CliError> {
    let request = ExecRequest { stdin_acks: true, output_acks: true, ..command.request() };
    let plan = Plan {
        request: request.into(),
        tty: command.tty,
        input: if command.no_stdin { Input::Empty } else { Input::Forwarded { with_end: true, keys: None } },
        timeout: command.timeout,
        signals: SignalPolicy::Command,
    };
    match run_to_end(folder, name, plan)? {
        Ended::Exited(code) => Ok(code),
        // A session without keys is not detached.
        Ended::Detached => Ok(0),
    }
}

/// Attaches this process's streams to a job until the job has ended or the keys are typed.
///
/// # Errors
///
/// If the guest does not answer, or the sandbox ends before the job.
pub fn attach(folder: &RunFolder, name: &str, attach: &Attach) -> Result<Ended, CliError> {
    let Attach { job, keys, no_stdin, forward_signals } = attach;
    // Without a terminal here, the job's terminal keeps its size.
    let (rows, cols) = if std::io::stdout().is_terminal() { terminal::size() } else { (0, 0) };
    let keys = DetachFilter::new(keys.clone());
    let plan = Plan {
        request: JobAttach { job: job.id, rows, cols }.into(),
        tty: job.tty,
        input: match (no_stdin, job.stdin) {
            (true, _) => Input::Unread,
            // The end of this terminal's input is not that of the job's terminal, which other clients use too.
            (false, true) => Input::Forwarded { with_end: !job.tty, keys: Some(keys) },
            (false, false) if std::io::stdin().is_terminal() => Input::Keys(keys),
            (false, false) => Input::Unread,
        },
        timeout: None,
        signals: SignalPolicy::Job { forwarded: *forward_signals },
    };
    run_to_end(folder, name, plan)
}

fn run_to_end(folder: &RunFolder, name: &str, plan: Plan) -> Result<Ended, CliError> {
    let event_loop = crate::commands::event_loop()?;
    let ended = event_loop.block_on(async {
        let client = AgentClient::connect(&folder.agent_socket()).await?;
        run_session(client, plan).await
    });
    terminal::restore();
    let ended = ended.map_err(|failure| match failure {
        Failure::Unresponsive => event_loop.block_on(unresponsive::explain(folder, name)),
        Failure::Other(failure) => failure,
    });
    // Does not wait for the thread that reads stdin, which may be blocked forever.
    event_loop.shutdown_background();
    ended
}

async fn run_session(client: AgentClient, plan: Plan) -> Result<Ended, Failure> {
    let Plan { request, tty, input, timeout, signals: policy } = plan;
    let (mut sender, receiver) = client.into_split();
    let id = sender.next_id()?;
    within(START_TIMEOUT, sender.send(id, &request)).await.map_err(|_| Failure::Unresponsive)??;
    if std::io::stdin().is_terminal() {
        match &input {
            _ if tty => terminal::make_raw()?,
            Input::Keys(_) => terminal::make_keyed(false)?,
            Input::Forwarded { keys: Some(_), .. } => terminal::make_keyed(true)?,
            Input::Forwarded { keys: None, .. } | Input::Empty | Input::Unread => {}
        }
    }
    let (acknowledged, acks) = watch::channel(0u64);
    let (output, written) = OutputWriter::start();
    let (signals_out, signals) = mpsc::channel(QUEUED_SIGNALS_MAX);
    let (unanswered_in, unanswered) = watch::channel(Unanswered::None);
    let _signals = interrupts::hold();
    signals::forward(tty, policy, signals_out, unanswered_in.clone());
    let mut sending = tokio::spawn(input::send(sender, Session { id, tty, input, acks, written, signals }));
    let receiving = receive(receiver, &output, &acknowledged, &unanswered_in);
    let deadline = tokio::time::sleep(timeout.unwrap_or(Duration::MAX));
    // A blocked reader of the output delays neither limit. The guest ends the command when its client leaves.
    let ended = tokio::select! {
        ended = receiving => ended.map(Ended::Exited),
        () = deadline, if timeout.is_some() => return Ok(Ended::Exited(TIMED_OUT)),
        signal = signals::overdue(unanswered) => return Ok(Ended::Exited(128 + signal)),
        () = input::detached(&mut sending) => return Ok(Ended::Detached),
    };
    // From here on a signal ends msb, because the command has ended.
    sending.abort();
    output.finish().await;
    ended
}

/// Handles messages of the guest until the command has ended. Returns its exit code.
async fn receive(
    mut receiver: AgentReceiver,
    output: &OutputWriter,
    acknowledged: &watch::Sender<u64>,
    unanswered: &watch::Sender<Unanswered>,
) -> Result<i32, Failure> {
    let mut start_deadline = Instant::now().checked_add(START_TIMEOUT);
    loop {
        let next = tokio::select! {
            // Received messages take precedence over the deadline.
            biased;
            next = receiver.next() => next?,
            () = until(start_deadline) => return Err(Failure::Unresponsive),
        };
        match next {
            Some((_, Message::ExecStarted(_) | Message::JobAttached(_))) => start_deadline = None,
            Some((_, Message::JobOutputSkipped(skipped))) => {
                let note = format!("[msb: {} bytes were not read in time]\r\n", skipped.bytes);
                output.write(Stream::Stderr, note.into_bytes()).await;
            }
            Some((_, Message::ExecStdout(piece))) => output.write(Stream::Stdout, piece.data).await,
            Some((_, Message::ExecStderr(piece))) => output.write(Stream::Stderr, piece.data).await,
            Some((_, Message::ExecStdinAck(ack))) => {
                acknowledged.send_replace(ack.bytes);
            }
            Some((_, Message::Pong(_))) => {
                unanswered.send_replace(None);
            }
            Some((_, Message::ExecExited(exited))) => return Ok(exited.code),
            Some((_, Message::ExecFailed(failed))) => {
                terminal::restore();
                print_error(&failed.message);
                return Ok(failed.kind.exit_code());
            }
            Some((_, Message::Error(report))) => return Err(CliError::new(report.message).into()),
            Some(_) => {}
            None => return Err(CliError::new("the sandbox ended before the command did").into()),
        }
    }
}
