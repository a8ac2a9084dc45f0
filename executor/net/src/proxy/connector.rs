//! A thread that opens connections through a proxy: the thread of the stack waits for neither names nor proxies.

use super::handshake::{Handshake, Next};
use super::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, Destination, ProxyFailure, UpstreamProxy};
use crate::host;
use rules::proxy::ProxyHost;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// The most names that are resolved at the same time.
const LOOKUPS_MAX: usize = 4;
/// The size of one read of an answer, in bytes.
const READ_BYTES: usize = 1024;

/// A connection that is being opened. Dropping it abandons the connection.
#[derive(Debug)]
pub(crate) struct PendingTunnel(#[expect(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>);

/// A request for a connection.
struct Request {
    proxy: Arc<UpstreamProxy>,
    destination: Destination,
    abandoned: oneshot::Receiver<()>,
    done: Done,
}

/// Called with the connection, which is non-blocking, or the failure, unless the connection was abandoned.
pub(crate) type Done = Box<dyn FnOnce(Result<std::net::TcpStream, ProxyFailure>) + Send>;

/// The handle of the thread, which ends after it is dropped. The number of connections is bounded by its callers.
#[derive(Debug)]
pub(crate) struct Connector(mpsc::UnboundedSender<Request>);

impl Connector {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the host has no thread or descriptor for it.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(LOOKUPS_MAX)
            .thread_name("proxy lookup")
            .build()?;
        let (requests, mut incoming) = mpsc::unbounded_channel();
        let serve = move || {
            runtime.block_on(async {
                while let Some(request) = incoming.recv().await {
                    tokio::spawn(serve(request));
                }
            });
            // A name that is being resolved is not waited for.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("proxy".to_owned()).spawn(serve)?;
        Ok(Self(requests))
    }

    /// Opens a connection.
    pub(crate) fn open(
        &self,
        proxy: Arc<UpstreamProxy>,
        destination: Destination,
        done: Done,
    ) -> PendingTunnel {
        let (pending, abandoned) = oneshot::channel();
        let request = Request { proxy, destination, abandoned, done };
        if let Err(mpsc::error::SendError(request)) = self.0.send(request) {
            (request.done)(Err(ProxyFailure::NoResources));
        }
        PendingTunnel(pending)
    }
}

async fn serve(Request { proxy, destination, abandoned, done }: Request) {
    tokio::select! {
        opened = open(&proxy, &destination) => done(opened.and_then(|stream| {
            host::keep_alive(&stream);
            stream.into_std().map_err(ProxyFailure::Broken)
        })),
        _ = abandoned => {}
    }
}

/// Opens a connection through a proxy.
async fn open(proxy: &UpstreamProxy, destination: &Destination) -> Result<TcpStream, ProxyFailure> {
    let (mut handshake, first) = Handshake::start(proxy, destination)?;
    let connected = timeout(CONNECT_TIMEOUT, connect(proxy)).await;
    let mut stream = connected.unwrap_or(Err(ProxyFailure::ConnectTimedOut))?;
    let shake = async {
        stream.write_all(&first).await.map_err(ProxyFailure::Broken)?;
        let mut buffer = [0; READ_BYTES];
        loop {
            // What follows the answer is the server's, and stays in the socket.
            let count = match stream.peek(&mut buffer).await.map_err(ProxyFailure::Broken)? {
                0 => return Err(ProxyFailure::Closed),
                count => count,
            };
            let (taken, next) = handshake.receive(&buffer[..count])?;
            stream.read_exact(&mut buffer[..taken]).await.map_err(ProxyFailure::Broken)?;
            match next {
                Next::More => {}
                Next::Send(bytes) => stream.write_all(&bytes).await.map_err(ProxyFailure::Broken)?,
                Next::Open => return Ok(()),
            }
        }
    };
    timeout(ANSWER_TIMEOUT, shake).await.unwrap_or(Err(ProxyFailure::AnswerTimedOut))?;
    Ok(stream)
}

/// Connects to a proxy: to the first of its addresses that accepts.
async fn connect(UpstreamProxy { url, .. }: &UpstreamProxy) -> Result<TcpStream, ProxyFailure> {
    let addresses = match url.host() {
        ProxyHost::Address(address) => vec![SocketAddr::new(*address, url.port())],
        ProxyHost::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), url.port())).await;
            found.map_err(ProxyFailure::Unresolved)?.collect()
        }
    };
    let mut failure = ProxyFailure::Unresolved(io::Error::other("its name has no address"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failure = ProxyFailure::Unreachable(error),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Password;
    use tokio::net::TcpListener;

    fn destination() -> Destination {
        Destination::Address("192.0.2.1:443".parse().unwrap())
    }

    fn proxy_at(address: SocketAddr) -> UpstreamProxy {
        UpstreamProxy { url: format!("http://{address}").parse().unwrap(), password: None }
    }

    async fn listener() -> (TcpListener, UpstreamProxy) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = proxy_at(listener.local_addr().unwrap());
        (listener, proxy)
    }

    #[tokio::test]
    async fn what_follows_the_answer_stays_in_the_connection() {
        let (listener, proxy) = listener().await;
        let serve = async {
            let mut stream = listener.accept().await.unwrap().0;
            let mut request = [0; 1024];
            let count = stream.read(&mut request).await.unwrap();
            assert!(request[..count].starts_with(b"CONNECT 192.0.2.1:443 HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n220 mail.test").await.unwrap();
            stream
        };
        let target = destination();
        let (opened, _server) = tokio::join!(open(&proxy, &target), serve);
        let mut received = [0; 13];
        opened.unwrap().read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"220 mail.test");
    }

    /// The clock is set forward while everything waits.
    #[tokio::test(start_paused = true)]
    async fn a_silent_proxy_is_given_up() {
        let (listener, proxy) = listener().await;
        let target = destination();
        let (opened, accepted) = tokio::join!(open(&proxy, &target), listener.accept());
        assert!(matches!(opened, Err(ProxyFailure::AnswerTimedOut)), "{opened:?}");
        drop(accepted);
    }

    #[tokio::test]
    async fn failures_say_what_happened() {
        let (listener, proxy) = listener().await;
        let target = destination();
        let close = async { drop(listener.accept().await.unwrap().0) };
        let failure = tokio::join!(open(&proxy, &target), close).0.unwrap_err();
        assert!(matches!(failure, ProxyFailure::Closed | ProxyFailure::Broken(_)), "{failure:?}");
        drop(listener);
        let failure = open(&proxy, &target).await.unwrap_err();
        assert!(failure.to_string().starts_with("cannot be reached: Connection refused"), "{failure}");
    }

    #[tokio::test]
    async fn a_connection_that_nobody_waits_for_is_closed() {
        let (listener, proxy) = listener().await;
        let connector = Connector::start().unwrap();
        let done: Done = Box::new(|_| panic!("it was abandoned"));
        let pending = connector.open(Arc::new(proxy), destination(), done);
        let mut stream = listener.accept().await.unwrap().0;
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        drop(pending);
        // All that is left to read is the end.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn names_are_resolved_and_passwords_sent() {
        let (listener, _) = listener().await;
        let port = listener.local_addr().unwrap().port();
        let password = Some(Password::new(b"pw".to_vec()));
        let proxy = UpstreamProxy { url: format!("socks5://me@localhost:{port}").parse().unwrap(), password };
        let serve = async {
            let mut stream = listener.accept().await.unwrap().0;
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(b"\x05\x02").await.unwrap();
            let mut bytes = [0; 7];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"\x01\x02me\x02pw");
            stream.write_all(b"\x01\x01").await.unwrap();
            stream
        };
        let target = destination();
        let (opened, _server) = tokio::join!(open(&proxy, &target), serve);
        assert!(matches!(opened, Err(ProxyFailure::WrongCredentials)), "{opened:?}");
    }
}
