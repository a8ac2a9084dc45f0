//! The thread that serves all intercepted connections of a sandbox.

use crate::authority::{Authority, Leaves};
use crate::clock::{Clock, SystemClock};
use crate::connection;
use crate::event::{EventSink, Events};
use crate::rules::{Rules, Shared};
use crate::upstream::HostRoots;
use ::rules::rule::DomainName;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// The time that blocking work has to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection of the guest that is intercepted.
#[derive(Debug)]
pub struct Connection {
    /// The proxy's end of the connection with the guest. It is non-blocking.
    pub guest: TcpStream,
    /// A connection with the server. It is non-blocking.
    pub upstream: TcpStream,
    /// The server's address, as the guest sees it.
    pub remote: SocketAddr,
    /// The names of that address, as the sandbox resolved them.
    pub names: Arc<[DomainName]>,
    /// The protocol of the port.
    pub kind: Protocol,
}

/// The protocol that is intercepted at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS.
    Tls,
    /// HTTP without TLS, for secrets that do not require TLS.
    PlainHttp,
}

/// The settings of an interceptor.
pub struct Settings {
    /// The authority that issues the certificates that the guest sees.
    pub authority: Authority,
    /// The rules.
    pub rules: Rules,
    /// Receives the events.
    pub on_event: EventSink,
    /// The time, for certificates.
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// Settings with the clock of the machine.
    pub fn new(authority: Authority, rules: Rules, on_event: EventSink) -> Self {
        Self { authority, rules, on_event, clock: Arc::new(SystemClock) }
    }
}

/// The proxy of a sandbox. It has one thread, which ends when this is dropped.
pub struct Interceptor {
    shared: Arc<Shared>,
    /// `None` ends the thread.
    connections: mpsc::UnboundedSender<Option<Connection>>,
    thread: Option<JoinHandle<()>>,
}

/// Hands connections to an interceptor.
#[derive(Clone)]
pub struct Handle {
    connections: mpsc::UnboundedSender<Option<Connection>>,
}

impl Interceptor {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started or the key of the certificates not be made.
    pub fn start(settings: Settings) -> io::Result<Self> {
        Self::start_with_roots(settings, HostRoots::default())
    }

    pub(crate) fn start_with_roots(settings: Settings, roots: HostRoots) -> io::Result<Self> {
        let Settings { authority, rules, on_event, clock } = settings;
        let leaves = Leaves::new(authority, Arc::clone(&clock))?;
        let shared = Arc::new(Shared::new(leaves, Events::new(on_event), clock, roots, rules));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        // Unbounded: each connection counts as a flow of the network, which limits them.
        let (connections, mut queue) = mpsc::unbounded_channel::<Option<Connection>>();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("intercept".to_owned()).spawn(move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                while let Some(Some(connection)) = queue.recv().await {
                    tokio::task::spawn_local(connection::serve(Arc::clone(&serving), connection));
                }
            });
            // Ends all connections.
            drop(tasks);
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        })?;
        Ok(Self { shared, connections, thread: Some(thread) })
    }

    /// Returns a handle for the network.
    pub fn handle(&self) -> Handle {
        Handle { connections: self.connections.clone() }
    }

    /// Replaces the rules. Connections that exist keep what was decided when they began: whether they are intercepted,
    /// and by which CAs the server was verified. Their next requests have the new secrets.
    pub fn set_rules(&self, rules: Rules) {
        self.shared.set_rules(rules);
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        // The thread has ended already if the receiver is gone.
        let _ = self.connections.send(None);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of TLS interception panicked");
        }
    }
}

impl Handle {
    /// Serves a connection. After the interceptor has ended, the connection is closed.
    pub fn intercept(&self, connection: Connection) {
        let _ = self.connections.send(Some(connection));
    }
}
