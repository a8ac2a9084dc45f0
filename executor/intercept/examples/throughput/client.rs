//! The measurements, as a client makes them.

use super::contenders::Contender;
use super::server::{LARGE_BYTES, SMALL_BYTES, content_length, provider, read_head};
use super::{HOST, Result};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time of a measurement that counts.
const COUNT_TIME: Duration = Duration::from_secs(2);
/// The connections at the same time, of a measurement that counts.
const CONNECTIONS: usize = 4;
/// The size of a large transfer in MiB.
const LARGE_MIB: f64 = (LARGE_BYTES >> 20) as f64;
/// The time that any read may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub enum Measurement {
    /// Connections with a full handshake and one small request, per second.
    Handshakes,
    /// Small requests on kept connections, per second.
    Requests,
    /// A large answer, in MiB per second.
    Download,
    /// A large request, in MiB per second.
    Upload,
}

impl Measurement {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Handshakes, Self::Requests, Self::Download, Self::Upload];

    /// The name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::Requests => "requests",
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }
}

/// A measurement that was made.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The connections, the requests or the MiB.
    pub amount: f64,
    /// The time that they took.
    pub time: Duration,
}

/// A client of a contender.
pub struct Client {
    address: SocketAddr,
    host: &'static str,
    config: Arc<ClientConfig>,
}

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

impl Client {
    /// A client that trusts the certificates of a contender.
    pub fn new(contender: &Contender) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(contender.ca.clone())?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each handshake is a full one.
        config.resumption = Resumption::disabled();
        Ok(Self { address: contender.address, host: contender.host, config: Arc::new(config) })
    }

    /// Measures once.
    pub fn measure(&self, measurement: Measurement) -> Result<Done> {
        match measurement {
            Measurement::Handshakes => self.count(|client, stop| {
                let mut count = 0;
                while !stop() {
                    client.get_small(&mut client.connect()?)?;
                    count += 1;
                }
                Ok(count)
            }),
            Measurement::Requests => self.count(|client, stop| {
                let (mut stream, mut count) = (client.connect()?, 0);
                while !stop() {
                    client.get_small(&mut stream)?;
                    count += 1;
                }
                Ok(count)
            }),
            Measurement::Download => {
                let mut stream = self.connect()?;
                self.get_small(&mut stream)?;
                let began = Instant::now();
                self.get(&mut stream, "/large", LARGE_BYTES)?;
                Ok(Done { amount: LARGE_MIB, time: began.elapsed() })
            }
            Measurement::Upload => {
                let mut stream = self.connect()?;
                self.get_small(&mut stream)?;
                let part = vec![b'x'; 64 * 1024];
                let began = Instant::now();
                let head = format!(
                    "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: text/plain\r\nContent-Length: {LARGE_BYTES}\r\n\r\n"
                );
                stream.get_mut().write_all(head.replace(HOST, self.host).as_bytes())?;
                for _ in 0..LARGE_BYTES / part.len() {
                    stream.get_mut().write_all(&part)?;
                }
                stream.get_mut().flush()?;
                read_answer(&mut stream, SMALL_BYTES)?;
                Ok(Done { amount: LARGE_MIB, time: began.elapsed() })
            }
        }
    }

    /// Runs on several threads; returns the sum of their counts.
    fn count(&self, work: impl Fn(&Self, &dyn Fn() -> bool) -> Result<u64> + Sync) -> Result<Done> {
        let total = AtomicU64::new(0);
        let began = Instant::now();
        let stop = || began.elapsed() >= COUNT_TIME;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| work(self, &stop))).collect();
            for thread in threads {
                total.fetch_add(thread.join().map_err(|_| "a client panicked")??, Ordering::Relaxed);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })?;
        Ok(Done { amount: total.into_inner() as f64, time: began.elapsed() })
    }

    fn connect(&self) -> Result<Stream> {
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        tcp.set_write_timeout(Some(TIMEOUT))?;
        let connection = ClientConnection::new(Arc::clone(&self.config), ServerName::try_from(self.host)?)?;
        Ok(BufReader::with_capacity(64 * 1024, StreamOwned::new(connection, tcp)))
    }

    fn get_small(&self, stream: &mut Stream) -> Result<()> {
        self.get(stream, "/", SMALL_BYTES)
    }

    fn get(&self, stream: &mut Stream, path: &str, size: usize) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: */*\r\n\r\n", self.host);
        stream.get_mut().write_all(request.as_bytes())?;
        stream.get_mut().flush()?;
        read_answer(stream, size)
    }
}

fn read_answer(stream: &mut Stream, size: usize) -> Result<()> {
    let head = read_head(stream)?.ok_or("the connection ended before the answer")?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let read = if is_chunked {
        read_chunks(stream)?
    } else {
        io::copy(&mut stream.take(content_length(&head)), &mut io::sink())?
    };
    if !head.starts_with("HTTP/1.1 200") || read != size as u64 {
        return Err(format!("{read} bytes after {head:?}").into());
    }
    Ok(())
}

/// Reads a chunked body without trailers; returns its length.
fn read_chunks(stream: &mut Stream) -> Result<u64> {
    let mut total = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16)?;
        total += io::copy(&mut (&mut *stream).take(size), &mut io::sink())?;
        line.clear();
        if stream.read_line(&mut line)? != 2 {
            return Err("a chunk is cut".into());
        }
        if size == 0 {
            return Ok(total);
        }
    }
}
