//! The answers of the servers.
//!
//! | path | answer |
//! | --- | --- |
//! | `/echo…` | the target, the headers and the body of the request; header `x-echo` repeats `x-sent` |
//! | `/redirect?URL` | a redirection |
//! | `/upgrade…` | `101 Switching Protocols`; then everything comes back |
//! | `/trailers…` | the trailers `grpc-status: 0` and `x-received`, which repeats the request's trailer `x-sent` |
//! | `/large?N` | N zeros |
//! | `/files/…` | a file of the directory of files |
//! | others | `SERVER saw METHOD TARGET: LENGTH SHA-256` |

use super::record::{BodyRecord, Record, Request};
use ::http::header::{CONNECTION, HOST, LOCATION, UPGRADE};
use ::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

const ZEROS: &[u8] = &[0; 64 * 1024];
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves a connection until it ends.
pub async fn serve<S>(stream: S, is_http2: bool, record: &Record) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request, record.clone()));
    let io = TokioIo::new(stream);
    let result = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1024 * 1024).initial_connection_window_size(1024 * 1024);
        builder.serve_connection(io, service).await
    } else {
        http1::Builder::new().half_close(true).serve_connection(io, service).with_upgrades().await
    };
    result.map_err(io::Error::other)
}

async fn answer(mut request: ::http::Request<Incoming>, record: Record) -> Result<Answer, Infallible> {
    let upgrade = request.uri().path().starts_with("/upgrade").then(|| hyper::upgrade::on(&mut request));
    let index = record.request(head(&request, record.host()));
    let mut body = BodyRecord::new(record.clone(), index);
    let mut incoming = request.into_body();
    while let Some(frame) = incoming.frame().await {
        // The record stays incomplete.
        let Ok(frame) = frame else { return Ok(Response::new(text("incomplete"))) };
        match frame.into_data() {
            Ok(data) => body.push(&data),
            Err(frame) => body.trailers(frame.trailers_ref().map(fields).unwrap_or_default()),
        }
    }
    body.finish();
    let request = record.get(index);
    if let Some(upgrade) = upgrade {
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        });
        let mut response = Response::new(text(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        return Ok(response);
    }
    Ok(plain_answer(&request, record.files()))
}

fn plain_answer(request: &Request, files: &Path) -> Answer {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    if path.starts_with("/echo") {
        let fields = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let body = format!("{}\n{}\n{}", request.target, fields.collect::<String>(), request.text());
        let mut response = Response::new(text(&body));
        if let Ok(value) = HeaderValue::from_str(&request.header("x-sent")) {
            response.headers_mut().insert("x-echo", value);
        }
        return response;
    }
    if path.starts_with("/redirect") {
        let mut response = Response::new(text("elsewhere"));
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response.headers_mut().insert(LOCATION, HeaderValue::from_str(query).expect("a URL"));
        return response;
    }
    if path.starts_with("/trailers") {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        if let Ok(value) = HeaderValue::from_str(&request.header("x-sent")) {
            trailers.insert("x-received", value);
        }
        let body = Full::new(Bytes::from("with trailers\n")).with_trailers(async { Some(Ok(trailers)) });
        let mut response = Response::new(body.boxed());
        // In HTTP/1.1, a body with a length has no trailers.
        if request.version == "HTTP/1.1" {
            response.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        }
        response.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status, x-received"));
        return response;
    }
    if path == "/large" {
        return Response::new(Zeros(query.parse().unwrap_or_default()).boxed());
    }
    if let Some(name) = path.strip_prefix("/files/") {
        return file(files, name);
    }
    let Request { server, method, target, length, digest, .. } = request;
    Response::new(text(&format!("{server} saw {method} {target}: {length} {digest}\n")))
}

fn file(folder: &Path, name: &str) -> Answer {
    let path = folder.join(name);
    let path = if path.is_dir() { path.join("index.html") } else { path };
    let bytes = if name.split('/').any(|part| part == "..") { None } else { std::fs::read(&path).ok() };
    let Some(bytes) = bytes else {
        let mut response = Response::new(text("there is no such file\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let is_page = path.extension().is_some_and(|kind| kind == "html");
    let kind = if is_page { "text/html" } else { "application/json" };
    let mut response = Response::new(Full::new(bytes.into()).boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    response
}

fn text(text: &str) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

fn head(request: &::http::Request<Incoming>, server: String) -> Request {
    let uri = request.uri();
    let host = request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    Request {
        server,
        version: format!("{:?}", request.version()),
        method: request.method().to_string(),
        host: host.or_else(|| Some(uri.authority()?.to_string())).unwrap_or_default(),
        target: uri.path_and_query().map_or("*", |target| target.as_str()).to_owned(),
        headers: fields(request.headers()),
        ..Request::default()
    }
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// A body of this many zeros.
struct Zeros(u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.0).unwrap_or(usize::MAX).min(ZEROS.len());
        self.0 -= u64::try_from(length).expect("64 bits");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..length])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}
