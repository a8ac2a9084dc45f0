//! A connection of the guest: finds its protocol, and serves or copies it.

/// Writes to a stream as they come, past a wrapper of its reads with the field `stream`.
macro_rules! forward_writes {
    ($name:ident) => {
        impl<S: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for $name<S> {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.stream).poll_write(context, bytes)
            }

            fn poll_write_vectored(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
                buffers: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
            }

            fn is_write_vectored(&self) -> bool {
                self.stream.is_write_vectored()
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.stream).poll_flush(context)
            }

            fn poll_shutdown(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
            }
        }
    };
}
use forward_writes;

mod buffered;
mod gathered;
pub(crate) mod hello;

use crate::event::{Event, Reason};
use crate::interceptor::{Connection, Protocol};
use crate::proxy::{self, Destination, HttpVersion, Server};
use crate::rules::{Current, Shared};
use crate::upstream::Upstream;
use ::rules::rule::DomainName;
use buffered::Buffered;
use gathered::Gathered;
use hello::{First, Hello};
use rustls::ServerConfig;
use rustls::server::{Accepted, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

/// The time limit of a handshake with the guest. Java in a busy emulated guest takes more than half of it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// The buffer of each direction that is copied.
const COPY_BYTES: usize = 32 * 1024;

const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Serves a connection until it ends.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection) {
    let Connection { guest, upstream, remote, names, kind } = connection;
    let streams = TcpStream::from_std(guest).and_then(|guest| Ok((guest, TcpStream::from_std(upstream)?)));
    let served = match streams {
        Ok((guest, upstream)) => {
            // Messages of both protocols are written whole. Without it, they would wait for acknowledgements.
            let _ = guest.set_nodelay(true);
            let _ = upstream.set_nodelay(true);
            let current = shared.current();
            let streams = Streams { guest, upstream };
            let target = Target { remote, names };
            match kind {
                Protocol::Tls => tls(&shared, &current, streams, target).await,
                Protocol::PlainHttp => plain(&shared, streams, target).await,
            }
        }
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::debug!(%remote, %error, "an intercepted connection ended");
    }
}

struct Streams {
    guest: TcpStream,
    upstream: TcpStream,
}

/// The server of a connection.
struct Target {
    remote: std::net::SocketAddr,
    names: Arc<[DomainName]>,
}

/// Copies both ways until both sides are closed. `sent` is what the guest has sent already.
async fn copy(sent: &[u8], mut streams: Streams) -> io::Result<()> {
    streams.upstream.write_all(sent).await?;
    let Streams { guest, upstream } = &mut streams;
    tokio::io::copy_bidirectional_with_sizes(guest, upstream, COPY_BYTES, COPY_BYTES).await?;
    Ok(())
}

async fn tls(
    shared: &Arc<Shared>,
    current: &Current,
    mut streams: Streams,
    target: Target,
) -> io::Result<()> {
    if let First::Server = hello::first(&streams.guest, &streams.upstream).await? {
        // In TLS, the client sends first.
        return copy(&[], streams).await;
    }
    let hello = tokio::time::timeout(HANDSHAKE_TIMEOUT, hello::read(&mut streams.guest)).await;
    let refused = |host: String, reason| shared.events.send(Event::Refused { host, reason });
    let (accepted, raw, rest) = match hello {
        Ok(Ok(Ok(Hello::Tls { accepted, raw, rest }))) => (accepted, raw, rest),
        Ok(Ok(Ok(Hello::Other { raw }))) => return copy(&raw, streams).await,
        Ok(Ok(Err(reason))) => {
            refused(target.remote.to_string(), reason);
            return Ok(());
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            refused(target.remote.to_string(), Reason::Handshake("it takes too long".to_owned()));
            return Ok(());
        }
    };
    let hello = accepted.client_hello();
    let Some(name) = hello.server_name().and_then(|name| DomainName::new(name).ok()) else {
        refused(target.remote.to_string(), Reason::NoServerName);
        return Ok(());
    };
    if current.bypasses(&name) {
        drop(accepted);
        return copy(&raw, streams).await;
    }
    drop(raw);
    let offered = Offered::of(hello.alpn());
    let guest = Guest { name: name.clone(), accepted: *accepted, stream: Buffered::new(rest, streams.guest) };
    if let Offered::Other(protocol) = offered {
        refused(name.to_string(), Reason::Protocol(protocol));
        // The handshake fails with the alert for this.
        let _ = guest.accept(shared, vec![HTTP_1_1.to_vec()]).await;
        return Ok(());
    }
    let upstream = Buffered::new(Vec::new(), streams.upstream);
    let upstream = current.upstreams.connect(&name, offered.protocols(), upstream).await;
    let protocols = match &upstream {
        Ok(upstream) => upstream.stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec).into_iter().collect(),
        Err(_) => offered.protocols(),
    };
    let guest = match guest.accept(shared, protocols).await {
        Ok(guest) => guest,
        Err(error) => {
            refused(name.to_string(), Reason::Handshake(error.to_string()));
            return Ok(());
        }
    };
    let version = offered.version(guest.get_ref().1.alpn_protocol());
    let guest = Gathered::new(guest);
    let destination = Destination { sni: Some(name), names: target.names, remote: target.remote };
    match upstream {
        Ok(upstream) => {
            let Upstream { stream, certificate_requested } = upstream;
            let server = Server { stream: Gathered::new(stream), certificate_requested };
            proxy::serve(shared, destination, version, guest, server).await;
        }
        Err(error) => proxy::refuse(shared, destination, version, guest, error).await,
    }
    Ok(())
}

async fn plain(shared: &Arc<Shared>, mut streams: Streams, target: Target) -> io::Result<()> {
    if let First::Server = hello::first(&streams.guest, &streams.upstream).await? {
        return copy(&[], streams).await;
    }
    let method = hello::read_method(&mut streams.guest);
    let Ok(method) = tokio::time::timeout(HANDSHAKE_TIMEOUT, method).await else { return Ok(()) };
    let (protocol, raw) = method?;
    let version = match protocol {
        hello::Plain::Other => return copy(&raw, streams).await,
        hello::Plain::Http1 => HttpVersion::Http1,
        hello::Plain::Http2 => HttpVersion::Http2,
    };
    let destination = Destination { sni: None, names: target.names, remote: target.remote };
    let server = Server { stream: streams.upstream, certificate_requested: false };
    proxy::serve(shared, destination, version, Buffered::new(raw, streams.guest), server).await;
    Ok(())
}

/// A guest that waits for the answer to its ClientHello.
struct Guest {
    name: DomainName,
    accepted: Accepted,
    stream: Buffered<TcpStream>,
}

impl Guest {
    /// Completes the handshake with a certificate for the name.
    async fn accept(
        self,
        shared: &Shared,
        protocols: Vec<Vec<u8>>,
    ) -> io::Result<TlsStream<Buffered<TcpStream>>> {
        let leaf = shared.leaves.leaf(&self.name).map_err(io::Error::other)?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&shared.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificate(leaf)));
        config.alpn_protocols = protocols;
        // A handshake within this machine is cheap, and a session that is resumed would outlive the rules.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let handshake = StartHandshake::from_parts(self.accepted, self.stream).into_stream(Arc::new(config));
        let timeout = |_| io::Error::new(io::ErrorKind::TimedOut, "it takes too long");
        tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(timeout)?
    }
}

/// The certificate of a handshake.
#[derive(Debug)]
struct Certificate(Arc<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The protocols that a client offers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Offered {
    /// It offers none.
    None,
    /// HTTP, in the order of its preference.
    Http(Vec<HttpVersion>),
    /// Others only. The first one.
    Other(String),
}

impl Offered {
    fn of<'a>(protocols: Option<impl Iterator<Item = &'a [u8]>>) -> Self {
        let Some(protocols) = protocols else { return Self::None };
        let mut http = Vec::new();
        let mut other = None;
        for protocol in protocols {
            let version = match protocol {
                H2 => HttpVersion::Http2,
                HTTP_1_1 => HttpVersion::Http1,
                _ => {
                    other.get_or_insert_with(|| String::from_utf8_lossy(protocol).into_owned());
                    continue;
                }
            };
            if !http.contains(&version) {
                http.push(version);
            }
        }
        match other {
            Some(other) if http.is_empty() => Self::Other(other),
            _ if http.is_empty() => Self::None,
            _ => Self::Http(http),
        }
    }

    /// Those of HTTP.
    fn protocols(&self) -> Vec<Vec<u8>> {
        match self {
            Self::None | Self::Other(_) => Vec::new(),
            Self::Http(versions) => versions.iter().map(|version| version.protocol().to_vec()).collect(),
        }
    }

    /// The version that is spoken after a handshake that chose a protocol. A server that chose none speaks HTTP/1.1,
    /// unless the client accepts HTTP/2 only.
    fn version(&self, chosen: Option<&[u8]>) -> HttpVersion {
        match (chosen, self) {
            (Some(H2), _) => HttpVersion::Http2,
            (None, Self::Http(versions)) if versions == &[HttpVersion::Http2] => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        }
    }
}

impl HttpVersion {
    fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http1 => HTTP_1_1,
            Self::Http2 => H2,
        }
    }
}
