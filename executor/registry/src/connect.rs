//! Connections to a host or through its proxy, with or without TLS.

use crate::error::{Cause, RegistryError};
use crate::host::{Origin, Scheme};
use crate::settings::{Limits, Proxies};
use crate::tls::Trust;
use hyper::Uri;
use hyper::http::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower_service::Service;

/// Opens connections for the HTTP client.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    trust: Arc<Trust>,
    proxies: Arc<Matcher>,
    limit: Duration,
}

/// Why a connection failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host is unreachable.
    #[error("no connection")]
    Tcp(#[source] Cause),
    /// The proxy refused.
    #[error("the proxy {proxy} does not connect")]
    Proxy {
        proxy: String,
        #[source]
        source: Cause,
    },
    /// The certificate is not trusted.
    #[error("the certificate is not trusted")]
    Certificate(#[source] rustls::Error),
    /// The other side does not speak TLS.
    #[error("no TLS")]
    NoTls(#[source] Cause),
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake failed")]
    Tls(#[source] Cause),
}

impl ConnectError {
    /// Converts it to an error about a host.
    pub fn into_registry_error(self, host: String) -> RegistryError {
        match self {
            Self::Tcp(source) | Self::Tls(source) => RegistryError::Unreachable { host, source },
            Self::Proxy { proxy, source } => RegistryError::Proxy { host, proxy, source },
            Self::Certificate(error) => RegistryError::Certificate { host, source: Arc::new(error) },
            Self::NoTls(source) => RegistryError::PlainHttp { host, source },
        }
    }
}

impl Connector {
    pub fn new(trust: Trust, proxies: &Proxies, limits: &Limits) -> Self {
        let Proxies { http, https, no } = proxies;
        let mut matcher = Matcher::builder();
        if let Some(http) = http {
            matcher = matcher.http(http.clone());
        }
        if let Some(https) = https {
            matcher = matcher.https(https.clone());
        }
        if let Some(no) = no {
            matcher = matcher.no(no.clone());
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limits.connect));
        let proxies = Arc::new(matcher.build());
        Self { tcp, trust: Arc::new(trust), proxies, limit: limits.connect }
    }

    /// The proxy for a host; `None` for loopback.
    fn proxy(&self, uri: &Uri, origin: &Origin) -> Option<Intercept> {
        if origin.is_loopback() { None } else { self.proxies.intercept(uri) }
    }

    /// The `Proxy-Authorization` header of a plain HTTP request.
    pub fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let origin = Origin::of(uri).filter(|origin| origin.scheme == Scheme::Http)?;
        self.proxy(uri, &origin)?.basic_auth().cloned()
    }

    async fn connect(self, uri: Uri) -> Result<Link, ConnectError> {
        let no_host = || io::Error::new(io::ErrorKind::InvalidInput, "there is no host in the URL");
        let origin = Origin::of(&uri).ok_or_else(|| ConnectError::Tcp(Arc::new(no_host())))?;
        let Some(proxy) = self.proxy(&uri, &origin) else {
            let stream =
                self.tcp.clone().call(uri).await.map_err(|error| ConnectError::Tcp(Arc::new(error)))?;
            let stream = stream.into_inner();
            return match origin.scheme {
                Scheme::Http => Ok(Link::new(stream, false)),
                Scheme::Https => Ok(Link::new(self.secure(stream, &origin.host, origin.port).await?, false)),
            };
        };
        let name = Origin::of(proxy.uri()).map_or_else(|| proxy.uri().to_string(), |origin| origin.name());
        let failed = |source: Cause| ConnectError::Proxy { proxy: name.clone(), source };
        let to_proxy = ToProxy { connector: self.clone() };
        match origin.scheme {
            Scheme::Http => {
                let link =
                    to_proxy.connect(proxy.uri().clone()).await.map_err(|error| failed(Arc::new(error)))?;
                Ok(Link { proxied: true, ..link })
            }
            Scheme::Https => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
                if let Some(value) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(value.clone());
                }
                let connected = tokio::time::timeout(self.limit, tunnel.call(uri)).await;
                let link = connected
                    .map_err(|elapsed| failed(Arc::new(elapsed)))?
                    .map_err(|error| failed(Arc::new(error)))?;
                let stream = link.io.into_inner();
                Ok(Link::new(self.secure(stream, &origin.host, origin.port).await?, false))
            }
        }
    }

    /// Starts TLS.
    async fn secure<S>(&self, stream: S, host: &str, port: u16) -> Result<impl Io + use<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let config = self.trust.config(host, port).map_err(|error| ConnectError::Tls(Arc::new(error)))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|error| ConnectError::Tls(Arc::new(error)))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        match tokio::time::timeout(self.limit, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(classify(error)),
            Err(elapsed) => Err(ConnectError::Tcp(Arc::new(elapsed))),
        }
    }
}

/// Classifies a failed handshake.
fn classify(error: io::Error) -> ConnectError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ConnectError::Certificate(inner.cloned().unwrap_or(rustls::Error::NoCertificatesPresented))
        }
        Some(rustls::Error::InvalidMessage(_)) => ConnectError::NoTls(Arc::new(error)),
        Some(_) => ConnectError::Tls(Arc::new(error)),
        None => ConnectError::Tcp(Arc::new(error)),
    }
}

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Connects to a proxy itself, with TLS if its URL says so.
#[derive(Clone)]
struct ToProxy {
    connector: Connector,
}

impl ToProxy {
    async fn connect(self, uri: Uri) -> Result<Link, ConnectError> {
        let unusable = || {
            io::Error::new(io::ErrorKind::InvalidInput, "a proxy is http://HOST:PORT or https://HOST:PORT")
        };
        let origin = Origin::of(&uri).ok_or_else(|| ConnectError::Tcp(Arc::new(unusable())))?;
        let Self { connector } = self;
        let stream =
            connector.tcp.clone().call(uri).await.map_err(|error| ConnectError::Tcp(Arc::new(error)))?;
        let stream = stream.into_inner();
        match origin.scheme {
            Scheme::Http => Ok(Link::new(stream, false)),
            Scheme::Https => Ok(Link::new(connector.secure(stream, &origin.host, origin.port).await?, false)),
        }
    }
}

impl Service<Uri> for ToProxy {
    type Response = Link;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A bidirectional byte stream.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A connection of any kind.
pub struct Link {
    io: TokioIo<Box<dyn Io>>,
    proxied: bool,
}

impl Link {
    fn new(stream: impl Io + 'static, proxied: bool) -> Self {
        Self { io: TokioIo::new(Box::new(stream)), proxied }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
