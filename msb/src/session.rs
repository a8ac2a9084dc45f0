//! A command in a sandbox with this terminal's streams: what `exec` and `run` share.

use crate::error::{CliError, Exit};
use crate::output::{eprintln_lossy, escape_controls};
use crate::terminal;
use executor::agent::{AgentClient, AgentSender};
use executor::home::RunFolder;
use schemas::protocol::latest::{
    ExecOutputAck, ExecRequest, ExecResize, ExecSignal, ExecStdin, Message, OUTPUT_WINDOW_BYTES,
    STDIN_WINDOW_BYTES,
};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

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
/// Pieces of output that wait to be written. Few, because only an honest guest keeps to the window of
/// acknowledgements, and a piece may have megabytes.
const OUTPUT_PIECES: usize = 16;
/// `SIGKILL`.
const SIGKILL: i32 = 9;

/// Runs a command to its end, streams in and out; gives its exit code.
pub fn run(folder: &RunFolder, command: &Command) -> Result<i32, CliError> {
    let event_loop = crate::commands::event_loop()?;
    let ended = event_loop.block_on(async {
        let client = AgentClient::connect(&folder.agent_socket()).await?;
        converse(client, command).await
    });
    // The thread that reads stdin may be in a read that nothing ends: it is not waited for.
    event_loop.shutdown_background();
    terminal::restore();
    ended
}

async fn converse(client: AgentClient, command: &Command) -> Result<i32, CliError> {
    let (mut sender, mut receiver) = client.into_split();
    let id = sender.next_id()?;
    let request = ExecRequest { stdin_acks: true, output_acks: true, ..command.request() };
    sender.send(id, &request.into()).await?;
    if command.tty && std::io::stdin().is_terminal() {
        terminal::make_raw()?;
    }
    let (acknowledged, acks) = watch::channel(0u64);
    let (output, takes) = OutputWriter::start();
    let (signals_out, signals) = mpsc::channel(4);
    tokio::spawn(forward_signals(signals_out));
    tokio::spawn(send_input(sender, Session { id, tty: command.tty, acks, takes, signals }));
    let deadline = tokio::time::sleep(command.timeout.unwrap_or(Duration::MAX));
    tokio::pin!(deadline);
    let conversation = async {
        loop {
            match receiver.next().await? {
                Some((_, Message::ExecStdout(piece))) => output.write(Stream::Stdout, piece.data).await,
                Some((_, Message::ExecStderr(piece))) => output.write(Stream::Stderr, piece.data).await,
                Some((_, Message::ExecStdinAck(ack))) => {
                    acknowledged.send_replace(ack.bytes);
                }
                Some((_, Message::ExecExited(exited))) => break Ok(exited.code),
                Some((_, Message::ExecFailed(failed))) => {
                    terminal::restore();
                    eprintln_lossy(&format!("error: {}", escape_controls(&failed.message)));
                    break Ok(failed.kind.exit_code());
                }
                Some((_, Message::Error(report))) => {
                    break Err(CliError::new(escape_controls(&report.message)));
                }
                Some(_) => {}
                None => break Err(CliError::new("the sandbox ended before the command did")),
            }
        }
    };
    let ended = tokio::select! {
        ended = conversation => ended,
        // Whoever does not read the output does not hold this up. The guest ends a session whose client
        // leaves, so the command is ended as well.
        () = &mut deadline, if command.timeout.is_some() => return Ok(TIMED_OUT),
    };
    output.finish().await;
    ended
}

/// Where output goes.
#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// Writes output on a thread of its own, so that a reader that is slow, or stopped, delays neither signals
/// nor time limits.
struct OutputWriter {
    queue: mpsc::Sender<(Stream, Vec<u8>)>,
    done: oneshot::Receiver<()>,
}

impl OutputWriter {
    /// Starts the thread; the receiver tells how many bytes have been written.
    fn start() -> (Self, watch::Receiver<u64>) {
        let (queue, mut pieces) = mpsc::channel::<(Stream, Vec<u8>)>(OUTPUT_PIECES);
        let (taken, takes) = watch::channel(0u64);
        let (finished, done) = oneshot::channel();
        std::thread::spawn(move || {
            while let Some((stream, data)) = pieces.blocking_recv() {
                match stream {
                    Stream::Stdout => write_all(&mut std::io::stdout().lock(), &data),
                    Stream::Stderr => write_all(&mut std::io::stderr().lock(), &data),
                }
                taken.send_modify(|taken| *taken += data.len() as u64);
            }
            let _ = finished.send(());
        });
        (Self { queue, done }, takes)
    }

    async fn write(&self, stream: Stream, data: Vec<u8>) {
        // The thread ends only when this does.
        let _ = self.queue.send((stream, data)).await;
    }

    /// Waits until all is written.
    async fn finish(self) {
        drop(self.queue);
        let _ = self.done.await;
    }
}

/// Writes output as it is. A reader that went away ends msb, and with it the command.
fn write_all(stream: &mut impl Write, data: &[u8]) {
    if let Err(error) = stream.write_all(data).and_then(|()| stream.flush()) {
        crate::output::leave_on(&error);
    }
}

/// Passes signals on to the command: first as they are; a second Ctrl-C as SIGKILL. A third Ctrl-C, or a
/// second SIGTERM, ends msb, even when the guest hangs.
async fn forward_signals(out: mpsc::Sender<i32>) {
    let (Ok(mut interrupts), Ok(mut terminations)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let (mut interrupted, mut terminated) = (0, 0);
    loop {
        let (signal, exit) = tokio::select! {
            _ = interrupts.recv() => {
                interrupted += 1;
                let signal = [SignalKind::interrupt().as_raw_value(), SIGKILL].get(interrupted - 1).copied();
                (signal, Exit::Interrupted)
            }
            _ = terminations.recv() => {
                terminated += 1;
                ((terminated == 1).then_some(SignalKind::terminate().as_raw_value()), Exit::Terminated)
            }
        };
        // What a command that has ended cannot hear ends msb as well.
        if signal.is_none_or(|signal| out.try_send(signal).is_err()) {
            terminal::restore();
            std::process::exit(exit as i32);
        }
    }
}

/// What the sending half needs to know of its session.
struct Session {
    id: u32,
    tty: bool,
    /// How much input the command has taken, in bytes.
    acks: watch::Receiver<u64>,
    /// How much output has been written out here, in bytes.
    takes: watch::Receiver<u64>,
    /// Signals for the command.
    signals: mpsc::Receiver<i32>,
}

/// Sends stdin, signals, the terminal's size and acknowledgements, for as long as the command runs.
async fn send_input(mut sender: AgentSender, session: Session) {
    let Session { id, tty, mut acks, mut takes, mut signals } = session;
    let Ok(mut resizes) = signal(SignalKind::window_change()) else { return };
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; STDIN_CHUNK_BYTES];
    let (mut sent, mut open, mut acknowledged) = (0u64, true, 0u64);
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
            Some(signal) = signals.recv() => ExecSignal { signal }.into(),
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
