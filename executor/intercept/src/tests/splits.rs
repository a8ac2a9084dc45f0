//! Placeholders that are cut in two, at each of their bytes: between segments, chunks and frames.

use super::world::{HOST, PLACEHOLDER, TestBody, VALUE, World, echo, exchange, serve_http};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;

/// A body that is sent in two parts, one frame each, with a pause in between.
fn two_parts(first: Bytes, second: Bytes) -> TestBody {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        for part in [first, second] {
            if sender.send(part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    Parts(receiver).boxed()
}

/// The parts of a body as they come.
struct Parts(tokio::sync::mpsc::Receiver<Bytes>);

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

/// Answers with the length that the request names, and its body.
async fn with_length(request: Request<Incoming>) -> Response<TestBody> {
    let length = |headers: &HeaderMap| Some(headers.get("content-length")?.to_str().ok()?.to_owned());
    let length = length(request.headers()).unwrap_or_else(|| "none".to_owned());
    let mut response = echo(request).await;
    response.headers_mut().insert("x-length", length.parse().unwrap());
    response
}

#[tokio::test]
async fn requests_are_cut_between_segments_at_each_byte() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), with_length).await;
    let body = format!("<{PLACEHOLDER}>");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nX-Own: {PLACEHOLDER}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let expected = format!("<{VALUE}>");
    for cut in 0..=request.len() {
        let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
        let (first, second) = request.split_at(cut);
        guest.write_all(first.as_bytes()).await.unwrap();
        guest.flush().await.unwrap();
        tokio::task::yield_now().await;
        let answer = exchange(&mut guest, second).await;
        assert!(answer.contains(&format!("x-own: {VALUE}\n")), "{cut}: {answer}");
        assert!(answer.ends_with(&expected), "{cut}: {answer}");
        let length = format!("x-length: {}\r\n", expected.len());
        assert!(answer.to_ascii_lowercase().contains(&length), "{cut}: {answer}");
    }
    assert!(world.events().is_empty());
}

#[tokio::test]
async fn bodies_are_cut_between_chunks_at_each_byte() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), with_length).await;
    let body = format!("<{PLACEHOLDER}{PLACEHOLDER}>");
    let expected = format!("<{VALUE}{VALUE}>");
    for cut in 1..body.len() {
        let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
        let (first, second) = body.split_at(cut);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             {:x}\r\n{first}\r\n",
            first.len()
        );
        guest.write_all(head.as_bytes()).await.unwrap();
        guest.flush().await.unwrap();
        tokio::task::yield_now().await;
        let answer = exchange(&mut guest, &format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len())).await;
        assert!(answer.ends_with(&expected), "{cut}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("x-length: none\r\n"), "{cut}: {answer}");
    }
}

#[tokio::test]
async fn bodies_are_cut_between_frames_at_each_byte() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), echo).await;
    let guest = world.tls(server, &["h2"]).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(guest));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let body = Bytes::from(format!("<{PLACEHOLDER}{PLACEHOLDER}>"));
    let expected = format!("<{VALUE}{VALUE}>");
    for cut in 1..body.len() {
        let request = Request::post(format!("https://{HOST}/")).header("x-own", PLACEHOLDER);
        let parts = two_parts(body.slice(..cut), body.slice(cut..));
        let response = sender.send_request(request.body(parts).unwrap()).await.unwrap();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(&format!("x-own: {VALUE}\n")), "{cut}: {answer}");
        assert!(answer.ends_with(&expected), "{cut}: {answer}");
    }
    assert!(world.events().is_empty());
}
