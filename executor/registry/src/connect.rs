//! Connections to a host or through its proxy, with or without TLS.

use crate::error::{Cause, RegistryError};
use crate::host::{Origin, Scheme, is_loopback};
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
use std::error::Error;
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
    pub trust: Arc<Trust>,
    proxies: Arc<Matcher>,
    limit: Duration,
    /// Whether it connects to proxies themselves.
    direct: bool,
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
    fn tcp(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Tcp(Arc::new(error))
    }

    fn tls(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Tls(Arc::new(error))
    }

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
        // An empty value is none.
        let value = |variable: &Option<String>| variable.clone().unwrap_or_default();
        let matcher = Matcher::builder().http(value(http)).https(value(https)).no(value(no));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limits.connect));
        let proxies = Arc::new(matcher.build());
        Self { tcp, trust: Arc::new(trust), proxies, limit: limits.connect, direct: false }
    }

    /// The proxy for a host; `None` for loopback.
    fn proxy(&self, uri: &Uri, origin: &Origin) -> Option<Intercept> {
        if self.direct || is_loopback(&origin.host) { None } else { self.proxies.intercept(uri) }
    }

    /// The `Proxy-Authorization` header of a plain HTTP request.
    pub fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let origin = Origin::of(uri).filter(|origin| origin.scheme == Scheme::Http)?;
        self.proxy(uri, &origin)?.basic_auth().cloned()
    }

    async fn connect(self, uri: Uri) -> Result<Link, ConnectError> {
        let unusable = if self.direct {
            "a proxy is http://HOST:PORT or https://HOST:PORT"
        } else {
            "there is no host in the URL"
        };
        let unusable = || ConnectError::tcp(io::Error::new(io::ErrorKind::InvalidInput, unusable));
        let origin = Origin::of(&uri).ok_or_else(unusable)?;
        let Some(proxy) = self.proxy(&uri, &origin) else {
            let stream = self.tcp.clone().call(uri).await.map_err(ConnectError::tcp)?.into_inner();
            return match origin.scheme {
                Scheme::Http => Ok(Link::new(stream)),
                Scheme::Https => self.secure(stream, &origin).await,
            };
        };
        let name = Origin::of(proxy.uri()).map_or_else(|| proxy.uri().to_string(), |origin| origin.name());
        let failed = |source: Cause| ConnectError::Proxy { proxy: name.clone(), source };
        let mut to_proxy = Self { direct: true, ..self.clone() };
        match origin.scheme {
            Scheme::Http => {
                let link =
                    to_proxy.call(proxy.uri().clone()).await.map_err(|error| failed(Arc::new(error)))?;
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
                self.secure(link.io.into_inner(), &origin).await
            }
        }
    }

    /// Starts TLS.
    async fn secure(&self, stream: impl Io + 'static, origin: &Origin) -> Result<Link, ConnectError> {
        let config = self.trust.config(&origin.host, origin.port).map_err(ConnectError::tls)?;
        let bare = origin.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(ConnectError::tls)?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = tokio::time::timeout(self.limit, handshake).await.map_err(ConnectError::tcp)?;
        Ok(Link::new(stream.map_err(classify)?))
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
        Some(_) => ConnectError::tls(error),
        None => ConnectError::tcp(error),
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

/// A bidirectional byte stream.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A connection of any kind.
pub struct Link {
    io: TokioIo<Box<dyn Io>>,
    proxied: bool,
}

impl Link {
    fn new(stream: impl Io + 'static) -> Self {
        Self { io: TokioIo::new(Box::new(stream)), proxied: false }
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
