//! HTTP servers of an [`Outside`](crate::outside::Outside), with TLS, in the process of the test. They record everything
//! that they receive.
//!
//! `tests/outside.py` listens at the addresses and passes the connections on, so that the records are at hand and a test
//! needs no other program.

mod authority;
mod http;
mod listener;
mod record;

pub use authority::TestCa;
pub use record::{Connection, Request};

use crate::wait::retry;
use record::Records;
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A server with TLS at ports 443 and 8443 of an address. At other ports, all addresses have plain HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Server<'a> {
    /// Its addresses, of those that `tests/outside.py` has.
    pub addresses: &'a [&'a str],
    /// The names of its certificate.
    pub names: &'a [&'a str],
    /// The issuer of its certificate.
    pub ca: &'a TestCa,
    /// The protocols that it offers.
    pub protocols: &'a [&'a str],
    /// Whether it demands a client certificate.
    pub demands_certificate: bool,
}

impl<'a> Server<'a> {
    /// A server with HTTP/2 and HTTP/1.1.
    pub fn new(addresses: &'a [&'a str], names: &'a [&'a str], ca: &'a TestCa) -> Self {
        Self { addresses, names, ca, protocols: &["h2", "http/1.1"], demands_certificate: false }
    }
}

/// Running servers. Dropping it ends them.
#[derive(Debug)]
pub struct Servers {
    records: Records,
    _stop: oneshot::Sender<()>,
}

impl Servers {
    /// Starts servers for the connections of the `Outside` with this directory, which is started later. They serve the
    /// files of its directory `files`.
    pub fn start(folder: &Path, servers: &[Server<'_>]) -> Self {
        std::fs::create_dir_all(folder).expect("a writable directory");
        let listener = UnixListener::bind(folder.join("servers")).expect("a new socket");
        let with_tls: BTreeMap<_, _> = servers
            .iter()
            .flat_map(|server| {
                let acceptor = TlsAcceptor::from(Arc::new(config(server)));
                server.addresses.iter().map(move |address| ((*address).to_owned(), acceptor.clone()))
            })
            .collect();
        let records = Records::new(&folder.join("files"));
        let recorded = records.clone();
        Self::run(records, async move { listener::serve(listener, &with_tls, &recorded).await })
    }

    /// Starts a server at a port of this host's loopback, with any addresses, and returns the port too.
    pub fn on_loopback(server: &Server<'_>) -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an unused port");
        let port = listener.local_addr().expect("a bound socket").port();
        let acceptor = TlsAcceptor::from(Arc::new(config(server)));
        // It has no files.
        let records = Records::new(Path::new("/nonexistent"));
        let recorded = records.clone();
        (Self::run(records, async move { listener::serve_port(listener, &acceptor, &recorded).await }), port)
    }

    fn run(records: Records, serve: impl Future<Output = io::Result<()>> + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a new runtime");
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    result = serve => result.expect("a socket of this process"),
                    _ = stopped => {}
                }
            });
        });
        Self { records, _stop: stop }
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.records.requests()
    }

    /// Returns all connections so far.
    pub fn connections(&self) -> Vec<Connection> {
        self.records.connections()
    }

    /// Returns the requests for a path.
    pub fn with_path(&self, path: &str) -> Vec<Request> {
        let path_of = |request: &Request| request.target.split('?').next().unwrap_or_default().to_owned();
        self.requests().into_iter().filter(|request| path_of(request) == path).collect()
    }

    /// Returns the only request for a path, when it is complete.
    pub fn request(&self, path: &str) -> Request {
        retry(|| {
            let mut found = self.with_path(path);
            match (found.pop(), found.is_empty()) {
                (Some(request), true) if request.is_complete => Ok(request),
                (Some(request), true) => Err(format!("the request is not complete: {request:#?}")),
                (found, _) => Err(format!("not one request for {path}: {found:#?}")),
            }
        })
    }

    /// Asserts that no server received a request for a path.
    pub fn never_saw(&self, path: &str) {
        let found = self.with_path(path);
        assert!(found.is_empty(), "{found:#?}");
    }

    /// Returns the names of the servers that received a text in any part of a request, or outside of requests.
    pub fn that_saw(&self, text: &str) -> Vec<String> {
        let saw = self.connections().into_iter().filter(|connection| connection.has(text));
        let mut names: Vec<_> = saw.map(|connection| connection.host()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns the reasons for which handshakes with the server at an address failed.
    pub fn failed_handshakes(&self, address: &str) -> Vec<String> {
        let connections = self.connections().into_iter().filter(|connection| connection.address == address);
        connections.filter_map(|connection| connection.failure).collect()
    }
}

fn config(server: &Server<'_>) -> ServerConfig {
    let (certificates, key) = server.ca.certificate_for(server.names);
    let builder = authority::server_builder();
    let builder = if server.demands_certificate {
        builder.with_client_cert_verifier(server.ca.client_verifier())
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(certificates, key).expect("a key of its certificate");
    config.alpn_protocols = server.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}
