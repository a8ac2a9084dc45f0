//! Sessions: commands in a sandbox with this process's streams, for `exec` and `run`.

pub mod terminal;
pub mod unresponsive;

mod output;
mod signals;

use crate::apply::interrupts;
use crate::error::CliError;
use crate::output::print_error;
use executor_client::agent::{AgentClient, AgentError, AgentReceiver, AgentSender};
use executor_client::deadline::{START_TIMEOUT, until, within};
use executor_host::home::RunFolder;
use output::{OutputWriter, Stream};
use protocol::latest::{
    ExecOutputAck, ExecRequest, ExecResize, ExecSignal, ExecStdin, Message, OUTPUT_WINDOW_BYTES, Ping,
    STDIN_WINDOW_BYTES,
};
use signals::Unanswered;
use std::io::IsTerminal;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
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
/// Maximum size of a message of stdin, in bytes.
const STDIN_CHUNK_BYTES: usize = 32 * 1024;
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

/// Runs a command in a sandbox with this process's streams. Returns its exit code.
///
/// # Errors
///
/// If the guest does not answer, or the sandbox ends before the command.
pub fn run(folder: &RunFolder, name: &str, command: &Command) -> Result<i32, CliError> {
    let event_loop = crate::commands::event_loop()?;
    let ended = event_loop.block_on(async {
        let client = AgentClient::connect(&folder.agent_socket()).await?;
        run_session(client, command).await
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

async fn run_session(client: AgentClient, command: &Command) -> Result<i32, Failure> {
    let (mut sender, receiver) = client.into_split();
    let id = sender.next_id()?;
    let request = ExecRequest { stdin_acks: true, output_acks: true, ..command.request() };
    within(START_TIMEOUT, sender.send(id, &request.into())).await.map_err(|_| Failure::Unresponsive)??;
    if command.tty && std::io::stdin().is_terminal() {
        terminal::make_raw()?;
    }
    let (acknowledged, acks) = watch::channel(0u64);
    let (output, written) = OutputWriter::start();
    let (signals_out, signals) = mpsc::channel(QUEUED_SIGNALS_MAX);
    let (unanswered_in, unanswered) = watch::channel(Unanswered::None);
    let _signals = interrupts::hold();
    signals::forward(command.tty, signals_out, unanswered_in.clone());
    let session = Session { id, tty: command.tty, open: !command.no_stdin, acks, written, signals };
    let sending = tokio::spawn(send_input(sender, session));
    let receiving = receive(receiver, &output, &acknowledged, &unanswered_in);
    let deadline = tokio::time::sleep(command.timeout.unwrap_or(Duration::MAX));
    // A blocked reader of the output delays neither limit. The guest ends the command when its client leaves.
    let ended = tokio::select! {
        ended = receiving => ended,
        () = deadline, if command.timeout.is_some() => return Ok(TIMED_OUT),
        signal = signals::overdue(unanswered) => return Ok(128 + signal),
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
            Some((_, Message::ExecStarted(_))) => start_deadline = None,
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

/// The state of the sending half of a session.
struct Session {
    id: u32,
    tty: bool,
    /// Whether stdin is open.
    open: bool,
    /// Input that the command has read, in bytes.
    acks: watch::Receiver<u64>,
    /// Output that has been written here, in bytes.
    written: watch::Receiver<u64>,
    /// Signals for the command.
    signals: mpsc::Receiver<i32>,
}

/// Sends stdin, signals, the terminal's size and acknowledgements while the command runs.
async fn send_input(mut sender: AgentSender, session: Session) {
    let Session { id, tty, mut open, mut acks, mut written, mut signals } = session;
    let Ok(mut resizes) = signal(SignalKind::window_change()) else { return };
    if !open && sender.send(id, &ExecStdin { data: Vec::new() }.into()).await.is_err() {
        return;
    }
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; STDIN_CHUNK_BYTES];
    let (mut sent, mut acknowledged) = (0u64, 0u64);
    loop {
        let window_open = sent.saturating_sub(*acks.borrow()) < STDIN_WINDOW_BYTES as u64;
        let message: Message = tokio::select! {
            read = stdin.read(&mut buffer), if open && window_open => {
                let count = read.unwrap_or(0);
                open = count > 0;
                sent += count as u64;
                ExecStdin { data: buffer[..count].to_vec() }.into()
            }
            changed = acks.changed(), if !window_open => {
                if changed.is_err() { return; }
                continue;
            }
            Ok(()) = written.changed() => {
                let bytes = *written.borrow_and_update();
                if bytes - acknowledged < OUTPUT_WINDOW_BYTES / 4 {
                    continue;
                }
                acknowledged = bytes;
                ExecOutputAck { bytes }.into()
            }
            Some(signal) = signals.recv() => {
                // The guest handles messages in order, so an answer to the ping acknowledges the signal.
                let Ok(ping) = sender.next_id() else { return };
                if sender.send(id, &ExecSignal { signal }.into()).await.is_err()
                    || sender.send(ping, &Ping {}.into()).await.is_err()
                {
                    return;
                }
                continue;
            }
            _ = resizes.recv(), if tty => {
                let (rows, cols) = terminal::size();
                ExecResize { rows, cols }.into()
            }
        };
        if sender.send(id, &message).await.is_err() {
            return;
        }
    }
}
