//! The handle of a running stack: its commands, and how its end is noticed.

use super::Worker;
use super::tunnels::Tunnel;
use super::{Settings, wake_up};
use crate::proxy::Password;
use crate::published::BoundPort;
use rustix::event::{EventfdFlags, eventfd};
use schemas::spec::{Network, Port};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The timeout of a command, including the work that the thread has begun.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Callback for the failure of a stack whose VM is still running, with the reason. Called at most once.
pub type OnFailure = Box<dyn FnOnce(String) + Send>;

/// The stack cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the network")]
pub struct StackError(#[from] io::Error);

/// A command to a running stack failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The stack has ended.
    #[error("the network of the sandbox has ended: restart the sandbox")]
    Ended,
    /// The stack did not answer.
    #[error("the network of the sandbox did not answer within {} s: try again, or restart the sandbox", COMMAND_TIMEOUT.as_secs())]
    TimedOut,
    /// The stack could not carry the command out.
    #[error("the network of the sandbox cannot apply the change")]
    Failed(#[source] io::Error),
}

/// A running stack. Dropping it closes every connection.
#[derive(Debug)]
pub struct Stack {
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the thread is about to end.
    ended: mpsc::Receiver<()>,
}

/// The result of a command.
pub(super) type Done = mpsc::Sender<io::Result<()>>;

pub(super) enum Command {
    Rules {
        network: Network,
        proxy_password: Option<Password>,
        done: Done,
    },
    Tunnel(Tunnel),
    Publish(Vec<BoundPort>, Done),
    Unpublish(BTreeSet<Port>, Done),
    TcpAnswer {
        bytes: Option<Vec<u8>>,
        question: Box<hickory_proto::op::Message>,
        client: crate::dns::Client,
    },
    End,
    #[cfg(test)]
    Pin(std::net::IpAddr, rules::rule::DomainName),
}

impl Stack {
    /// Starts serving a VM whose network link ends at `link`.
    ///
    /// # Errors
    ///
    /// If the host refuses a descriptor or a thread.
    pub fn start(link: OwnedFd, mut settings: Settings) -> Result<Self, StackError> {
        let (commands, incoming) = mpsc::channel();
        let (alive, ended) = mpsc::channel();
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(io::Error::from)?;
        let wake = Arc::new(wake);
        let on_failure = std::mem::replace(&mut settings.on_failure, Box::new(|_| ()));
        let mut worker = Worker::new(link, settings, commands.clone(), wake.clone())?;
        let serve = move || {
            let end = catch_unwind(AssertUnwindSafe(|| worker.run(&incoming)));
            // Callers that wait for a result must not wait any longer.
            drop((incoming, alive));
            let why = match end {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("its thread panicked, which is a bug in msb".to_owned()),
            };
            if let Some(why) = why {
                tracing::error!("the network has failed: {why}");
                on_failure(why);
            }
        };
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn(serve)?;
        Ok(Self { commands, wake, thread: Some(thread), ended })
    }

    /// Replaces the rules and the proxy, and closes connections that the new ones forbid or lead elsewhere, before it
    /// returns.
    ///
    /// # Errors
    ///
    /// If the stack has ended, does not answer, or the host has no thread for the proxy.
    pub fn set_rules(&self, network: Network, proxy_password: Option<Password>) -> Result<(), CommandError> {
        self.execute(|done| Command::Rules { network, proxy_password, done })
    }

    /// Publishes further ports.
    ///
    /// # Errors
    ///
    /// If the stack has ended, does not answer, or cannot watch the sockets.
    pub fn publish(&self, ports: Vec<BoundPort>) -> Result<(), CommandError> {
        self.execute(|done| Command::Publish(ports, done))
    }

    /// Unpublishes ports and closes their connections. The ports are free when it returns.
    ///
    /// # Errors
    ///
    /// If the stack has ended or does not answer.
    pub fn unpublish(&self, ports: BTreeSet<Port>) -> Result<(), CommandError> {
        self.execute(|done| Command::Unpublish(ports, done))
    }

    #[cfg(test)]
    pub(super) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
        wake_up(&self.wake);
    }

    fn execute(&self, command: impl FnOnce(Done) -> Command) -> Result<(), CommandError> {
        let (done, is_done) = mpsc::channel();
        self.commands.send(command(done)).map_err(|_| CommandError::Ended)?;
        wake_up(&self.wake);
        match is_done.recv_timeout(COMMAND_TIMEOUT) {
            Ok(done) => done.map_err(CommandError::Failed),
            Err(RecvTimeoutError::Disconnected) => Err(CommandError::Ended),
            Err(RecvTimeoutError::Timeout) => Err(CommandError::TimedOut),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::End);
        wake_up(&self.wake);
        let ended = self.ended.recv_timeout(COMMAND_TIMEOUT) == Err(RecvTimeoutError::Disconnected);
        match self.thread.take() {
            Some(thread) if ended => _ = thread.join(),
            // It still has the link and the ports, but waiting for it would block everything else.
            _ => tracing::error!("the network thread does not end and is abandoned"),
        }
    }
}
