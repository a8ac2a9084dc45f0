//! The raw tier: frames over a sandbox's relay, whose CBOR is the caller's.

use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::files::Files;
use crate::guest::Guest;
use crate::link::Link;
use executor_client::agent::{CONNECT_TIMEOUT, RawStream};
pub use protocol::frame::{Flags, Frame, FrameDecoder};
pub use protocol::latest as messages;
pub use protocol::latest::{Envelope, Message, Ready};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A connection to one sandbox's relay.
///
/// Its requests are flags and a body; the client allots the ids. Encode a typed [`Message`] or an [`Envelope`] for the body,
/// or use [`cbor`](crate::cbor). The commands and files of a sandbox work on it too. A stream whose frames are not taken stops the
/// other streams of its client once 256 frames are queued. Dropping any call leaves the connection usable.
#[derive(Debug)]
pub struct AgentClient {
    path: PathBuf,
    link: Arc<Link>,
    guest: Arc<Guest>,
}

impl AgentClient {
    /// Connects to a relay's socket; waits for a booting guest, at most for 10 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotRunning`], [`Error::HandshakeFailed`] and [`Error::TimedOut`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Self::connect_with_timeout(path, CONNECT_TIMEOUT).await
    }

    /// Connects to a relay's socket within a timeout.
    ///
    /// # Errors
    ///
    /// As [`AgentClient::connect`].
    pub async fn connect_with_timeout(path: impl AsRef<Path>, timeout: Duration) -> Result<Self> {
        let path = path.as_ref();
        let link = Link::connect(path, timeout).await?;
        let guest = Guest::of_link(path.to_owned(), link.clone());
        Ok(Self { path: path.to_owned(), link, guest })
    }

    /// Connects to the relay of a sandbox.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`]; also as [`AgentClient::connect`].
    pub async fn connect_sandbox(client: &Client, name: &str) -> Result<Self> {
        Self::connect_sandbox_with_timeout(client, name, CONNECT_TIMEOUT).await
    }

    /// Connects to the relay of a sandbox within a timeout.
    ///
    /// # Errors
    ///
    /// As [`AgentClient::connect_sandbox`].
    pub async fn connect_sandbox_with_timeout(
        client: &Client,
        name: &str,
        timeout: Duration,
    ) -> Result<Self> {
        let path = Self::socket_path(client, name).await?;
        Self::connect_with_timeout(path, timeout).await.map_err(|error| error.about(name))
    }

    /// Returns the path of the socket of a sandbox, which is there while it runs.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn socket_path(client: &Client, name: &str) -> Result<PathBuf> {
        Ok(client.get(name).await?.details().agent_socket.clone())
    }

    /// Returns the path of the socket that it is connected to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the guest's `core.ready`.
    pub fn ready(&self) -> &Ready {
        self.link.raw.ready()
    }

    /// Returns the frame of `core.ready`, as it was received.
    pub fn ready_bytes(&self) -> &[u8] {
        self.link.raw.ready_bytes()
    }

    /// Returns the session ids of this client.
    pub fn ids(&self) -> Range<u32> {
        self.link.raw.ids()
    }

    /// Checks that the guest's agent has reported a feature, without asking it.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedOperation`].
    pub fn require(&self, feature: &str) -> Result<()> {
        if self.ready().features.iter().any(|known| known == feature) {
            return Ok(());
        }
        let version = self.ready().agent_version.as_deref().map(convert::text).unwrap_or_default();
        Err(Error::new("unsupported", format!("the sandbox's agent {version} does not support {feature:?}")))
    }

    /// Sends a body under a new id, and returns the first frame of the answer.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionLost`], [`Error::IdsExhausted`] and [`Error::Closed`].
    pub async fn request(&self, flags: Flags, body: &[u8]) -> Result<Frame> {
        let mut stream = self.stream(flags, body).await?;
        stream.next().await?.ok_or_else(|| Error::new("protocol-error", "the guest did not answer"))
    }

    /// Sends a typed message under a new id with its usual flags, and returns the first message of the answer.
    ///
    /// # Errors
    ///
    /// As [`AgentClient::request`], and [`Error::ProtocolError`].
    pub async fn call(&self, message: &Message) -> Result<Message> {
        let frame = message.encode(0).map_err(convert::message)?;
        let answer = self.request(frame.flags(), frame.body()).await?;
        Message::decode(&answer).map_err(convert::message)
    }

    /// Sends a body under a new id, and returns the stream of answers.
    ///
    /// # Errors
    ///
    /// As [`AgentClient::request`].
    pub async fn stream(&self, flags: Flags, body: &[u8]) -> Result<AgentStream> {
        let stream = self.link.raw.stream(flags, body).await.map_err(|error| self.link.error(&error))?;
        Ok(AgentStream { stream, link: self.link.clone() })
    }

    /// Sends one more body of a session.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the id is not one of this client; also as [`AgentClient::request`].
    pub async fn send(&self, id: u32, flags: Flags, body: &[u8]) -> Result<()> {
        if !self.ids().contains(&id) {
            return Err(Error::invalid(format!("the id {id} is not one of this client")));
        }
        self.link.raw.send(id, flags, body).await.map_err(|error| self.link.error(&error))
    }

    /// Returns a command of a program and its arguments, to await or to start.
    pub fn exec<A: Into<String>>(&self, cmd: impl Into<String>, args: impl IntoIterator<Item = A>) -> Exec {
        Exec::new(self.guest.clone(), cmd, args)
    }

    /// Returns a command that runs a script with `/bin/sh -c`, to await or to start.
    pub fn shell(&self, script: impl Into<String>) -> Exec {
        Exec::new(self.guest.clone(), "/bin/sh", ["-c".to_owned(), script.into()])
    }

    /// Returns the files of the guest.
    pub fn fs(&self) -> Files {
        Files::new(self.guest.clone())
    }

    /// Pings the guest's agent, and returns the time until the answer.
    ///
    /// # Errors
    ///
    /// As [`AgentClient::request`], and [`Error::Unresponsive`] after 20 seconds.
    pub async fn ping(&self) -> Result<Duration> {
        self.link.while_alive(self.link.ping()).await
    }

    /// Closes the connection; the relay ends the commands of its sessions. Later calls fail with [`Error::Closed`].
    pub async fn close(&self) {
        self.guest.close().await;
    }
}

/// The frames of one session, in order, up to the TERMINAL one. Dropping it forgets the session, whose later frames are
/// dropped; the guest is not told.
#[derive(Debug)]
pub struct AgentStream {
    stream: RawStream,
    link: Arc<Link>,
}

impl AgentStream {
    /// Returns the id of the session, for [`AgentClient::send`].
    pub fn id(&self) -> u32 {
        self.stream.id()
    }

    /// Returns the next frame; `None` after the TERMINAL one. A cancelled call loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionLost`] if the connection ends before that.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        self.stream.next().await.map_err(|error| self.link.error(&error))
    }
}
