//! A command in a sandbox with this terminal's streams: what `exec` and `run` share.

pub mod terminal;
pub mod unresponsive;

mod output;
mod signals;

use crate::apply::interrupts;
use crate::error::CliError;
use crate::output::{eprintln_lossy, escape_controls};
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

/// What is to run, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The program and its command.
    pub words: Vec<String>,
    /// `NAME=VALUE`, beside the sandbox's own.
    pub env: Vec<String>,
    /// Its working directory.
    pub workdir: Option<String>,
    /// Its user and group.
    pub user: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its input is empty, and this process's is left alone.
    pub no_stdin: bool,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Command {
    /// What the agent is asked for.
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

/// What `timeout` exits with, too.
const TIMED_OUT: i32 = 124;
/// How much of stdin travels in one message, in bytes.
const STDIN_CHUNK_BYTES: usize = 32 * 1024;
/// Signals that wait for the guest to take them.
const SIGNALS: usize = 4;

/// Why there is no exit code.
enum Failure {
    /// The guest does not answer.
    Silent,
    /// Anything else.
    Other(CliError),
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        if unresponsive::is_silence(&error) { Self::Silent } else { Self::Other(error.into()) }
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

/// Runs a command in the sandbox of this name to its end, streams in and out; gives its exit code.
pub fn run(folder: &RunFolder, name: &str, command: &Command) -> Result<i32, CliError> {
    let event_loop = crate::commands::event_loop()?;
    let ended = event_loop.block_on(async {
        let client = AgentClient::connect(&folder.agent_socket()).await?;
        run_session(client, command).await
    });
    terminal::restore();
    let ended = ended.map_err(|failure| match failure {
        Failure::Silent => event_loop.block_on(unresponsive::explain(folder, name)),
        Failure::Other(failure) => failure,
    });
    // The thread that reads stdin may be in a read that nothing ends: it is not waited for.
    event_loop.shutdown_background();
    ended
}

async fn run_session(client: AgentClient, command: &Command) -> Result<i32, Failure> {
    let (mut sender, receiver) = client.into_split();
    let id = sender.next_id()?;
    let request = ExecRequest { stdin_acks: true, output_acks: true, ..command.request() };
    within(START_TIMEOUT, sender.send(id, &request.into())).await.map_err(|_| Failure::Silent)??;
    if command.tty && std::io::stdin().is_terminal() {
        terminal::make_raw()?;
    }
    let (acknowledged, acks) = watch::channel(0u64);
    let (output, takes) = OutputWriter::start();
    let (signals_out, signals) = mpsc::channel(SIGNALS);
    let (unanswered_in, unanswered) = watch::channel(Unanswered::None);
    let _signals = interrupts::take_over();
    signals::forward(command.tty, signals_out, unanswered_in.clone());
    let session = Session { id, tty: command.tty, open: !command.no_stdin, acks, takes, signals };
    let sending = tokio::spawn(send_input(sender, session));
    let conversation = hear(receiver, &output, &acknowledged, &unanswered_in);
    let deadline = tokio::time::sleep(command.timeout.unwrap_or(Duration::MAX));
    // Whoever does not read the output holds up neither of the two limits. The guest ends a session whose client
    // leaves, so the command is ended as well.
    let ended = tokio::select! {
        ended = conversation => ended,
        () = deadline, if command.timeout.is_some() => return Ok(TIMED_OUT),
        signal = signals::overdue(unanswered) => return Ok(128 + signal),
    };
    // From here on a signal ends msb: the command hears none any more.
    sending.abort();
    output.finish().await;
    ended
}

/// Hears what the guest says, until the command has ended.
async fn hear(
    mut receiver: AgentReceiver,
    output: &OutputWriter,
    acknowledged: &watch::Sender<u64>,
    unanswered: &watch::Sender<Unanswered>,
) -> Result<i32, Failure> {
    let mut start_deadline = Instant::now().checked_add(START_TIMEOUT);
    loop {
        let next = tokio::select! {
            // What has come already goes before the deadline.
            biased;
            next = receiver.next() => next?,
            () = until(start_deadline) => return Err(Failure::Silent),
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
                eprintln_lossy(&format!("error: {}", escape_controls(&failed.message)));
                return Ok(failed.kind.exit_code());
            }
            Some((_, Message::Error(report))) => {
                return Err(CliError::new(escape_controls(&report.message)).into());
            }
            Some(_) => {}
            None => return Err(CliError::new("the sandbox ended before the command did").into()),
        }
    }
}

/// What the sending half needs to know of its session.
struct Session {
    id: u32,
    tty: bool,
    /// Whether there is input to be sent.
    open: bool,
    /// How much input the command has taken, in bytes.
    acks: watch::Receiver<u64>,
    /// How much output has been written out here, in bytes.
    takes: watch::Receiver<u64>,
    /// Signals for the command.
    signals: mpsc::Receiver<i32>,
}

/// Sends stdin, signals, the terminal's size and acknowledgements, for as long as the command runs.
async fn send_input(mut sender: AgentSender, session: Session) {
    let Session { id, tty, mut open, mut acks, mut takes, mut signals } = session;
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
            Ok(()) = takes.changed() => {
                let taken = *takes.borrow_and_update();
                if taken - acknowledged < OUTPUT_WINDOW_BYTES / 4 {
                    continue;
                }
                acknowledged = taken;
                ExecOutputAck { bytes: taken }.into()
            }
            Some(signal) = signals.recv() => {
                // The guest does in order what it is told: who answers the ping has taken the signal.
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
