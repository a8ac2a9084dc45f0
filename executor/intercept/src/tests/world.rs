//! A guest, an interceptor and servers with a CA of their own.

use crate::upstream::HostRoots;
use crate::{
    Authority, Connection, Event, Inject, Interceptor, Protocol, Reason, Rules, Secret, Settings, Value,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rules::rule::{DomainName, HostPattern};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use schemas::spec::OnViolation;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub(super) const HOST: &str = "api.example.org";
pub(super) const PLACEHOLDER: &str = "$MSB_TOKEN";
pub(super) const VALUE: &str = "s3cr3t-value-of-the-token";

/// The CA of the servers.
pub(super) struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: CertificateDer<'static>,
}

impl TestCa {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub(super) fn config(&self, protocols: &[&str]) -> ServerConfig {
        let (certificates, key) = self.certificate_for(&[HOST]);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub(super) fn certificate_for(
        &self,
        names: &[&str],
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn name(text: &str) -> DomainName {
    DomainName::new(text).unwrap()
}

pub(super) fn hosts(patterns: &[&str]) -> BTreeSet<HostPattern> {
    patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

/// A secret for [`HOST`] in headers and bodies.
pub(super) fn secret() -> Secret {
    Secret {
        name: "TOKEN".to_owned(),
        placeholder: PLACEHOLDER.to_owned(),
        value: Value::new(VALUE.as_bytes().to_vec()),
        hosts: hosts(&[HOST]),
        passthrough_hosts: BTreeSet::new(),
        on_violation: OnViolation::BlockAndLog,
        inject: Inject { headers: true, basic_auth: true, query: false, body: true, ..Inject::default() },
        require_tls: true,
    }
}

/// An interceptor whose host trusts the CA of the servers.
pub(super) struct World {
    pub(super) interceptor: Interceptor,
    pub(super) ca: TestCa,
    events: Arc<Mutex<Vec<Event>>>,
    own_ca: String,
    _folder: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Rules { secrets: vec![secret()], ..Rules::default() })
    }

    pub(super) fn with(rules: Rules) -> Self {
        let ca = TestCa::new();
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate.clone()).unwrap();
        Self::with_roots(rules, ca, roots)
    }

    pub(super) fn with_roots(rules: Rules, ca: TestCa, roots: RootCertStore) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(&folder.path().join("tls"), "test").unwrap();
        let own_ca = authority.certificate_pem().to_owned();
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        let on_event = Box::new(move |event| sink.lock().unwrap().push(event));
        let settings = Settings::new(authority, rules, on_event);
        let interceptor = Interceptor::start_with_roots(settings, HostRoots::of(roots)).unwrap();
        Self { interceptor, ca, events, own_ca, _folder: folder }
    }

    /// The events until now.
    pub(super) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// The reasons of the refusals until now.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        let reason = |event| match event {
            Event::Refused { reason, .. } => Some(reason),
            _ => None,
        };
        self.events().into_iter().filter_map(reason).collect()
    }

    /// A connection of the guest with a server, as the network hands it over.
    pub(super) async fn tcp(&self, server: SocketAddr, kind: Protocol, names: &[&str]) -> TcpStream {
        let (guest, connection) = connection(server, kind, names).await;
        self.interceptor.handle().intercept(connection);
        guest
    }

    /// TLS of the guest with [`HOST`], which offers some protocols.
    pub(super) async fn tls(
        &self,
        server: SocketAddr,
        protocols: &[&str],
    ) -> std::io::Result<client::TlsStream<TcpStream>> {
        self.tls_named(server, protocols, HOST, &[HOST]).await
    }

    pub(super) async fn tls_named(
        &self,
        server: SocketAddr,
        protocols: &[&str],
        sni: &str,
        names: &[&str],
    ) -> std::io::Result<client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.own_ca.as_bytes()).unwrap()).unwrap();
        let tcp = self.tcp(server, Protocol::Tls, names).await;
        handshake(tcp, roots, protocols, sni).await
    }
}

/// What connections share, without a thread.
pub(super) fn shared(rules: Rules) -> (Arc<crate::rules::Shared>, Arc<Mutex<Vec<Event>>>) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(folder.path(), "test").unwrap();
    let clock = Arc::new(crate::SystemClock);
    let leaves = crate::authority::Leaves::new(authority, clock.clone()).unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let sink = crate::event::Events::new(Box::new(move |event| sink.lock().unwrap().push(event)));
    let roots = HostRoots::of(RootCertStore::empty());
    (Arc::new(crate::rules::Shared::new(leaves, sink, clock, roots, rules)), events)
}

/// The TLS handshake of a client.
pub(super) async fn handshake(
    tcp: TcpStream,
    roots: RootCertStore,
    protocols: &[&str],
    sni: &str,
) -> std::io::Result<client::TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(sni.to_owned()).unwrap(), tcp).await
}

pub(super) async fn connection(
    server: SocketAddr,
    kind: Protocol,
    names: &[&str],
) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (guest, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let upstream = TcpStream::connect(server).await.unwrap();
    let connection = Connection {
        guest: accepted.unwrap().0.into_std().unwrap(),
        upstream: upstream.into_std().unwrap(),
        remote: "192.0.2.1:443".parse().unwrap(),
        names: names.iter().map(|text| name(text)).collect(),
        kind,
    };
    (guest.unwrap(), connection)
}

/// Starts a server, which serves each connection with a function.
pub(super) async fn serve_tcp<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Starts a server with TLS, which serves each connection with a function.
pub(super) async fn serve_tls<F, R>(config: ServerConfig, serve: F) -> SocketAddr
where
    F: Fn(server::TlsStream<TcpStream>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve_tcp(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

pub(super) type TestBody = BoxBody<Bytes, hyper::Error>;

pub(super) fn full(data: impl Into<Bytes>) -> TestBody {
    Full::new(data.into()).map_err(|never| match never {}).boxed()
}

/// Starts a server of HTTP with TLS, in the version that ALPN chooses.
pub(super) async fn serve_http<F, R>(config: ServerConfig, handle: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<TestBody>> + Send + 'static,
{
    serve_tls(config, move |stream| {
        let handle = handle.clone();
        async move {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| {
                let response = handle(request);
                async move { Ok::<_, std::convert::Infallible>(response.await) }
            });
            let io = TokioIo::new(stream);
            // Its errors show in the guest.
            let _ = if h2 {
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, service)
                    .await
            } else {
                hyper::server::conn::http1::Builder::new()
                    .half_close(true)
                    .serve_connection(io, service)
                    .with_upgrades()
                    .await
            };
        }
    })
    .await
}

/// Answers with the method, target, header fields and body of a request.
pub(super) async fn echo(request: Request<Incoming>) -> Response<TestBody> {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    text.push_str(&format!("\n{}", String::from_utf8_lossy(&body)));
    // In an encoding that is not searched, to show what the server got.
    Response::builder().header("content-encoding", "x-shown").body(full(text)).unwrap()
}

/// Sends bytes and reads until the end of the connection.
pub(super) async fn exchange(stream: &mut client::TlsStream<TcpStream>, sent: &str) -> String {
    stream.write_all(sent.as_bytes()).await.unwrap();
    read_to_end(stream).await
}

pub(super) async fn read_to_end(stream: &mut client::TlsStream<TcpStream>) -> String {
    let mut received = Vec::new();
    // A connection may end without TLS's notice.
    let _ = stream.read_to_end(&mut received).await;
    String::from_utf8_lossy(&received).into_owned()
}

/// Reads until some text came.
pub(super) async fn read_until<S: tokio::io::AsyncRead + Unpin>(stream: &mut S, end: &str) -> String {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&received));
        received.push(byte[0]);
    }
    String::from_utf8_lossy(&received).into_owned()
}
