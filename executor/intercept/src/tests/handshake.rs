//! TLS, protocols that are copied, and servers that are not trusted.

use super::world::{
    HOST, TestCa, World, connection, echo, exchange, handshake, hosts, provider, read_to_end, read_until,
    serve_http, serve_tcp, serve_tls, shared,
};
use crate::{CertificateProblem, Event, ExtraCa, Protocol, Reason, Rules, UpstreamError};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
}

fn upstream_errors(events: &[Event]) -> Vec<UpstreamError> {
    let error = |event: &Event| match event {
        Event::UpstreamFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    events.iter().filter_map(error).collect()
}

#[tokio::test]
async fn the_guest_sees_a_leaf_for_its_name() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let seen = guest.get_ref().1.peer_certificates().unwrap()[0].clone();
    let (_, seen) = x509_parser::parse_x509_certificate(&seen).unwrap();
    let names = seen.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [x509_parser::prelude::GeneralName::DNSName(HOST)]);
    assert_eq!(seen.issuer().iter_common_name().next().unwrap().as_str(), Ok("msb sandbox test"));
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_explained() {
    let world = World::with_roots(Rules::default(), TestCa::new(), RootCertStore::empty());
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &get()).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(answer.contains("the certificate of api.example.org is not trusted"), "{answer}");
    assert!(answer.contains("tls { ca"), "{answer}");
    let expected =
        UpstreamError::Certificate { host: HOST.to_owned(), problem: CertificateProblem::UnknownIssuer };
    assert_eq!(upstream_errors(&world.events()), [expected]);
}

#[tokio::test]
async fn a_server_for_another_name_is_not_trusted() {
    let world = World::new();
    let mut config = world.ca.config(&["http/1.1"]);
    let (certificates, key) = world.ca.certificate_for(&["other.example"]);
    config = ServerConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let server = serve_http(config, echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &get()).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let expected =
        UpstreamError::Certificate { host: HOST.to_owned(), problem: CertificateProblem::OtherHost };
    assert_eq!(upstream_errors(&world.events()), [expected]);
}

#[tokio::test]
async fn an_added_ca_is_trusted_for_its_hosts_alone() {
    let ca = TestCa::new();
    let added =
        |pattern: &str| ExtraCa { certificates: vec![ca.certificate.clone()], hosts: hosts(&[pattern]) };
    let other = Rules { cas: vec![added("other.example")], ..Rules::default() };
    let own = Rules { cas: vec![added("*.example.org")], ..Rules::default() };
    let world = World::with_roots(other, ca, RootCertStore::empty());
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &get()).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    world.interceptor.set_rules(own);
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &get()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_server_that_demands_a_client_certificate_is_explained() {
    let world = World::new();
    let mut roots = RootCertStore::empty();
    roots.add(world.ca.certificate.clone()).unwrap();
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider());
        let (certificates, key) = world.ca.certificate_for(&[HOST]);
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(certificates, key)
            .unwrap();
        let server = serve_http(config, echo).await;
        let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
        let answer = exchange(&mut guest, &get()).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
        assert!(answer.contains("bypass"), "{answer}");
    }
    let expected = UpstreamError::ClientCertificate { host: HOST.to_owned() };
    assert_eq!(upstream_errors(&world.events()), [expected.clone(), expected]);
}

#[tokio::test]
async fn sessions_with_servers_are_resumed() {
    let world = World::new();
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    let server = serve_tls(world.ca.config(&["http/1.1"]), move |mut stream| {
        seen.lock().unwrap().push(stream.get_ref().1.handshake_kind().unwrap());
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            let _ = stream.shutdown().await;
        }
    })
    .await;
    for _ in 0..2 {
        let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
        assert_eq!(guest.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        assert!(exchange(&mut guest, &get()).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(*kinds.lock().unwrap(), [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn a_server_without_tls_is_explained() {
    let world = World::new();
    let server = serve_tcp(|mut stream| async move {
        let mut buffer = [0; 512];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    let answer = exchange(&mut guest, &get()).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(answer.contains("the server does not speak TLS"), "{answer}");
}

#[tokio::test]
async fn bypassed_hosts_show_their_own_certificate() {
    let world = World::with(Rules { bypass: hosts(&["*.example.org"]), ..Rules::default() });
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    assert!(world.tls(server, &["http/1.1"]).await.is_err(), "it has no leaf of the sandbox");
    let mut roots = RootCertStore::empty();
    roots.add(world.ca.certificate.clone()).unwrap();
    let tcp = world.tcp(server, Protocol::Tls, &[HOST]).await;
    let mut guest = handshake(tcp, roots, &["http/1.1"], HOST).await.unwrap();
    let answer = exchange(&mut guest, &get()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn protocols_other_than_tls_are_copied() {
    let world = World::new();
    let server = serve_tcp(|mut stream| async move {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        stream.write_all(&got).await.unwrap();
        stream.write_all(b"-end").await.unwrap();
    })
    .await;
    let mut guest = world.tcp(server, Protocol::Tls, &[HOST]).await;
    guest.write_all(b"SSH-2.0-guest\r\n").await.unwrap();
    guest.shutdown().await.unwrap();
    let mut got = String::new();
    guest.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "SSH-2.0-guest\r\n-end");
}

#[tokio::test]
async fn a_server_that_sends_first_is_copied() {
    let world = World::new();
    let server = serve_tcp(|mut stream| async move {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let line = read_until(&mut stream, "\n").await;
        stream.write_all(line.as_bytes()).await.unwrap();
    })
    .await;
    for kind in [Protocol::Tls, Protocol::PlainHttp] {
        let mut guest = world.tcp(server, kind, &[HOST]).await;
        assert_eq!(read_until(&mut guest, "\n").await, "220 ready\r\n");
        guest.write_all(b"EHLO\n").await.unwrap();
        assert_eq!(read_until(&mut guest, "\n").await, "EHLO\n");
    }
}

#[tokio::test]
async fn other_protocols_in_tls_are_refused() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let error = world.tls(server, &["postgresql"]).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert_eq!(world.reasons(), [Reason::Protocol("postgresql".to_owned())]);
}

#[tokio::test]
async fn a_client_without_a_name_and_a_damaged_hello_are_refused() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    world.tls_named(server, &[], "127.0.0.1", &[]).await.unwrap_err();
    assert_eq!(world.reasons(), [Reason::NoServerName]);
    let mut guest = world.tcp(server, Protocol::Tls, &[HOST]).await;
    guest.write_all(&[22, 3, 1, 0, 4, 1, 0, 0, 0]).await.unwrap();
    let mut alert = Vec::new();
    guest.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
    assert!(matches!(world.reasons()[1], Reason::Handshake(_)), "{:?}", world.reasons());
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_sandbox_is_reported() {
    let world = World::new();
    let server = serve_http(world.ca.config(&["http/1.1"]), echo).await;
    let mut roots = RootCertStore::empty();
    roots.add(world.ca.certificate.clone()).unwrap();
    let tcp = world.tcp(server, Protocol::Tls, &[HOST]).await;
    handshake(tcp, roots, &["http/1.1"], HOST).await.unwrap_err();
    // The connection is over when the next one is.
    while world.reasons().is_empty() {
        tokio::task::yield_now().await;
    }
    let reasons = world.reasons();
    assert!(matches!(&reasons[..], [Reason::Handshake(text)] if text.contains("UnknownCA")), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_ends() {
    let (shared, events) = shared(Rules::default());
    let server = serve_tcp(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    let (mut guest, connection) = connection(server, Protocol::Tls, &[HOST]).await;
    guest.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    crate::connection::serve(shared, connection).await;
    let mut rest = Vec::new();
    guest.read_to_end(&mut rest).await.unwrap();
    let events = events.lock().unwrap();
    let slow = Reason::Handshake("it takes too long".to_owned());
    assert!(matches!(&events[..], [Event::Refused { reason, .. }] if *reason == slow), "{events:?}");
}

#[tokio::test]
async fn the_end_of_the_interceptor_ends_connections() {
    let world = World::new();
    let server = serve_tls(world.ca.config(&["http/1.1"]), |mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut guest = world.tls(server, &["http/1.1"]).await.unwrap();
    guest.write_all(get().as_bytes()).await.unwrap();
    let handle = world.interceptor.handle();
    drop(world);
    assert_eq!(read_to_end(&mut guest).await, "");
    let (mut guest, connection) = connection(server, Protocol::Tls, &[HOST]).await;
    handle.intercept(connection);
    let mut rest = Vec::new();
    guest.read_to_end(&mut rest).await.unwrap();
}
