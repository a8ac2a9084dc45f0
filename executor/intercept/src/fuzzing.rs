//! Entry points for the fuzz targets in `tests/fuzz`: the proxy on streams in memory.

mod play;

use crate::authority::{Authority, Leaves};
use crate::clock::{Clock, SystemClock};
use crate::connection::hello::{self, Hello};
use crate::event::Events;
use crate::proxy::{self, Destination, HttpVersion, Server};
use crate::rules::{Rules, Shared};
use crate::secret::{Inject, Secret, Value};
use crate::substitute::{BodyPlan, Replacer, Substitution};
use crate::upstream::HostRoots;
use ::rules::rule::DomainName;
use bytes::BytesMut;
use http::HeaderMap;
use schemas::spec::OnViolation;
use std::collections::BTreeSet;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use play::{Exchanged, Message, Side};

/// The host that the secret may be sent to.
pub const HOST: &str = "api.test";
/// Another host.
pub const OTHER_HOST: &str = "other.test";
/// The placeholder of the secret.
pub const PLACEHOLDER: &str = "$MSB_TOKEN";
/// The value of the secret.
pub const VALUE: &str = "s3cr3t-value";

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// TLS, with the server name.
    Tls(Option<String>),
    /// TLS that is refused.
    Refused,
    /// Something else.
    Other,
}

/// Reads the beginning of a connection, which arrives in these parts.
///
/// # Panics
///
/// If it waits for more after the last one.
pub fn greeting(parts: &[&[u8]]) -> Greeting {
    let bytes = parts.concat();
    let mut guest = Parts { parts, at: 0, sent: 0 };
    let mut reading = pin!(hello::read(&mut guest));
    let read = match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => unreachable!("all bytes have arrived"),
    };
    match read {
        Ok(Ok(Hello::Tls { accepted, raw, rest })) => {
            // Bytes are neither lost nor invented.
            assert!(bytes.starts_with(&raw) && raw.ends_with(&rest), "other bytes are replayed");
            Greeting::Tls(accepted.client_hello().server_name().map(str::to_owned))
        }
        Ok(Ok(Hello::Other { raw })) => {
            assert!(bytes.starts_with(&raw), "other bytes are replayed");
            Greeting::Other
        }
        Ok(Err(_)) | Err(_) => Greeting::Refused,
    }
}

/// A stream of parts, each of which is one read. What is written is dropped.
struct Parts<'a> {
    parts: &'a [&'a [u8]],
    at: usize,
    /// The bytes of the part that were read.
    sent: usize,
}

impl AsyncRead for Parts<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(part) = self.parts.get(self.at) {
            let rest = &part[self.sent..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            self.sent += count;
            if self.sent == part.len() {
                (self.at, self.sent) = (self.at + 1, 0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Parts<'_> {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn secret() -> Secret {
    Secret {
        name: "TOKEN".to_owned(),
        placeholder: PLACEHOLDER.to_owned(),
        value: Value::new(VALUE.as_bytes().to_vec()),
        hosts: BTreeSet::from([HOST.parse().expect("a host")]),
        passthrough_hosts: BTreeSet::new(),
        on_violation: OnViolation::BlockAndLog,
        inject: Inject { headers: true, basic_auth: true, query: true, body: true, ..Inject::default() },
        require_tls: true,
    }
}

fn name(text: &str) -> DomainName {
    DomainName::new(text).expect("a name")
}

/// A proxy with one secret.
fn shared() -> Arc<Shared> {
    static SHARED: OnceLock<Arc<Shared>> = OnceLock::new();
    let make = || {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (authority, _) = Authority::create("fuzz", SystemTime::now()).expect("an authority");
        let leaves = Leaves::new(authority, Arc::clone(&clock)).expect("a key");
        let rules = Rules { secrets: vec![secret()], ..Rules::default() };
        Arc::new(Shared::new(leaves, Events::new(Box::new(drop)), clock, HostRoots::default(), rules))
    };
    Arc::clone(SHARED.get_or_init(make))
}

/// Runs a connection to a host through the proxy. Both sides play until neither has more to do.
pub fn exchange(is_http2: bool, host: &str, guest: &Side<'_>, server: &Side<'_>) -> Exchanged {
    let version = if is_http2 { HttpVersion::Http2 } else { HttpVersion::Http1 };
    let sni = name(host);
    let remote = ([192, 0, 2, 1], 443).into();
    let destination = Destination { sni: Some(sni.clone()), names: [sni].into(), remote };
    play::run(is_http2, host, guest, server, |guest, stream| async move {
        let server = Server { stream, certificate_requested: false };
        proxy::serve(&shared(), destination, version, guest, server).await;
    })
}

/// What happens to a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is not read at all.
    Unchanged,
    /// It is refused.
    Refused,
    /// These bytes are sent, of which there are as many as was announced.
    Sent(Vec<u8>),
}

/// Replaces the body of a request, which arrives in these parts.
pub fn request_body(host: &str, content_type: &str, parts: &[&[u8]]) -> Replaced {
    let host = name(host);
    let substitution = Substitution::new([secret()].into(), Some(&host), &host, true);
    let replacer = match substitution.request_body(&headers(content_type)) {
        BodyPlan::Unchanged => return Replaced::Unchanged,
        BodyPlan::Scan(replacer) | BodyPlan::Replace(replacer) => replacer,
    };
    let length = replacer.clone().replaced_length(&parts.concat());
    let sent = replaced(replacer, parts);
    match (&sent, length) {
        (Replaced::Sent(bytes), Ok(length)) => assert_eq!(bytes.len() as u64, length),
        (Replaced::Sent(_), Err(_)) => panic!("only its length is refused"),
        (_, Ok(_)) => panic!("only its length is not refused"),
        (_, Err(_)) => {}
    }
    sent
}

/// Masks the body of a response, which arrives in these parts.
pub fn response_body(content_type: &str, parts: &[&[u8]]) -> Replaced {
    let host = name(HOST);
    let substitution = Substitution::new([secret()].into(), Some(&host), &host, true);
    substitution
        .response_body(&headers(content_type))
        .map_or(Replaced::Unchanged, |replacer| replaced(replacer, parts))
}

fn headers(content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, content_type.parse().expect("a type"));
    headers
}

fn replaced(mut replacer: Replacer, parts: &[&[u8]]) -> Replaced {
    let mut out = BytesMut::new();
    for part in parts {
        if replacer.push(part, &mut out).is_err() {
            return Replaced::Refused;
        }
    }
    if replacer.finish(&mut out).is_err() { Replaced::Refused } else { Replaced::Sent(out.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_messages_are_played_in_both_versions() {
        let body = format!("a {PLACEHOLDER} b");
        for (is_http2, host, is_sent) in
            [(false, HOST, true), (true, HOST, true), (false, OTHER_HOST, false), (true, OTHER_HOST, false)]
        {
            let exchanged = exchange(is_http2, host, &Side::Valid(body.as_bytes()), &Side::Valid(b""));
            let sent: Vec<_> = exchanged.requests.iter().map(|request| request.body.as_slice()).collect();
            let expected = format!("a {VALUE} b");
            if is_sent {
                assert_eq!(sent, [expected.as_bytes()], "{is_http2}");
            } else {
                // The head may be there before the body is refused.
                assert!(sent.iter().all(|body| body.is_empty()), "{is_http2} {sent:?}");
            }
            let answers: Vec<_> = exchanged.responses.iter().map(|response| response.status).collect();
            assert_eq!(answers, [if is_sent { 200 } else { 403 }]);
        }
        let request = format!("GET /{PLACEHOLDER} HTTP/1.1\r\nhost: {HOST}\r\nx: {PLACEHOLDER}\r\n\r\n");
        let raw = exchange(false, HOST, &Side::Raw(&[request.as_bytes()]), &Side::Valid(b""));
        assert_eq!(raw.requests.len(), 1);
        assert!(raw.requests[0].head.contains(VALUE), "{:?}", raw.requests);
        assert!(String::from_utf8_lossy(&raw.to_guest).starts_with("HTTP/1.1 200"));
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{VALUE}");
        let raw = exchange(false, HOST, &Side::Valid(b""), &Side::Raw(&[answer.as_bytes()]));
        assert!(raw.to_server.starts_with(b"POST / HTTP/1.1\r\n"));
        assert_eq!(raw.responses[0].body, PLACEHOLDER.as_bytes());
    }

    #[test]
    fn greetings_and_bodies_are_the_same_in_parts() {
        assert_eq!(greeting(&[b"GET", b" /"]), Greeting::Other);
        assert_eq!(greeting(&[&[22], &[3, 1, 0]]), Greeting::Refused);
        let parts: [&[u8]; 3] = [b"x $MSB", b"_TOK", b"EN y"];
        assert_eq!(request_body(HOST, "text/plain", &parts), Replaced::Sent(b"x s3cr3t-value y".to_vec()));
        assert_eq!(request_body(OTHER_HOST, "text/plain", &parts), Replaced::Refused);
        let parts: [&[u8]; 2] = [b"x s3cr3t", b"-value y"];
        assert_eq!(response_body("text/plain", &parts), Replaced::Sent(b"x $MSB_TOKEN y".to_vec()));
    }
}
