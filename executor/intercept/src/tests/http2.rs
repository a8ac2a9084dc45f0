//! HTTP/2.

use super::world::{HOST, PLACEHOLDER, TestBody, VALUE, World, echo, full, serve_http};
use crate::{Event, Reason};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

async fn client(world: &World, server: SocketAddr, names: &[&str]) -> SendRequest<TestBody> {
    let guest = world.tls_named(server, &["h2", "http/1.1"], HOST, names).await.unwrap();
    assert_eq!(guest.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(guest)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("https://{HOST}{path}"))
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn requests_are_multiplexed() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), echo).await;
    let sender = client(&world, server, &[HOST]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..50 {
        let mut sender = sender.clone();
        tasks.spawn(async move {
            let request = request(&format!("/{index}")).method("POST").header("x-own", PLACEHOLDER);
            let response =
                sender.send_request(request.body(full(format!("body {index}"))).unwrap()).await.unwrap();
            (index, text(response).await)
        });
    }
    for (index, answer) in tasks.join_all().await {
        assert!(answer.starts_with(&format!("POST https://{HOST}/{index}\n")), "{answer}");
        assert!(answer.ends_with(&format!("body {index}")), "{answer}");
        assert!(answer.contains(&format!("x-own: {VALUE}\n")), "{answer}");
    }
    assert!(world.events().is_empty());
}

#[tokio::test]
async fn a_body_with_placeholders_is_replaced() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), echo).await;
    let mut sender = client(&world, server, &[HOST]).await;
    let body = full(format!("a={PLACEHOLDER}"));
    let response = sender.send_request(request("/").method("PUT").body(body).unwrap()).await.unwrap();
    let answer = text(response).await;
    assert!(answer.ends_with(&format!("a={VALUE}")), "{answer}");
}

#[tokio::test]
async fn another_host_is_misdirected_and_a_violation_refused() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), echo).await;
    let mut sender = client(&world, server, &[]).await;
    let other = Request::builder().uri("https://other.example/").body(full("")).unwrap();
    let response = sender.send_request(other).await.unwrap();
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
    let other = request("/").header("host", "other.example").body(full("")).unwrap();
    let response = sender.send_request(other).await.unwrap();
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
    assert!(world.reasons().iter().all(|reason| matches!(reason, Reason::Misdirected { .. })));
    let violation = request("/").header("x-own", PLACEHOLDER).body(full("")).unwrap();
    let response = sender.send_request(violation).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let connect = Request::builder().method("CONNECT").uri("other.example:443").body(full("")).unwrap();
    let response = sender.send_request(connect).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    // The connection goes on.
    let response = sender.send_request(request("/").body(full("")).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(world.events().len(), 4);
}

#[tokio::test]
async fn a_refusal_of_grpc_is_an_answer_of_grpc() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), echo).await;
    let mut sender = client(&world, server, &[]).await;
    let call = request("/service/method")
        .method("POST")
        .header("content-type", "application/grpc")
        .header("authorization", PLACEHOLDER);
    let response = sender.send_request(call.body(full("")).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "7");
    assert!(response.headers()["grpc-message"].to_str().unwrap().contains("TOKEN"));
}

/// Frames of a body.
struct Frames(Vec<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let next = (!self.0.is_empty()).then(|| self.0.remove(0));
        Poll::Ready(next.map(Ok))
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), |request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let collected = request.into_body().collect().await.unwrap();
        let mut trailers = collected.trailers().unwrap().clone();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = Frames(vec![Frame::data(collected.to_bytes()), Frame::trailers(trailers)]);
        Response::new(frames.boxed())
    })
    .await;
    let mut sender = client(&world, server, &[HOST]).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    trailers.insert("x-secret", PLACEHOLDER.parse().unwrap());
    let frames = Frames(vec![Frame::data(Bytes::from_static(b"data")), Frame::trailers(trailers)]);
    let call = request("/").method("POST").header("te", "trailers").body(frames.boxed()).unwrap();
    let collected = sender.send_request(call).await.unwrap().into_body().collect().await.unwrap();
    let trailers = collected.trailers().unwrap().clone();
    assert_eq!(collected.to_bytes(), "data");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-sum"], "1");
    // It was replaced on the way there, and masked on the way back.
    assert_ne!(trailers["x-secret"], VALUE);
}

#[tokio::test]
async fn a_stream_that_the_server_resets_is_reset() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), |request| async move {
        if request.uri().path() == "/reset" {
            let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
            drop(sender);
            receiver.await.expect("this ends the task, and with it the stream");
        }
        Response::new(full("fine"))
    })
    .await;
    let mut sender = client(&world, server, &[HOST]).await;
    sender.send_request(request("/reset").body(full("")).unwrap()).await.unwrap_err();
    let response = sender.send_request(request("/").body(full("")).unwrap()).await.unwrap();
    assert_eq!(text(response).await, "fine");
    assert!(world.events().is_empty(), "{:?}", world.events());
}

#[tokio::test]
async fn a_server_that_hangs_up_is_reported() {
    let world = World::new();
    let server = super::world::serve_tls(world.ca.config(&["h2"]), |mut stream| async move {
        super::world::read_until(&mut stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    })
    .await;
    let mut sender = client(&world, server, &[HOST]).await;
    let response = sender.send_request(request("/").body(full("")).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let events = world.events();
    assert!(matches!(&events[..], [Event::UpstreamFailed { .. }]), "{events:?}");
}

#[tokio::test]
async fn a_violation_in_a_streamed_body_resets_no_other_stream() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2"]), echo).await;
    let mut sender = client(&world, server, &[]).await;
    let parts = ["a=$MSB", "_TOK", "EN"].map(|part| Frame::data(Bytes::from_static(part.as_bytes())));
    let call = request("/").method("POST").body(Frames(parts.into()).boxed()).unwrap();
    let response = sender.send_request(call).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let events = world.events();
    assert!(matches!(&events[..], [Event::Violation { .. }]), "{events:?}");
    let response = sender.send_request(request("/").body(full("")).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
