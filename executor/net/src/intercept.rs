//! The border to a proxy that intercepts connections of the guest.

use rules::rule::DomainName;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Which connections of the guest to other machines and to the host a proxy takes over.
pub struct Interception {
    /// The ports at which TLS is intercepted. TLS without a server name is refused there, and so is UDP.
    pub tls_ports: BTreeSet<u16>,
    /// The ports at which plain HTTP is intercepted.
    pub http_ports: BTreeSet<u16>,
    /// Called for each connection after the rules have allowed it and the server has accepted it. Must not block.
    pub take_over: TakeOver,
}

/// Callback for connections to take over.
pub type TakeOver = Box<dyn FnMut(Intercepted) + Send>;

/// A connection to take over.
#[derive(Debug)]
pub struct Intercepted {
    /// The proxy's end of the guest's side. It is non-blocking.
    pub guest: TcpStream,
    /// The connection to the server. It is non-blocking.
    pub upstream: TcpStream,
    /// The server's address, as the guest sees it.
    pub remote: SocketAddr,
    /// The names of that address, as far as the sandbox resolved them.
    pub names: Arc<[DomainName]>,
    /// What is intercepted on its port.
    pub protocol: InterceptedProtocol,
}

/// What is intercepted on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterceptedProtocol {
    /// TLS.
    Tls,
    /// HTTP without TLS.
    Http,
}

impl Interception {
    /// What is intercepted on a port; `None` for nothing.
    pub(crate) fn protocol(&self, port: u16) -> Option<InterceptedProtocol> {
        if self.tls_ports.contains(&port) {
            Some(InterceptedProtocol::Tls)
        } else if self.http_ports.contains(&port) {
            Some(InterceptedProtocol::Http)
        } else {
            None
        }
    }
}

impl fmt::Debug for Interception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls_ports, http_ports, take_over: _ } = self;
        f.debug_struct("Interception").field("tls_ports", tls_ports).field("http_ports", http_ports).finish()
    }
}
