//! Secrets in requests and responses.

use super::world::{
    HOST, PLACEHOLDER, VALUE, World, echo, exchange, full, read_until, secret, serve_http, serve_tcp,
};
use crate::{Event, Protocol, Rules, Secret};
use http::Response;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use schemas::spec::OnViolation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn get(field: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {field}\r\nConnection: close\r\n\r\n")
}

fn is_violation(event: &Event, expected_action: OnViolation) -> bool {
    match event {
        Event::Violation { violation, host, .. } => {
            violation.secret == "TOKEN" && host == HOST && violation.action == expected_action
        }
        _ => false,
    }
}

#[tokio::test]
async fn the_server_gets_the_value() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &get(PLACEHOLDER)).await;
    assert!(answer.contains(&format!("authorization: Bearer {VALUE}\n")), "{answer}");
}

#[tokio::test]
async fn a_name_that_the_sandbox_did_not_resolve_gets_no_value() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls_named(server, &["http/1.1"], HOST, &["other.example"]).await.unwrap();
    let answer = exchange(&mut guest, &get(PLACEHOLDER)).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("TOKEN") && !answer.contains(VALUE), "{answer}");
    let events = world.events();
    assert!(events.len() == 1 && is_violation(&events[0], OnViolation::BlockAndLog), "{events:?}");
    assert!(!format!("{events:?}").contains(VALUE));
}

#[tokio::test]
async fn refusals_have_the_form_that_the_client_reads() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls_named(server, &[], HOST, &[]).await.unwrap();
    let request = get(PLACEHOLDER).replace("Connection", "Accept: application/json\r\nConnection");
    let answer = exchange(&mut guest, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["code"], 403);
    assert!(body["error"]["hint"].as_str().unwrap().contains(HOST), "{body}");
}

#[tokio::test]
async fn new_rules_are_for_the_next_request() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let kept = get(PLACEHOLDER).replace("Connection: close\r\n", "");
    guest.write_all(kept.as_bytes()).await.unwrap();
    let head = read_until(&mut guest, "\r\n\r\n").await.to_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    guest.read_exact(&mut body).await.unwrap();
    assert!(String::from_utf8(body).unwrap().contains(VALUE));
    let renewed = Secret { value: crate::Value::new(b"renewed".to_vec()), ..secret() };
    world.interceptor.set_rules(Rules { secrets: vec![renewed], ..Rules::default() });
    let answer = exchange(&mut guest, &get(PLACEHOLDER)).await;
    assert!(answer.contains("authorization: Bearer renewed\n"), "{answer}");
}

#[tokio::test]
async fn echoed_values_are_masked() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), |request| async move {
        let value = request.headers()["authorization"].to_str().unwrap().to_owned();
        let body = full(format!("it was {value}, {value}"));
        Response::builder().header("x-echo", value).body(body).unwrap()
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &get(PLACEHOLDER)).await;
    assert!(!answer.contains(VALUE), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
}

#[tokio::test]
async fn a_body_with_a_length_is_sent_with_its_new_length() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let body = format!("a={PLACEHOLDER}&b={PLACEHOLDER}");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&mut guest, &request).await;
    let expected = format!("a={VALUE}&b={VALUE}");
    assert!(answer.ends_with(&expected), "{answer}");
    assert!(answer.contains(&format!("content-length: {}\n", expected.len())), "{answer}");
}

#[tokio::test]
async fn a_violation_in_a_streamed_body_is_refused() {
    let blocked = Secret { on_violation: OnViolation::BlockAndTerminate, ..secret() };
    let world = World::with(Rules { secrets: vec![blocked], ..Rules::default() });
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls_named(server, &["http/1.1"], HOST, &[]).await.unwrap();
    let body = format!("a={PLACEHOLDER}");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let answer = exchange(&mut guest, &request).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    let events = world.events();
    assert!(events.len() == 1 && is_violation(&events[0], OnViolation::BlockAndTerminate), "{events:?}");
}

#[tokio::test]
async fn secrets_that_do_not_require_tls_are_sent_without_it() {
    let open = Secret { require_tls: false, ..secret() };
    for (secret, value_sent) in [(open, true), (secret(), false)] {
        let world = World::with(Rules { secrets: vec![secret], ..Rules::default() });
        let server = serve_tcp(|mut stream| async move {
            let request = read_until(&mut stream, "\r\n\r\n").await;
            let head = "HTTP/1.1 200 OK\r\nContent-Encoding: x-shown\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}{request}").as_bytes()).await;
        })
        .await;
        let mut guest = world.tcp(server, Protocol::PlainHttp, &[HOST]).await;
        guest.write_all(get(PLACEHOLDER).as_bytes()).await.unwrap();
        let mut answer = String::new();
        guest.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.contains(VALUE), value_sent, "{answer}");
        assert_eq!(answer.starts_with("HTTP/1.1 403"), !value_sent, "{answer}");
        // Another name, which the sandbox did not resolve for the address.
        let mut guest = world.tcp(server, Protocol::PlainHttp, &["other.example"]).await;
        guest.write_all(get(PLACEHOLDER).as_bytes()).await.unwrap();
        let mut answer = String::new();
        guest.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever the writes of the guest are cut, the server gets the values.
    #[test]
    fn placeholders_arrive_however_they_are_cut(cuts in proptest::collection::vec(1usize..12, 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let world = World::new();
            let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
            let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
            let mut request = format!(
                "POST / HTTP/1.1\r\nHost: {HOST}\r\nX-Own: {PLACEHOLDER}\r\nTransfer-Encoding: chunked\r\n\
                 Connection: close\r\n\r\n"
            );
            let body = format!("1{PLACEHOLDER}2{PLACEHOLDER}{PLACEHOLDER}3$MSB_TOKE");
            let mut rest = body.as_bytes();
            for cut in cuts.iter().cycle() {
                let (part, after) = rest.split_at(rest.len().min(*cut));
                request.push_str(&format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap()));
                rest = after;
                if part.is_empty() {
                    break;
                }
            }
            let mut rest = request.as_bytes();
            for cut in cuts.iter().cycle() {
                let (part, after) = rest.split_at(rest.len().min(*cut));
                guest.write_all(part).await.unwrap();
                guest.flush().await.unwrap();
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            exchange(&mut guest, "").await
        });
        let expected = format!("1{VALUE}2{VALUE}{VALUE}3$MSB_TOKE");
        prop_assert!(answer.contains(&format!("x-own: {VALUE}\n")), "{answer}");
        // The answer has one chunk or a length.
        prop_assert!(answer.contains(&expected), "{answer}");
    }
}

#[tokio::test]
async fn bodies_that_grow_arrive_whole() {
    const TIMES: usize = 2000;
    let value = "0123456789abcdef".repeat(1024);
    let long = Secret { value: crate::Value::new(value.clone().into_bytes()), ..secret() };
    let world = World::with(Rules { secrets: vec![long], ..Rules::default() });
    let server = serve_http(world.ca.config(&["http/1.1"]), |request| async move {
        let length =
            request.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(format!("{length:?} {}", body.len())))
    })
    .await;
    let body = PLACEHOLDER.repeat(TIMES);
    let expected = value.len() * TIMES;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let answer = exchange(&mut guest, &request).await;
    assert!(answer.ends_with(&format!("Some(\"{expected}\") {expected}")), "{answer}");
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let answer = exchange(&mut guest, &request).await;
    assert!(answer.contains(&format!("None {expected}")), "{answer}");
}
