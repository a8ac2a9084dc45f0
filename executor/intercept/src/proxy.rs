//! HTTP between a guest and a server: one connection of each, in the same version.

mod activity;
mod answer;
mod body;
mod exchange;
mod guest;
mod headers;
mod host;

use crate::rules::Shared;
use crate::upstream::UpstreamError;
use ::rules::rule::DomainName;
use activity::Activity;
use body::Body;
use exchange::{Client, Exchange};
use guest::{Observed, Progress};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Request, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// The time that a connection may be without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// The time that the guest has to read the rest, after its connection is about to end.
const LINGER_TIMEOUT: Duration = Duration::from_secs(600);
/// The time that a guest has for the first request after the server has ended the connection.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that a server has to end its connection after the guest's.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The limit of the buffer of a connection, which the head of a message must fit into.
const BUFFER_BYTES_MAX: usize = 256 * 1024;
/// The limit of header fields.
const HEADERS_MAX: usize = 256;
/// The limit of the bytes of the header fields of a message in HTTP/2.
const HEADER_LIST_BYTES_MAX: u32 = 128 * 1024;
/// The limit of streams of a connection in HTTP/2.
const STREAMS_MAX: u32 = 128;
/// The bytes that a stream may send before they are consumed.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// The bytes that a connection may send before they are consumed.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// The bytes that a stream buffers until they are sent.
const SEND_BUFFER: usize = 256 * 1024;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The destination of a connection.
pub(crate) struct Destination {
    /// The name in the TLS handshake; `None` without TLS.
    pub(crate) sni: Option<DomainName>,
    /// The names of the address, as the sandbox resolved them.
    pub(crate) names: Arc<[DomainName]>,
    /// The address.
    pub(crate) remote: SocketAddr,
}

impl Destination {
    /// The name or the address, for messages.
    fn text(&self) -> String {
        self.sni.as_ref().map_or_else(|| self.remote.to_string(), ToString::to_string)
    }
}

/// A connection with a server.
pub(crate) struct Server<S> {
    pub(crate) stream: S,
    /// Whether the server asked for a certificate of the client.
    pub(crate) certificate_requested: bool,
}

/// Forwards the requests of a guest to a server, until one of the two connections ends.
pub(crate) async fn serve<G, S>(
    shared: &Arc<Shared>,
    destination: Destination,
    version: HttpVersion,
    guest: G,
    server: Server<S>,
) where
    G: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Server { stream, certificate_requested } = server;
    let outcome = Outcome::new(certificate_requested);
    let host = destination.text();
    let client = match connect(version, stream, &host, outcome.clone()).await {
        Ok(client) => client,
        Err(error) => return refuse(shared, destination, version, guest, error).await,
    };
    let (client, task) = client;
    let exchange = Arc::new(Exchange::new(Arc::clone(shared), destination, version, client, outcome.clone()));
    answer_guest(&exchange, version, guest, outcome.ended()).await;
    // Without a sender of requests, the connection with the server ends.
    drop(exchange);
    let mut task = task;
    if tokio::time::timeout(CLOSE_TIMEOUT, &mut task).await.is_err() {
        task.abort();
    }
}

/// Answers all requests of a guest with the reason why the server cannot be used.
pub(crate) async fn refuse<G>(
    shared: &Arc<Shared>,
    destination: Destination,
    version: HttpVersion,
    guest: G,
    error: UpstreamError,
) where
    G: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Client::Failed(error);
    let exchange =
        Arc::new(Exchange::new(Arc::clone(shared), destination, version, client, Outcome::new(false)));
    answer_guest(&exchange, version, guest, std::future::pending()).await;
}

/// How the connection with the server ended.
#[derive(Clone)]
pub(crate) struct Outcome {
    certificate_requested: bool,
    error: Arc<OnceLock<UpstreamError>>,
    ended: watch::Sender<bool>,
}

impl Outcome {
    fn new(certificate_requested: bool) -> Self {
        Self { certificate_requested, error: Arc::default(), ended: watch::Sender::new(false) }
    }

    fn end(&self, host: &str, ended: hyper::Result<()>) {
        if let Err(error) = ended {
            // The first one is the reason.
            let _ = self.error.set(UpstreamError::of_exchange(host, &error));
        }
        self.ended.send_replace(true);
    }

    /// Waits for the end.
    fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.subscribe();
        async move {
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    fn error(&self) -> Option<UpstreamError> {
        self.error.get().cloned()
    }
}

type Task = tokio::task::JoinHandle<()>;

/// Starts HTTP with a server.
async fn connect<S>(
    version: HttpVersion,
    stream: S,
    host: &str,
    outcome: Outcome,
) -> Result<(Client, Task), UpstreamError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let failed = |error: hyper::Error| UpstreamError::of_exchange(host, &error);
    match version {
        HttpVersion::Http1 => {
            let mut builder = client::conn::http1::Builder::new();
            builder.preserve_header_case(true).max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX);
            let (sender, connection) = builder.handshake::<_, Body>(io).await.map_err(failed)?;
            let host = host.to_owned();
            let task = tokio::spawn(async move {
                let ended = connection.with_upgrades().await;
                outcome.end(&host, ended);
            });
            Ok((Client::http1(sender), task))
        }
        HttpVersion::Http2 => {
            let mut builder = client::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(HEADER_LIST_BYTES_MAX)
                .max_send_buf_size(SEND_BUFFER);
            let (sender, connection) = builder.handshake::<_, Body>(io).await.map_err(failed)?;
            let host = host.to_owned();
            let task = tokio::spawn(async move {
                let ended = connection.await;
                outcome.end(&host, ended);
            });
            Ok((Client::Http2(sender), task))
        }
    }
}

/// Serves the guest until its connection ends. It is ended after the server's, and when it is idle for too long.
async fn answer_guest<G>(
    exchange: &Arc<Exchange>,
    version: HttpVersion,
    guest: G,
    upstream_ended: impl Future<Output = ()>,
) where
    G: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = exchange.activity().clone();
    let answering = Arc::clone(exchange);
    let service = service_fn(move |request: Request<Incoming>| {
        let exchange = Arc::clone(&answering);
        // Before hyper reads more of the connection.
        let entered = exchange.activity().enter(!request.body().is_end_stream());
        async move { exchange.answer(request, entered).await }
    });
    let progress = Progress::new();
    let waiting = (version == HttpVersion::Http1).then(|| activity.clone());
    let io = TokioIo::new(Observed::new(guest, progress.clone(), waiting));
    match version {
        HttpVersion::Http1 => {
            let mut builder = server::conn::http1::Builder::new();
            builder
                .preserve_header_case(true)
                .auto_date_header(false)
                .max_buf_size(BUFFER_BYTES_MAX)
                .max_headers(HEADERS_MAX)
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE_TIMEOUT);
            let connection = builder.serve_connection(io, service).with_upgrades();
            drive(
                connection,
                |connection| connection.graceful_shutdown(),
                &activity,
                &progress,
                upstream_ended,
            )
            .await;
        }
        HttpVersion::Http2 => {
            let mut builder = server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .auto_date_header(false)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(STREAMS_MAX)
                .max_header_list_size(HEADER_LIST_BYTES_MAX)
                .max_send_buf_size(SEND_BUFFER);
            let connection = builder.serve_connection(io, service);
            drive(
                connection,
                |connection| connection.graceful_shutdown(),
                &activity,
                &progress,
                upstream_ended,
            )
            .await;
        }
    }
}

async fn drive<C>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    progress: &Progress,
    upstream_ended: impl Future<Output = ()>,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let upstream_ended = async {
        upstream_ended.await;
        // The first request is answered with the reason, if the server ended the connection before it.
        let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, activity.first_request()).await;
        activity.quiet().await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = progress.stalled() => Some(Ok(())),
        () = upstream_ended => None,
        () = activity.quiet_for(IDLE_TIMEOUT) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            if !activity.is_upgraded() {
                shut_down(connection.as_mut());
            }
            tokio::time::timeout(LINGER_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the connection with the guest ended");
    }
}
