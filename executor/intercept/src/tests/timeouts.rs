//! Connections that nobody uses any more, with a clock of the runtime that jumps.

use super::world::{HOST, connection, read_until, serve_tcp, shared};
use crate::{Protocol, Rules};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;
use tokio::time::Instant;

/// A server that answers the first request, and no other.
async fn server() -> std::net::SocketAddr {
    serve_tcp(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await
}

fn get() -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_ends() {
    let (mut guest, connection) = connection(server().await, Protocol::PlainHttp, &[HOST]).await;
    let (shared, _) = shared(Rules::default());
    let begin = Instant::now();
    let serving = crate::connection::serve(shared, connection);
    let using = async {
        guest.write_all(get().as_bytes()).await.unwrap();
        let answer = read_until(&mut guest, "ok").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let mut rest = Vec::new();
        guest.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    };
    LocalSet::new().run_until(async { tokio::join!(serving, using) }).await;
    assert!(begin.elapsed().as_secs() >= 600, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_may_be_gone_does_not_wait_forever() {
    let (mut guest, connection) = connection(server().await, Protocol::PlainHttp, &[HOST]).await;
    let (shared, _) = shared(Rules::default());
    let serving = crate::connection::serve(shared, connection);
    let using = async {
        guest.write_all(get().as_bytes()).await.unwrap();
        read_until(&mut guest, "ok").await;
        guest.write_all(get().as_bytes()).await.unwrap();
        guest.shutdown().await.unwrap();
        let mut rest = Vec::new();
        guest.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    };
    LocalSet::new().run_until(async { tokio::join!(serving, using) }).await;
}
