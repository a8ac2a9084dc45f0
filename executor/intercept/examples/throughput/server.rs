//! An HTTPS server: small answers, large ones, and large requests.

use super::{BYPASSED_HOST, HOST, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// The bytes of a small answer.
pub const SMALL_BYTES: usize = 1024;
/// The bytes of a large transfer.
pub const LARGE_BYTES: usize = 100 << 20;

/// A server.
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// The CA of its certificate.
    pub ca: CertificateDer<'static>,
    /// Its certificate, for a relay that stands for it.
    pub config: Arc<ServerConfig>,
}

/// Starts a server that serves each connection on a thread.
pub fn start() -> Result<Server> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let leaf =
        CertificateParams::new([HOST.to_owned(), BYPASSED_HOST.to_owned()])?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ca = certificate.der().clone();
    let server = Server { address: listener.local_addr()?, ca, config };
    let config = Arc::clone(&server.config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            // An error is one of the client, which reports it.
            std::thread::spawn(move || drop(serve(stream, config)));
        }
    });
    Ok(server)
}

/// The cryptography of all ends.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    stream.set_nodelay(true)?;
    let tls = StreamOwned::new(ServerConnection::new(config)?, stream);
    let mut stream = BufReader::with_capacity(64 * 1024, tls);
    let large = vec![b'x'; 64 * 1024];
    loop {
        let Some(head) = read_head(&mut stream)? else { return Ok(()) };
        let length = content_length(&head);
        io::copy(&mut (&mut stream).take(length), &mut io::sink())?;
        let size = if head.starts_with("GET /large ") { LARGE_BYTES } else { SMALL_BYTES };
        let out = stream.get_mut();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n");
        if size == SMALL_BYTES {
            // One write, as servers do.
            out.write_all(&[head.as_bytes(), &large[..size]].concat())?;
        } else {
            out.write_all(head.as_bytes())?;
            let mut left = size;
            while left > 0 {
                let part = left.min(large.len());
                out.write_all(&large[..part])?;
                left -= part;
            }
        }
        out.flush()?;
    }
}

/// Reads the head of a message; returns `None` at the end of the connection.
pub fn read_head(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head[before..].trim_end().is_empty() {
            return Ok(Some(head));
        }
    }
}

/// The value of `Content-Length`; 0 without one.
pub fn content_length(head: &str) -> u64 {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    values.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}
