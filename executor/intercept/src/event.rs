//! Events of the proxy, for the log of the sandbox.

use crate::substitute::Violation;
use crate::upstream::UpstreamError;
use http::Method;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Receives the events, on the thread of the proxy. It must not block.
pub type EventSink = Box<dyn FnMut(Event) + Send>;

/// An event. It never contains the value of a secret.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request had the placeholder of a secret that may not be sent to its host, or that cannot be replaced. It was
    /// refused.
    Violation {
        /// What the request contained, with the action that the receiver completes: to log it, or to stop the sandbox.
        violation: Violation,
        /// The host of the request.
        host: String,
        /// The method of the request.
        method: Method,
    },
    /// A connection or request was refused.
    Refused {
        /// The host of the connection: its name in TLS, or its address.
        host: String,
        /// The reason.
        reason: Reason,
    },
    /// A request could not be forwarded to the server, or its answer not read.
    UpstreamFailed {
        /// The host of the connection.
        host: String,
        /// The address of the server.
        remote: SocketAddr,
        /// The reason.
        reason: UpstreamError,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation { violation, host, method } => {
                write!(f, "refused {method} request to {host}: {violation}")
            }
            Self::Refused { host, reason } => write!(f, "refused request to {host}: {reason}"),
            Self::UpstreamFailed { host, remote, reason } => {
                write!(f, "cannot forward to {host} ({remote}): {reason}")
            }
        }
    }
}

/// The reason why a connection or a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The ClientHello is incomplete after the time limit, or too long, or no ClientHello.
    #[error("its TLS handshake is not valid: {0}")]
    Handshake(String),
    /// The ClientHello has no host name.
    #[error("its TLS handshake names no host")]
    NoServerName,
    /// The ClientHello offers protocols other than HTTP only.
    #[error(
        "it is for the protocol {0:?}, which is not HTTP; to let it through, name the host in `tls {{ bypass … }}`"
    )]
    Protocol(String),
    /// The request is for another host than the connection.
    #[error("the request is for {requested:?}, but the connection is for {host:?}")]
    Misdirected {
        /// The host of the request.
        requested: String,
        /// The host of the connection.
        host: String,
    },
    /// The request is not valid.
    #[error("the request is not valid: {0}")]
    Request(BadRequest),
    /// The request asks for a tunnel.
    #[error("CONNECT is not allowed in an intercepted connection")]
    Connect,
    /// The body of the request stopped arriving.
    #[error("the rest of the request's body did not arrive in time")]
    Stalled,
}

/// The fault of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// It has no host.
    #[error("it has no Host header")]
    NoHost,
    /// It has several hosts.
    #[error("it has more than one Host header")]
    SeveralHosts,
    /// Its host is not text that names a host.
    #[error("its Host header does not name a host")]
    Host,
    /// It has a transfer coding that cannot be forwarded.
    #[error("its Transfer-Encoding is not `chunked`")]
    TransferEncoding,
}

/// The sink of events, for all connections.
#[derive(Clone)]
pub(crate) struct Events(Arc<Mutex<EventSink>>);

impl Events {
    pub(crate) fn new(sink: EventSink) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }

    pub(crate) fn send(&self, event: Event) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink(event);
    }
}
