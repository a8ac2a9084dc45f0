//! Sending: the input, signals and acknowledgements of a session.

use super::detach_keys::DetachFilter;
use super::terminal;
use executor_client::agent::AgentSender;
use protocol::latest::{
    ExecOutputAck, ExecResize, ExecSignal, ExecStdin, Message, OUTPUT_WINDOW_BYTES, Ping, STDIN_WINDOW_BYTES,
};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Maximum size of a message of stdin, in bytes.
const STDIN_CHUNK_BYTES: usize = 32 * 1024;

/// The use of this process's standard input.
#[derive(Debug)]
pub enum Input {
    /// It is not read, and the command has no input.
    Empty,
    /// It is not read, and the input of the job is left as it is.
    Unread,
    /// It is read for the keys that detach only.
    Keys(DetachFilter),
    /// It is the input of the command.
    Forwarded {
        /// Whether its end is the end of the command's input.
        with_end: bool,
        /// The keys that detach, if any do.
        keys: Option<DetachFilter>,
    },
}

/// The state of the sending half of a session.
pub struct Session {
    pub id: u32,
    pub tty: bool,
    pub input: Input,
    /// Input that the command has read, in bytes.
    pub acks: watch::Receiver<u64>,
    /// Output that has been written here, in bytes.
    pub written: watch::Receiver<u64>,
    /// Signals for the command.
    pub signals: mpsc::Receiver<i32>,
}

/// The reason for the end of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendingEnd {
    /// The keys that detach were typed.
    Detached,
    /// The session has ended.
    Closed,
}

/// Waits until the keys that detach are typed.
pub async fn detached(sending: &mut JoinHandle<SendingEnd>) {
    if !matches!(sending.await, Ok(SendingEnd::Detached)) {
        std::future::pending().await
    }
}

impl Input {
    fn is_read(&self) -> bool {
        matches!(self, Self::Keys(_) | Self::Forwarded { .. })
    }

    /// Takes what was read, at its end nothing. Returns the input for the command, whether the end is to be forwarded
    /// too, and whether to detach.
    fn take(&mut self, read: &[u8]) -> (Vec<u8>, bool, bool) {
        match self {
            Self::Empty | Self::Unread => (Vec::new(), false, false),
            Self::Keys(keys) => (Vec::new(), false, keys.feed(read).1),
            Self::Forwarded { with_end, keys: None } => (read.to_vec(), *with_end && read.is_empty(), false),
            Self::Forwarded { with_end, keys: Some(keys) } if read.is_empty() => {
                (keys.finish(), *with_end, false)
            }
            Self::Forwarded { keys: Some(keys), .. } => {
                let (input, detaches) = keys.feed(read);
                (input, false, detaches)
            }
        }
    }
}

/// Sends stdin, signals, the terminal's size and acknowledgements while the command runs.
pub async fn send(sender: AgentSender, session: Session) -> SendingEnd {
    // A failure means that the session has ended.
    send_all(sender, session).await.unwrap_or(SendingEnd::Closed)
}

async fn send_all(mut sender: AgentSender, session: Session) -> Option<SendingEnd> {
    let Session { id, tty, mut input, mut acks, mut written, mut signals } = session;
    let mut resizes = signal(SignalKind::window_change()).ok()?;
    if matches!(input, Input::Empty) {
        sender.send(id, &ExecStdin { data: Vec::new() }.into()).await.ok()?;
    }
    let mut open = input.is_read();
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; STDIN_CHUNK_BYTES];
    let (mut sent, mut acknowledged) = (0u64, 0u64);
    loop {
        let window_open = sent.saturating_sub(*acks.borrow()) < STDIN_WINDOW_BYTES as u64;
        let message: Message = tokio::select! {
            read = stdin.read(&mut buffer), if open && window_open => {
                let count = read.unwrap_or(0);
                open = count > 0;
                let (data, with_end, detaches) = input.take(&buffer[..count]);
                sent += data.len() as u64;
                if !data.is_empty() {
                    sender.send(id, &ExecStdin { data }.into()).await.ok()?;
                }
                if detaches {
                    return Some(SendingEnd::Detached);
                }
                if !with_end {
                    continue;
                }
                ExecStdin { data: Vec::new() }.into()
            }
            changed = acks.changed(), if !window_open => {
                changed.ok()?;
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
                let ping = sender.next_id().ok()?;
                sender.send(id, &ExecSignal { signal }.into()).await.ok()?;
                sender.send(ping, &Ping {}.into()).await.ok()?;
                continue;
            }
            _ = resizes.recv(), if tty => {
                let (rows, cols) = terminal::size();
                ExecResize { rows, cols }.into()
            }
        };
        sender.send(id, &message).await.ok()?;
    }
}
