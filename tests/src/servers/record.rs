//! Records of what servers received.

use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that are kept of a connection, and of a body.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// A connection that a server accepted.
#[derive(Clone, Default)]
pub struct Connection {
    /// The server's address.
    pub address: String,
    /// The server's port.
    pub port: u16,
    /// The name in the TLS handshake.
    pub server_name: Option<String>,
    /// The protocol that the TLS handshake chose.
    pub protocol: Option<String>,
    /// The reason for which the handshake or the connection failed.
    pub failure: Option<String>,
    /// What was received, decrypted.
    pub received: Vec<u8>,
    /// The requests.
    pub requests: Vec<Request>,
}

/// A request.
#[derive(Clone, Default)]
pub struct Request {
    /// The name in the TLS handshake, or the address.
    pub server: String,
    /// Such as `HTTP/1.1`.
    pub version: String,
    /// The method.
    pub method: String,
    /// The host in its URL or its `Host`.
    pub host: String,
    /// The path and the query.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The begin of the body.
    pub body: Vec<u8>,
    /// The length of the body.
    pub length: u64,
    /// The SHA-256 of the body, once it is complete.
    pub digest: String,
    /// The trailers, with names in lower case.
    pub trailers: Vec<(String, String)>,
    /// Whether the body is complete.
    pub is_complete: bool,
}

impl Request {
    /// Returns the value of a header or a trailer; of several, all with commas.
    pub fn header(&self, name: &str) -> String {
        let fields = self.headers.iter().chain(&self.trailers).filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn has(&self, text: &str) -> bool {
        let fields = self.headers.iter().chain(&self.trailers);
        let mut texts =
            fields.flat_map(|(name, value)| [name, value]).chain([&self.host, &self.target, &self.method]);
        texts.any(|known| known.contains(text)) || contains(&self.body, text)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server, version, method, host, target, headers, body, length, trailers, is_complete, ..
        } = self;
        write!(f, "{server}: {method} {host}{target} {version}")?;
        headers.iter().chain(trailers).try_for_each(|(name, value)| write!(f, "\n{name}: {value}"))?;
        write!(f, "\n{length} bytes, complete: {is_complete}\n{}", String::from_utf8_lossy(body))
    }
}

impl Connection {
    /// The name in the TLS handshake, or the address.
    pub fn host(&self) -> String {
        self.server_name.clone().unwrap_or_else(|| self.address.clone())
    }

    /// Whether a text is anywhere in what was received.
    pub fn has(&self, text: &str) -> bool {
        contains(&self.received, text) || self.requests.iter().any(|request| request.has(text))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}, {:?}, {:?}", self.address, self.port, self.protocol, self.failure)?;
        self.requests.iter().try_for_each(|request| write!(f, "\n{request:?}"))
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

type Shared = Arc<Mutex<Connection>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records of all connections.
#[derive(Clone, Debug)]
pub struct Records {
    connections: Arc<Mutex<Vec<Shared>>>,
    files: Arc<Path>,
}

impl Records {
    /// Creates empty records of servers that serve the files of a directory.
    pub fn new(files: &Path) -> Self {
        Self { connections: Arc::default(), files: files.into() }
    }

    pub fn connections(&self) -> Vec<Connection> {
        lock(&self.connections).iter().map(|connection| lock(connection).clone()).collect()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.connections().into_iter().flat_map(|connection| connection.requests).collect()
    }

    /// Adds a connection.
    pub fn begin(&self, address: &str, port: u16) -> Record {
        let connection = Connection { address: address.to_owned(), port, ..Connection::default() };
        let shared = Arc::new(Mutex::new(connection));
        lock(&self.connections).push(Arc::clone(&shared));
        Record { connection: shared, files: Arc::clone(&self.files) }
    }
}

/// The record of a connection.
#[derive(Clone, Debug)]
pub struct Record {
    connection: Shared,
    files: Arc<Path>,
}

impl Record {
    pub fn greeted(&self, server_name: Option<String>, protocol: Option<String>) {
        let mut connection = lock(&self.connection);
        (connection.server_name, connection.protocol) = (server_name, protocol);
    }

    pub fn fail(&self, error: &io::Error) {
        lock(&self.connection).failure = Some(error.to_string());
    }

    /// The name of the server.
    pub fn host(&self) -> String {
        lock(&self.connection).host()
    }

    /// The directory of the server's files.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// Adds a request, and returns its index.
    pub fn request(&self, request: Request) -> usize {
        let mut connection = lock(&self.connection);
        connection.requests.push(request);
        connection.requests.len() - 1
    }

    /// Returns a request.
    pub fn get(&self, index: usize) -> Request {
        lock(&self.connection).requests[index].clone()
    }

    /// Changes a request.
    pub fn change(&self, index: usize, change: impl FnOnce(&mut Request)) {
        change(&mut lock(&self.connection).requests[index]);
    }

    /// Records what a stream receives.
    pub fn of<S>(&self, stream: S) -> Recorded<S> {
        Recorded { stream, record: self.clone() }
    }
}

/// The body of a request as it arrives.
pub struct BodyRecord {
    record: Record,
    index: usize,
    digest: Sha256,
}

impl BodyRecord {
    pub fn new(record: Record, index: usize) -> Self {
        Self { record, index, digest: Sha256::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.record.change(self.index, |request| {
            let kept = bytes.len().min(KEPT_BYTES_MAX - request.body.len());
            request.body.extend_from_slice(&bytes[..kept]);
            request.length += u64::try_from(bytes.len()).expect("64 bits");
        });
    }

    pub fn trailers(&mut self, trailers: Vec<(String, String)>) {
        self.record.change(self.index, |request| request.trailers = trailers);
    }

    pub fn finish(self) {
        let digest = self.digest.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        self.record.change(self.index, |request| (request.digest, request.is_complete) = (digest, true));
    }
}

/// A stream whose received bytes are recorded.
pub struct Recorded<S> {
    stream: S,
    record: Record,
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let received = &buffer.filled()[before..];
        let mut connection = lock(&self.record.connection);
        let kept = received.len().min(KEPT_BYTES_MAX - connection.received.len());
        connection.received.extend_from_slice(&received[..kept]);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
