//! The upstream proxy of a sandbox: how a connection to another machine is opened through it.
//!
//! The policy has decided by then. The proxy connects, and where it is told a name, it resolves it, too.

mod connector;
mod handshake;

pub(crate) use connector::{Connector, PendingTunnel};
#[cfg(any(test, fuzzing))]
pub(crate) use handshake::{Handshake, Next};

use rules::proxy::ProxyUrl;
use rules::rule::DomainName;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The time limit of a connection to the proxy, over all of its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit of the proxy's answers, in which it connects to the server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The password of a proxy, in memory that its owner protects. Copies of it share that memory.
#[derive(Clone)]
pub struct Password(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Password {
    /// Takes a password.
    pub fn new(password: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(password))
    }

    /// Returns its bytes.
    pub fn as_slice(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Password {}

/// Without the password.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A proxy with the password of its user.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UpstreamProxy {
    /// Its URL, with the user.
    pub(crate) url: ProxyUrl,
    /// The password; used only if the URL has a user.
    pub(crate) password: Option<Password>,
}

/// Without the password.
impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, password: _ } = self;
        f.debug_struct("UpstreamProxy").field("url", url).finish_non_exhaustive()
    }
}

/// The destination that the proxy is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The address that the sandbox connects to.
    Address(SocketAddr),
    /// The name that the sandbox resolved to it, and the port. The proxy resolves it again.
    Name(DomainName, u16),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// The reason why a proxy opens no connection, as a verb phrase that follows its URL, with the next step. It contains no
/// text of the proxy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyFailure {
    /// Its name has no address.
    #[error("cannot be found: {0}: check its name")]
    Unresolved(io::Error),
    /// It accepts no connection.
    #[error("cannot be reached: {0}: check its address, and whether it runs")]
    Unreachable(io::Error),
    /// It accepts no connection in time.
    #[error("cannot be reached within {} s: check its address, and whether it runs", CONNECT_TIMEOUT.as_secs())]
    ConnectTimedOut,
    /// It does not answer in time.
    #[error("did not open the connection within {} s: check whether it reaches the server", ANSWER_TIMEOUT.as_secs())]
    AnswerTimedOut,
    /// It closes the connection instead of an answer.
    #[error("closed the connection without an answer: check the kind of proxy in its URL")]
    Closed,
    /// The connection to it fails.
    #[error("broke the connection off: {0}: check whether it runs")]
    Broken(io::Error),
    /// It answers in another protocol.
    #[error("does not answer as its URL says: check the kind of proxy and the port in it")]
    Malformed,
    /// It asks for a user.
    #[error("asks for a user and a password: write `http://USER@…` or `socks5://USER@…`, and `password`")]
    NeedsCredentials,
    /// It refuses the user or the password.
    #[error("refuses the user or the password: check both in `proxy`")]
    WrongCredentials,
    /// The password is too long for SOCKS5.
    #[error("cannot be told the password, which is longer than the 255 bytes of SOCKS5: use another one")]
    PasswordTooLong,
    /// It refuses to connect, by HTTP.
    #[error("refuses the connection with status {status}: {}", status_step(*status))]
    Status {
        /// The status code.
        status: u16,
    },
    /// It refuses to connect, by SOCKS5.
    #[error("refuses the connection: {}", reply_text(*reply))]
    Reply {
        /// The reply code.
        reply: u8,
    },
    /// This host has no thread or descriptor left for the connection.
    #[error("was not asked: this host has no resources left for it: close other connections")]
    NoResources,
}

fn status_step(status: u16) -> &'static str {
    match status {
        403 => {
            "it forbids this server: ask its administrator, or name the server in an `allow` rule, as it may want names"
        }
        502..=504 => "it does not reach the server: check that the server is up",
        405 | 501 => "it does not connect to this port: check whether it allows CONNECT",
        _ => "its log has the reason",
    }
}

fn reply_text(reply: u8) -> &'static str {
    match reply {
        2 => "its rules forbid this server: ask its administrator",
        3 => "the server's network is unreachable from it: check that the server is up",
        4 => "the server is unreachable from it: check that the server is up",
        5 => "the server refuses it: check that the server is up",
        6 => "the server does not answer it: check that the server is up",
        7 => "it does not support CONNECT: use another proxy",
        8 => {
            "it does not support addresses of this kind: use another proxy, or name the server in an `allow` rule"
        }
        _ => "its log has the reason",
    }
}
