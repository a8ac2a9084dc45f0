//! A scripted registry that records its requests.

use crate::image::TestImage;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemas::digest::Digest;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A response.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

pub enum Body {
    /// Complete, with the right length.
    Whole(Vec<u8>),
    /// Declares this length, sends these bytes, and closes the connection.
    Cut(u64, Vec<u8>),
    /// In chunks of this size at this interval, until the client disconnects.
    Endless(usize, Duration),
    /// Complete, but in chunks of this size at this interval.
    Slow(Vec<u8>, usize, Duration),
    /// Closes the connection without a status.
    HangUp,
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

pub struct Server {
    /// Its name in references.
    pub name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    seen: Mutex<Vec<Seen>>,
    /// The sent body bytes.
    sent: AtomicU64,
    stopped: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The path after the repository: `manifests/1`, `blobs/sha256:…`.
    pub fn part(&self) -> &str {
        let found = self.path.find("/manifests/").or_else(|| self.path.find("/blobs/"));
        found.map_or("", |index| &self.path[index + 1..])
    }

    pub fn is_layer(&self, image: &TestImage, index: usize) -> bool {
        self.part() == format!("blobs/{}", image.layers[index])
    }

    fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(Vec::new()) }
    }

    pub fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Whole(bytes.into()) }
    }

    pub fn body(body: Body) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn redirect(location: impl Into<String>) -> Self {
        Self::status(307).with("location", location)
    }

    pub fn unauthorized(challenge: impl Into<String>) -> Self {
        Self::status(401).with("www-authenticate", challenge)
    }
}

/// The response of a correct registry. Every tag names the image.
pub fn serve(image: &TestImage, seen: &Seen) -> Reply {
    let (kind, name) = seen.part().split_once('/').unwrap_or_default();
    let digest = match Digest::try_from(name.to_owned()) {
        Ok(digest) => digest,
        Err(_) if kind == "manifests" => image.digest.clone(),
        Err(_) => return Reply::status(404),
    };
    let Some(bytes) = image.blobs.get(&digest) else { return Reply::status(404) };
    let reply = match seen.range().filter(|start| *start < bytes.len()) {
        Some(start) => {
            let mut reply = Reply::whole(&bytes[start..]);
            reply.status = 206;
            reply.with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
        }
        None => Reply::whole(bytes.clone()),
    };
    reply.with("docker-content-digest", digest.to_string())
}

impl Server {
    pub fn new(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("127.0.0.1:0", None, Box::new(handler))
    }

    /// Listens on IPv6 alone.
    pub fn on_ipv6(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let mut server = Self::start("[::1]:0", None, Box::new(handler));
        server.name = server.address.to_string();
        server
    }

    /// A correct registry.
    pub fn of(image: &TestImage) -> Self {
        let image = image.clone();
        Self::new(move |seen| serve(&image, seen))
    }

    /// With TLS, as `localhost`.
    pub fn with_tls(
        certificates: &crate::support::Certificates,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let read = |name: &str| std::fs::read(certificates.path(name)).unwrap();
        let leaf = CertificateDer::from_pem_slice(&read("leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        Self::start("127.0.0.1:0", Some(Arc::new(config)), Box::new(handler))
    }

    fn start(address: &str, tls: Option<Arc<rustls::ServerConfig>>, handler: Box<Handler>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler,
            seen: Mutex::default(),
            sent: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            tls,
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), shared) = (stream, accepting.clone()) else { continue };
                std::thread::spawn(move || {
                    let _ = shared.accept(stream);
                });
            }
        });
        Self { name: format!("localhost:{}", address.port()), address, shared }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The number of matching requests.
    pub fn count(&self, is_it: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| is_it(seen)).count()
    }

    /// All received credentials.
    pub fn credentials(&self) -> Vec<String> {
        let seen = self.seen();
        seen.iter().filter_map(|seen| seen.header("authorization").map(str::to_owned)).collect()
    }

    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn accept(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut first = [0];
        stream.peek(&mut first)?;
        let hello = first[0] == 0x16;
        match &self.tls {
            Some(config) if hello => {
                let connection = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                self.talk(&mut rustls::StreamOwned::new(connection, stream))
            }
            None if !hello => self.talk(&mut &stream),
            // As registries written in Go do.
            _ => {
                (&stream).write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nspoken to in the wrong way\n")?;
                stream.shutdown(Shutdown::Both)
            }
        }
    }

    fn talk(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        while let Some(seen) = read_request(stream)? {
            self.seen.lock().unwrap().push(seen.clone());
            let Reply { status, headers, body } = (self.handler)(&seen);
            let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let is_head = seen.method == "HEAD";
            match body {
                Body::HangUp => return Ok(()),
                Body::Whole(bytes) => {
                    write!(stream, "{head}content-length: {}\r\n\r\n", bytes.len())?;
                    if !is_head {
                        self.send(stream, &bytes)?;
                    }
                }
                _ if is_head => write!(stream, "{head}content-length: 0\r\n\r\n")?,
                Body::Cut(length, bytes) => {
                    write!(stream, "{head}content-length: {length}\r\n\r\n")?;
                    self.send(stream, &bytes)?;
                    return stream.flush();
                }
                Body::Slow(bytes, at_once, backoff) => {
                    write!(stream, "{head}content-length: {}\r\n\r\n", bytes.len())?;
                    for part in bytes.chunks(at_once) {
                        self.send(stream, part)?;
                        std::thread::sleep(backoff);
                    }
                }
                Body::Endless(at_once, backoff) => {
                    write!(stream, "{head}transfer-encoding: chunked\r\n\r\n")?;
                    loop {
                        write!(stream, "{at_once:x}\r\n")?;
                        self.send(stream, &vec![b' '; at_once])?;
                        write!(stream, "\r\n")?;
                        std::thread::sleep(backoff);
                    }
                }
            }
            stream.flush()?;
        }
        Ok(())
    }

    fn send(&self, stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(16 * 1024) {
            stream.write_all(part)?;
            stream.flush()?;
            self.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Reads one request; `None` at the end of the stream.
pub fn read_request(stream: &mut impl Read) -> io::Result<Option<Seen>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut seen = Seen { method, path, headers, body: String::new() };
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    seen.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(seen))
}
