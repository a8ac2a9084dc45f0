//! Serves metrics over HTTP.

use super::{prometheus, rows};
use crate::error::{CliError, Context};
use crate::output::OutputOptions;
use executor_host::home::Home;
use executor_metrics::RegistryError;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The most connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// The longest life of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head of a request in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The pause after a connection could not be accepted, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Parses an address to listen at; a port alone is one of 127.0.0.1.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    text.parse().map_err(|_| "an address is written like `127.0.0.1:9464`, `[::1]:9464` or `9464`".to_owned())
}

/// Serves metrics until the program is interrupted.
pub fn serve(address: SocketAddr, home: &Home, options: OutputOptions) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop")?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(address).await.context(format_args!("cannot listen at {address}"))?;
        let address = listener.local_addr().context("cannot listen")?;
        options.say(&format!("serving the metrics of all projects at http://{address}/metrics"));
        let (mut interrupted, mut terminated) = (
            signal(SignalKind::interrupt()).context("cannot catch signals")?,
            signal(SignalKind::terminate()).context("cannot catch signals")?,
        );
        tokio::select! {
            never = accept(&listener, home) => match never {},
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn accept(listener: &TcpListener, home: &Home) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, _)) => {
                let home = home.clone();
                tokio::spawn(async move {
                    // How a connection ends is its client's matter.
                    let _ = timeout(CONNECTION_TIMEOUT, converse(stream, &home)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, home: &Home) -> Result<(), hyper::Error> {
    let is_local = stream.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let answer = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, is_local, home))
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn answer<B>(request: &Request<B>, is_local: bool, home: &Home) -> Response<Full<Bytes>> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // A page of the web whose name leads to 127.0.0.1 does not read them in a browser.
    if is_local && !is_own_name(host) {
        return text(
            StatusCode::FORBIDDEN,
            format!("`{host}` is not a name of this machine: use 127.0.0.1\n"),
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "metrics are read with GET\n".to_owned());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => match rows::all(home) {
            Ok(rows) => {
                let mut found = text(StatusCode::OK, prometheus::text(&rows));
                let kind = hyper::header::HeaderValue::from_static(prometheus::MEDIA_TYPE);
                found.headers_mut().insert(CONTENT_TYPE, kind);
                found
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", with_causes(&error))),
        },
        "/" => text(StatusCode::OK, "the metrics are at /metrics\n".to_owned()),
        path => text(StatusCode::NOT_FOUND, format!("nothing is at {path}: the metrics are at /metrics\n")),
    }
}

fn with_causes(error: &RegistryError) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// Whether a `Host` is an address or `localhost`, with or without a port.
fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports_are_parsed() {
        let loopback = "127.0.0.1:9464".parse().unwrap();
        for text in ["9464", ":9464", "127.0.0.1:9464"] {
            assert_eq!(address(text), Ok(loopback), "{text}");
        }
        assert_eq!(address("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
        for text in ["", "70000", "localhost", "127.0.0.1"] {
            assert!(address(text).unwrap_err().contains("127.0.0.1:9464"), "{text}");
        }
    }

    #[test]
    fn requests_get_metrics_or_a_reason() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(root.path().join("home")).unwrap();
        let status = |method: &str, path: &str, host: &str| {
            let request = Request::builder().method(method).uri(path).header(HOST, host).body(()).unwrap();
            answer(&request, true, &home).status().as_u16()
        };
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "[::1]:9464", "[::1]"] {
            assert_eq!(status("GET", "/metrics", host), 200, "{host}");
        }
        for host in ["evil.example.org", "localhost.evil.example.org:9464", "127.0.0.1.evil.example.org", ""]
        {
            assert_eq!(status("GET", "/metrics", host), 403, "{host}");
        }
        assert_eq!(status("GET", "/other", "localhost"), 404);
        assert_eq!(status("POST", "/metrics", "localhost"), 405);
    }
}
