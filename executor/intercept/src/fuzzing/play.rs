//! A guest and a server at the ends of a proxy: each sends raw bytes, or valid messages.

use super::PLACEHOLDER;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::yield_now;

/// The bytes on their way in each direction.
const STREAM_BYTES: usize = 64 * 1024;
/// The turns that all tasks have.
const TURNS_MAX: usize = 4000;
/// The turns without new bytes after which all has happened: more than a message takes through all tasks.
const QUIET_TURNS: usize = 100;

/// What one side sends.
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// Bytes, in these parts.
    Raw(&'a [&'a [u8]]),
    /// Valid messages with this body.
    Valid(&'a [u8]),
}

/// A message that a valid side received.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The status of a response.
    pub status: u16,
    /// The target and the header fields as text.
    pub head: String,
    /// Whether it has a content encoding, so that its body is not searched.
    pub is_encoded: bool,
    /// Its body, as far as it came.
    pub body: Vec<u8>,
}

/// What both sides received.
#[derive(Clone, Debug, Default)]
pub struct Exchanged {
    /// The bytes for a guest that sends bytes.
    pub to_guest: Vec<u8>,
    /// The bytes for a server that sends bytes.
    pub to_server: Vec<u8>,
    /// The requests of a valid server.
    pub requests: Vec<Message>,
    /// The responses of a valid guest.
    pub responses: Vec<Message>,
}

type Seen = Arc<Mutex<Exchanged>>;

/// Runs a proxy between two sides.
pub(super) fn run<F, R>(
    is_http2: bool,
    host: &str,
    guest: &Side<'_>,
    server: &Side<'_>,
    proxy: F,
) -> Exchanged
where
    F: FnOnce(DuplexStream, DuplexStream) -> R,
    R: Future<Output = ()> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let seen = Seen::default();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let (of_guest, guest_end) = duplex(STREAM_BYTES);
        let (server_end, of_server) = duplex(STREAM_BYTES);
        let serving = tokio::task::spawn_local(proxy(guest_end, server_end));
        match *server {
            Side::Raw(parts) => {
                spawn_raw(of_server, parts, true, Arc::clone(&seen), |seen| &mut seen.to_server);
            }
            Side::Valid(body) => {
                let body = Bytes::copy_from_slice(body);
                tokio::spawn(serve(is_http2, of_server, body, Arc::clone(&seen)));
            }
        }
        match *guest {
            Side::Raw(parts) => {
                spawn_raw(of_guest, parts, false, Arc::clone(&seen), |seen| &mut seen.to_guest)
            }
            Side::Valid(body) => {
                let body = Bytes::copy_from_slice(body);
                tokio::spawn(request(is_http2, of_guest, host.to_owned(), body, Arc::clone(&seen)));
            }
        }
        let (mut quiet, mut before) = (0, 0);
        for _ in 0..TURNS_MAX {
            yield_now().await;
            let now = size(&seen.lock().expect("no panic"));
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
            if quiet > QUIET_TURNS {
                break;
            }
        }
        serving.abort();
    });
    let seen = seen.lock().expect("no panic");
    seen.clone()
}

/// A number that changes with everything that is received.
fn size(seen: &Exchanged) -> usize {
    let Exchanged { to_guest, to_server, requests, responses } = seen;
    let messages = requests.iter().chain(responses).map(|message| 1 + message.body.len());
    to_guest.len() + to_server.len() + messages.sum::<usize>()
}

/// Sends bytes and receives others. `answers`: it sends only after it has received something, as a server does.
fn spawn_raw(
    stream: DuplexStream,
    parts: &[&[u8]],
    answers: bool,
    seen: Seen,
    received: fn(&mut Exchanged) -> &mut Vec<u8>,
) {
    let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let asked = Arc::new(Notify::new());
    if !answers {
        asked.notify_one();
    }
    let has_asked = Arc::clone(&asked);
    tokio::spawn(async move {
        has_asked.notified().await;
        for part in parts {
            if writer.write_all(&part).await.is_err() {
                return;
            }
            yield_now().await;
        }
        let _ = writer.shutdown().await;
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            received(&mut seen.lock().expect("no panic")).extend_from_slice(&buffer[..length]);
            asked.notify_one();
        }
    });
}

/// Answers every request.
async fn serve(is_http2: bool, stream: DuplexStream, body: Bytes, seen: Seen) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, body) = (Arc::clone(&seen), body.clone());
        async move {
            let (parts, incoming) = request.into_parts();
            let message = Message {
                head: format!("{} {:?}", parts.uri, parts.headers),
                is_encoded: parts.headers.contains_key(http::header::CONTENT_ENCODING),
                ..Message::default()
            };
            receive(incoming, message, &seen, |seen| &mut seen.requests).await;
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        }
    });
    let io = TokioIo::new(stream);
    // Its errors are those of what it received.
    let _ = if is_http2 {
        server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        server::conn::http1::Builder::new().half_close(true).serve_connection(io, service).await
    };
}

/// Sends one request with the placeholder.
async fn request(is_http2: bool, stream: DuplexStream, host: String, body: Bytes, seen: Seen) {
    let io = TokioIo::new(stream);
    let target = if is_http2 { format!("https://{host}/") } else { "/".to_owned() };
    let request = Request::post(target)
        .header("authorization", format!("Bearer {PLACEHOLDER}"))
        .header("content-type", "text/plain");
    let request = if is_http2 { request } else { request.header("host", host.clone()) };
    let Ok(request) = request.body(Full::new(body)) else { return };
    // A placeholder in a header would be refused before the body is read.
    let request = if host == super::HOST { request } else { without_authorization(request) };
    let response = if is_http2 {
        let handshake = client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let Ok((mut sender, connection)) = handshake else { return };
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let Ok((mut sender, connection)) = client::conn::http1::handshake(io).await else { return };
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let Ok(response) = response else { return };
    let (parts, incoming) = response.into_parts();
    let message = Message {
        status: parts.status.as_u16(),
        head: format!("{:?}", parts.headers),
        is_encoded: parts.headers.contains_key(http::header::CONTENT_ENCODING),
        body: Vec::new(),
    };
    receive(incoming, message, &seen, |seen| &mut seen.responses).await;
}

fn without_authorization(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.headers_mut().remove(http::header::AUTHORIZATION);
    request
}

/// Notes a message and its body, part by part.
async fn receive(
    mut incoming: Incoming,
    message: Message,
    seen: &Seen,
    messages: fn(&mut Exchanged) -> &mut Vec<Message>,
) {
    let index = {
        let mut seen = seen.lock().expect("no panic");
        let messages = messages(&mut seen);
        messages.push(message);
        messages.len() - 1
    };
    while let Some(Ok(frame)) = incoming.frame().await {
        if let Some(data) = frame.data_ref() {
            messages(&mut seen.lock().expect("no panic"))[index].body.extend_from_slice(data);
        }
    }
}
