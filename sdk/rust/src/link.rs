//! A connection to a sandbox's relay, which all commands of one guest share.

use crate::convert;
use crate::error::{Error, Result};
use crate::pool::Pool;
use executor_client::agent::{AgentError, RawAgentClient};
use protocol::latest::{Message, Ping, Pong, Touch, Touched};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The silence after which a guest that is waited for is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The timeout of the answer to a ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(15);
/// The most commands that are being started at the same time, each of which takes memory of the guest.
const STARTING_MAX: usize = 64;

/// A connection to a relay.
#[derive(Debug)]
pub(crate) struct Link {
    pub raw: RawAgentClient,
    pub starting: Semaphore,
    /// Connections for operations on files, of which each needs one of its own.
    pub files: Pool,
}

impl Link {
    /// Connects and waits for the handshake, which a booting guest delays.
    pub async fn connect(path: &Path, timeout: Duration) -> Result<Arc<Self>> {
        let raw = RawAgentClient::connect_with_timeout(path, timeout).await;
        let raw = raw.map_err(|error| convert::connecting(error, path))?;
        let files = Pool::new(PathBuf::from(path));
        Ok(Arc::new(Self { raw, starting: Semaphore::new(STARTING_MAX), files }))
    }

    /// Converts a failure on this connection, with the relay's reason if it has reported one.
    pub fn error(&self, error: &AgentError) -> Error {
        match (error, self.raw.reported_error()) {
            (AgentError::ReaderClosed, Some(report)) => {
                let why = convert::text(&report.message);
                Error::new("connection-lost", format!("the relay closed the connection: {why}"))
            }
            _ => convert::agent(error),
        }
    }

    /// Waits for an answer that may take long, as long as the guest answers pings meanwhile.
    pub async fn while_alive<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let silence = async {
            loop {
                tokio::time::sleep(PING_INTERVAL).await;
                match tokio::time::timeout(PONG_TIMEOUT, self.ping()).await {
                    // The answer ends with the connection too.
                    Ok(Err(_)) => std::future::pending().await,
                    Ok(Ok(_)) => {}
                    Err(_) => break,
                }
            }
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = silence => {
                let seconds = (PING_INTERVAL + PONG_TIMEOUT).as_secs();
                Err(Error::new("unresponsive", format!("the guest has not answered for {seconds} s")))
            }
        }
    }

    /// Pings the guest's agent, and returns the time until the answer.
    pub async fn ping(&self) -> Result<Duration> {
        let began = Instant::now();
        match self.request(&Ping {}.into()).await? {
            Message::Pong(Pong {}) => Ok(began.elapsed()),
            other => Err(unexpected(&other)),
        }
    }

    /// Counts as activity of the sandbox; returns the number of sessions and touches since the boot.
    pub async fn touch(&self) -> Result<u64> {
        match self.while_alive(self.request(&Touch {}.into())).await? {
            Message::Touched(Touched { activity_seq }) => Ok(activity_seq),
            other => Err(unexpected(&other)),
        }
    }

    async fn request(&self, message: &Message) -> Result<Message> {
        let mut stream = self.raw.open().map_err(|error| self.error(&error))?;
        let frame = message.encode(stream.id()).map_err(convert::message)?;
        self.raw.send_frame(frame).await.map_err(|error| self.error(&error))?;
        let answer = stream.next().await.map_err(|error| self.error(&error))?;
        let answer = answer.ok_or_else(|| Error::new("protocol-error", "the guest did not answer"))?;
        Message::decode(&answer).map_err(convert::message)
    }

    /// Ends the connection, and with it every command that was started on it.
    pub async fn close(&self) {
        self.files.close();
        self.raw.close().await;
    }
}

fn unexpected(message: &Message) -> Error {
    match message {
        Message::Error(report) => convert::refusal(report),
        other => {
            let kind = convert::text(other.message_type());
            Error::new("protocol-error", format!("the guest answered with {kind}"))
        }
    }
}
