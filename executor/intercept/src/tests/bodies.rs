//! Large bodies, in both versions.

use super::world::{HOST, TestBody, VALUE, World, full, serve_http};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::pin::Pin;
use std::task::{Context, Poll};

const LENGTH: u64 = 16 * 1024 * 1024;
const PART: usize = 60_000;

/// A body of a length, whose bytes depend on their position.
struct Large {
    position: u64,
    has_length: bool,
}

fn byte_at(position: u64) -> u8 {
    b'a' + u8::try_from(position % 23).unwrap()
}

impl http_body::Body for Large {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let end = LENGTH.min(self.position + PART as u64);
        let part: Vec<u8> = (self.position..end).map(byte_at).collect();
        self.position = end;
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length { SizeHint::with_exact(LENGTH - self.position) } else { SizeHint::default() }
    }
}

fn large(has_length: bool) -> TestBody {
    Large { position: 0, has_length }.boxed()
}

/// Counts the bytes of a body that are right.
async fn check(mut body: Incoming) -> u64 {
    let mut position = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.unwrap().into_data() else { continue };
        for byte in data {
            assert_eq!(byte, byte_at(position), "at {position}");
            position += 1;
        }
    }
    position
}

async fn server(request: Request<Incoming>) -> Response<TestBody> {
    match request.uri().path() {
        "/up" => Response::new(full(check(request.into_body()).await.to_string())),
        path => Response::new(large(path == "/down/length")),
    }
}

#[tokio::test]
async fn large_bodies_pass_in_http1() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), server).await;
    let guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(guest)).await.unwrap();
    tokio::spawn(connection);
    for has_length in [true, false] {
        let request = Request::post("/up").header("host", HOST).body(large(has_length)).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let received = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(received, LENGTH.to_string());
    }
    for path in ["/down/length", "/down/chunked"] {
        let request = Request::get(path).header("host", HOST).body(full("")).unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(check(response.into_body()).await, LENGTH, "{path}");
    }
}

#[tokio::test]
async fn large_bodies_pass_in_http2() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), server).await;
    let guest = world.tls(server, &["h2"]).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(guest)).await.unwrap();
    tokio::spawn(connection);
    let uri = |path: &str| format!("https://{HOST}{path}");
    let up = async {
        let request = Request::post(uri("/up")).body(large(true)).unwrap();
        let response = sender.clone().send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), LENGTH.to_string());
    };
    let down = async {
        let request = Request::get(uri("/down/length")).body(full("")).unwrap();
        let response = sender.clone().send_request(request).await.unwrap();
        assert_eq!(check(response.into_body()).await, LENGTH);
    };
    tokio::join!(up, down);
}

#[tokio::test]
async fn a_value_in_a_large_body_is_masked() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), |_| async {
        let padding = "-".repeat(700_000);
        Response::new(full(format!("{padding}{VALUE}{padding}{VALUE}")))
    })
    .await;
    let guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(guest)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", HOST).body(full("")).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(!text.contains(VALUE));
    assert_eq!(text.matches('-').count(), 1_400_000);
}
