//! TLS towards servers: their certificates are verified with the roots of this host and with the CAs that the sandbox
//! adds.

mod error;

pub use error::{CertificateProblem, UpstreamError};

use crate::clock::{Clock, TlsClock};
use crate::rules::ExtraCa;
use rules::rule::DomainName;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The time limit of a handshake with a server.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The limit of servers whose TLS sessions are resumed.
const SESSIONS_MAX: usize = 256;

/// The roots that this host trusts. They are loaded at the first handshake.
#[derive(Default)]
pub(crate) struct HostRoots(OnceLock<RootCertStore>);

impl HostRoots {
    fn get(&self) -> &RootCertStore {
        self.0.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::debug!(%error, "a certificate of this machine cannot be read");
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            roots
        })
    }

    #[cfg(test)]
    pub(crate) fn of(roots: RootCertStore) -> Self {
        Self(OnceLock::from(roots))
    }
}

/// The settings of TLS towards servers, under one set of rules.
pub(crate) struct Upstreams {
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    roots: Arc<HostRoots>,
    cas: Vec<ExtraCa>,
    /// By the CAs that are added for a host.
    configs: Mutex<HashMap<Vec<usize>, Arc<ClientConfig>>>,
}

impl Upstreams {
    pub(crate) fn new(
        provider: Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
        roots: Arc<HostRoots>,
        cas: Vec<ExtraCa>,
    ) -> Self {
        Self { provider, clock, roots, cas, configs: Mutex::default() }
    }

    /// Performs the handshake with a server, and verifies its certificate.
    pub(crate) async fn connect<S>(
        self: &Arc<Self>,
        name: &DomainName,
        protocols: Vec<Vec<u8>>,
        stream: S,
    ) -> Result<Upstream<S>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let server_name = ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| UpstreamError::Name { host: name.to_string() })?;
        let matching = self.matching(name);
        let base = match self.known(&matching) {
            Some(config) => config,
            None => {
                let this = Arc::clone(self);
                // Reads files at the first time.
                let task = tokio::task::spawn_blocking(move || this.config(matching));
                let config = task.await.map_err(|_| UpstreamError::Stopped)?;
                config.map_err(|error| UpstreamError::settings(&error))?
            }
        };
        let mut config = ClientConfig::clone(&base);
        config.alpn_protocols = protocols;
        let handshake = TlsConnector::from(Arc::new(config)).connect(server_name, stream);
        let handshake = CERTIFICATE_REQUESTED.scope(Cell::new(false), async {
            let done = handshake.await;
            (done, CERTIFICATE_REQUESTED.with(Cell::get))
        });
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok((Ok(stream), certificate_requested)) => Ok(Upstream { stream, certificate_requested }),
            Ok((Err(error), certificate_requested)) => {
                Err(UpstreamError::of_handshake(name, &error, certificate_requested))
            }
            Err(_) => Err(UpstreamError::Timeout { seconds: HANDSHAKE_TIMEOUT.as_secs() }),
        }
    }

    /// The CAs that are added for a host.
    fn matching(&self, name: &DomainName) -> Vec<usize> {
        let is_for =
            |ca: &ExtraCa| ca.hosts.is_empty() || ca.hosts.iter().any(|pattern| pattern.matches(name));
        self.cas.iter().enumerate().filter(|(_, ca)| is_for(ca)).map(|(index, _)| index).collect()
    }

    fn known(&self, matching: &[usize]) -> Option<Arc<ClientConfig>> {
        self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(matching).cloned()
    }

    fn config(&self, matching: Vec<usize>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&matching) {
            return Ok(Arc::clone(config));
        }
        let mut roots = self.roots.get().clone();
        for index in &matching {
            roots.add_parsable_certificates(self.cas[*index].certificates.iter().cloned());
        }
        let config = Arc::new(self.build(roots)?);
        configs.insert(matching, Arc::clone(&config));
        Ok(config)
    }

    fn build(&self, roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
        let time = Arc::new(TlsClock(Arc::clone(&self.clock)));
        let builder = ClientConfig::builder_with_details(Arc::clone(&self.provider), time)
            .with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // One for all connections: sessions are resumed only with the resolver of the first.
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(config)
    }
}

/// A connection to a server after the handshake.
pub(crate) struct Upstream<S> {
    pub(crate) stream: TlsStream<S>,
    /// Whether the server asked for a certificate of the client, which has none.
    pub(crate) certificate_requested: bool,
}

tokio::task_local! {
    /// Whether the server of the current handshake asked for a certificate of the client.
    static CERTIFICATE_REQUESTED: Cell<bool>;
}

/// Has no certificate of the client, and notes that the server asked for one.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // A server can ask only during the handshake.
        let _ = CERTIFICATE_REQUESTED.try_with(|requested| requested.set(true));
        None
    }

    fn has_certs(&self) -> bool {
        // Without certificates, the resolver would not be called.
        true
    }
}
