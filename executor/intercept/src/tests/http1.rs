//! HTTP/1.

use super::world::{HOST, World, echo, exchange, full, read_to_end, read_until, serve_http, serve_tls};
use crate::{BadRequest, Event, Reason, UpstreamError};
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn requests_are_forwarded_and_answered() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(guest.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = format!(
        "POST /a?b=c HTTP/1.1\r\nHost: {HOST}\r\nX-Own: 1\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
    );
    let answer = exchange(&mut guest, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("POST /a?b=c\n"), "{answer}");
    assert!(answer.contains("x-own: 1\n") && answer.ends_with("\nbody"), "{answer}");
    assert!(answer.contains("content-length: 4\n"), "{answer}");
    assert!(world.events().is_empty(), "{:?}", world.events());
}

#[tokio::test]
async fn a_client_without_alpn_gets_http1() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["h2", "http/1.1"]), echo).await;
    let mut guest = world.tls(server, &[]).await.unwrap();
    assert_eq!(guest.get_ref().1.alpn_protocol(), None);
    let answer =
        exchange(&mut guest, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let mut sent = String::new();
    for index in 0..20 {
        let close = if index == 19 { "Connection: close\r\n" } else { "" };
        sent.push_str(&format!("GET /{index}/ HTTP/1.1\r\nHost: {HOST}\r\n{close}\r\n"));
    }
    let answers = exchange(&mut guest, &sent).await;
    let order: Vec<_> = (0..20).map(|index| answers.find(&format!("GET /{index}/\n"))).collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn a_half_closed_guest_gets_its_answer() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    guest.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    guest.shutdown().await.unwrap();
    let answer = read_to_end(&mut guest).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn old_clients_are_served() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &[]).await.unwrap();
    let answer = exchange(&mut guest, &format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    );
    guest.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut guest, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    let answer = exchange(&mut guest, "abc").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\nabc"), "{answer}");
}

#[tokio::test]
async fn upgraded_connections_are_copied() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), |mut request| async move {
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert!(request.headers()["connection"].to_str().unwrap().eq_ignore_ascii_case("upgrade"));
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let got = read_until(&mut stream, "ping").await;
            stream.write_all(format!("{got}-pong").as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            stream.write_all(&rest).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "x")
            .body(full(""))
            .unwrap()
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    guest.write_all(head.as_bytes()).await.unwrap();
    let head = read_until(&mut guest, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: x\r\n"), "{head}");
    guest.write_all(b"ping").await.unwrap();
    assert_eq!(read_until(&mut guest, "-pong").await, "ping-pong");
    guest.write_all(b"the rest").await.unwrap();
    guest.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut guest).await, "the rest");
}

#[tokio::test]
async fn requests_for_another_host_are_misdirected() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    for (target, host) in [("/", "other.example"), ("https://other.example/", HOST)] {
        let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = exchange(&mut guest, &request).await;
        assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{answer}");
        assert!(answer.contains("other.example") && answer.contains("server: msb\r\n"), "{answer}");
    }
    let expected = Reason::Misdirected { requested: "other.example".to_owned(), host: HOST.to_owned() };
    assert_eq!(world.reasons(), [expected.clone(), expected]);
}

#[tokio::test]
async fn requests_without_one_host_and_tunnels_are_refused() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let requests = [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"), "400"),
        (format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"), "403"),
        (
            format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            "501",
        ),
    ];
    for (request, status) in &requests {
        let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
        guest.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut guest, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    let expected = [
        Reason::Request(BadRequest::NoHost),
        Reason::Request(BadRequest::SeveralHosts),
        Reason::Connect,
        Reason::Request(BadRequest::TransferEncoding),
    ];
    assert_eq!(world.reasons(), expected);
}

/// A server that shows the bytes of the first request.
async fn raw_server(world: &World, body_end: &'static str) -> std::net::SocketAddr {
    serve_tls(world.ca.config(&["http/1.1"]), move |mut stream| async move {
        let got = read_until(&mut stream, body_end).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: x-shown\r\nConnection: close\r\n\r\n";
        stream.write_all(format!("{head}{got}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

#[tokio::test]
async fn a_message_with_two_lengths_reaches_the_server_with_one() {
    let world = World::new();
    let server = raw_server(&world, "0\r\n\r\n").await;
    for fields in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let answer = exchange(&mut guest, &request).await.to_lowercase();
        let (_, request) = answer.split_once("\r\n\r\n").unwrap();
        assert!(request.contains("transfer-encoding: chunked"), "{answer}");
        assert!(!request.contains("content-length"), "{answer}");
    }
}

#[tokio::test]
async fn names_of_header_fields_keep_their_case() {
    let world = World::new();
    let server = raw_server(&world, "\r\n\r\n").await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-CamelCase: 1\r\n\r\n");
    let answer = exchange(&mut guest, &request).await;
    assert!(answer.contains("X-CamelCase: 1\r\n"), "{answer}");
    assert!(answer.contains("Content-Encoding: x-shown\r\n"), "{answer}");
}

#[tokio::test]
async fn a_server_that_hangs_up_before_it_answers_is_reported() {
    let world = World::new();
    let server = serve_tls(world.ca.config(&["http/1.1"]), |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let events = world.events();
    assert!(matches!(&events[..], [Event::UpstreamFailed { .. }]), "{events:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_before_the_first_request_is_reported() {
    let world = World::new();
    let server = serve_tls(world.ca.config(&["http/1.1"]), |mut stream| async move {
        stream.shutdown().await.unwrap();
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let events = world.events();
    let closed = |event: &Event| matches!(event, Event::UpstreamFailed { reason: UpstreamError::Closed, .. });
    assert!(events.len() == 1 && closed(&events[0]), "{events:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_answer_ends_the_connection() {
    let world = World::new();
    let server = serve_tls(world.ca.config(&["http/1.1"]), |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: x\r\nContent-Length: 100\r\n\r\npart";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(answer.to_lowercase().contains("content-length: 100\r\n"), "{answer}");
    assert!(!answer.contains("502"), "{answer}");
}

#[tokio::test]
async fn a_server_that_hangs_up_between_requests_ends_the_connection() {
    let world = World::new();
    let server = serve_tls(world.ca.config(&["http/1.1"]), |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    // The end of the connection is read without another request.
    let answer = exchange(&mut guest, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(world.events().is_empty(), "{:?}", world.events());
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_reported() {
    let world = World::new();
    let server = serve_tls(world.ca.config(&["http/1.1"]), |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"SSH-2.0-server\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let events = world.events();
    let answer =
        |event: &Event| matches!(event, Event::UpstreamFailed { reason: UpstreamError::Answer { .. }, .. });
    assert!(events.len() == 1 && answer(&events[0]), "{events:?}");
}

#[tokio::test]
async fn informational_answers_are_skipped_and_empty_answers_kept() {
    let world = World::new();
    let server = serve_tls(world.ca.config(&["http/1.1"]), |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 304 Not Modified\r\n\
                      Content-Length: 500\r\nETag: \"x\"\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    guest.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let head = read_until(&mut guest, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{head}");
    let answer = exchange(&mut guest, &format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(answer.to_lowercase().contains("content-length: 70000\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}
