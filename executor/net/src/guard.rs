//! Extracts the server names of a connection that a rule allows by name: the SNI of a TLS ClientHello, the host of each
//! HTTP/1 request. Other protocols have none and pass.
//!
//! ```text
//! Greeting ─► TLS: the name ─► open
//!    │ ├────► another protocol ─► open
//!    │ └────► PostgreSQL's request for TLS (8 bytes pass) ─► Greeting
//!    └──────► HTTP: the name ─► body ─► the next request: its name ─► …
//! ```

use crate::http::{self, Body, Head, Request};
use crate::sni;
use rules::rule::DomainName;

/// The number of bytes that are inspected before a decision, at most.
pub const INSPECT_BYTES_MAX: usize = 64 * 1024;
/// PostgreSQL's SSLRequest and GSSENCRequest, which precede a TLS or GSSAPI handshake.
const POSTGRES: [[u8; 8]; 2] = [[0, 0, 0, 8, 4, 210, 22, 47], [0, 0, 0, 8, 4, 210, 22, 48]];

/// The state of a client's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing was identified yet.
    #[default]
    Greeting,
    /// Before the next request of an HTTP connection.
    Request,
    /// Before the first line of a chunk.
    Chunk,
    /// Before the line end after a chunk's data.
    ChunkEnd,
    /// Before the trailer fields after the last chunk.
    Trailers,
    /// All bytes pass.
    Open,
}

/// The decision about a client's next bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    NeedMore,
    /// This many bytes may pass.
    Pass(u64),
    /// All further bytes may pass.
    Open,
    /// This server name must be checked; [`Guard::admit`] continues.
    CheckName(DomainName),
    /// No further byte may pass, for this reason.
    Refuse(&'static str),
}

/// Follows one client's stream.
#[derive(Debug, Default)]
pub struct Guard {
    stage: Stage,
    /// What to do once the name is admitted: pass this many bytes, then enter this state.
    next: (u64, Stage),
    /// The last name is that of the first message, which is an HTTP request.
    is_first_request: bool,
}

impl Guard {
    /// Decides on the waiting bytes. `ended`: the client sends no more.
    pub fn inspect(&mut self, bytes: &[u8], ended: bool) -> Step {
        match self.stage {
            Stage::Open => Step::Open,
            _ if bytes.is_empty() => Step::NeedMore,
            Stage::Greeting => self.greeting(bytes, ended),
            Stage::Request => self.request(bytes, ended),
            Stage::Chunk => match http::chunk(bytes) {
                None if ended => Step::Refuse("its HTTP request is incomplete"),
                None => Step::NeedMore,
                Some(Err(why)) => Step::Refuse(why),
                Some(Ok(http::Chunk { line, size })) => {
                    self.stage = if size == 0 { Stage::Trailers } else { Stage::ChunkEnd };
                    Step::Pass(size.saturating_add(u64::try_from(line).unwrap_or(u64::MAX)))
                }
            },
            Stage::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => self.pass(2, Stage::Chunk),
                [b'\r'] if !ended => Step::NeedMore,
                _ => Step::Refuse("a chunk of its HTTP request cannot be read"),
            },
            Stage::Trailers => {
                match bytes[..bytes.len().min(http::HEAD_BYTES_MAX)].iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        let is_last = matches!(&bytes[..end], b"" | b"\r");
                        self.pass(end + 1, if is_last { Stage::Request } else { Stage::Trailers })
                    }
                    None if ended || bytes.len() >= http::HEAD_BYTES_MAX => {
                        Step::Refuse("its HTTP request is incomplete")
                    }
                    None => Step::NeedMore,
                }
            }
        }
    }

    /// Continues after the last name was admitted.
    pub fn admit(&mut self) -> Step {
        let (bytes, stage) = std::mem::take(&mut self.next);
        self.stage = stage;
        if stage == Stage::Open { Step::Open } else { Step::Pass(bytes) }
    }

    fn pass(&mut self, bytes: usize, stage: Stage) -> Step {
        self.stage = stage;
        Step::Pass(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn open(&mut self) -> Step {
        self.stage = Stage::Open;
        Step::Open
    }

    fn greeting(&mut self, bytes: &[u8], ended: bool) -> Step {
        if POSTGRES.iter().any(|request| bytes.starts_with(request)) {
            return self.pass(POSTGRES[0].len(), Stage::Greeting);
        }
        if POSTGRES.iter().any(|request| request.starts_with(bytes)) {
            return if ended { self.open() } else { Step::NeedMore };
        }
        match sni::server_name(bytes) {
            sni::ServerName::Name(name) => {
                self.next = (0, Stage::Open);
                Step::CheckName(name)
            }
            sni::ServerName::Refused(why) => Step::Refuse(why),
            sni::ServerName::Incomplete if ended => Step::Refuse("its TLS greeting is incomplete"),
            sni::ServerName::Incomplete => Step::NeedMore,
            sni::ServerName::NotTls => match http::head(bytes) {
                Head::NotHttp => self.open(),
                // A server may treat the end of the stream as the end of the line.
                Head::Incomplete { is_http: false } if ended => match http::head(&[bytes, b"\n"].concat()) {
                    Head::NotHttp | Head::Incomplete { is_http: false } => self.open(),
                    head => self.head(head, true),
                },
                head => self.head(head, ended),
            },
        }
    }

    fn request(&mut self, bytes: &[u8], ended: bool) -> Step {
        match http::head(bytes) {
            // Blank lines between requests have no meaning.
            Head::Incomplete { is_http: false } if ended && bytes.iter().all(u8::is_ascii_whitespace) => {
                self.pass(bytes.len(), Stage::Request)
            }
            Head::NotHttp => Step::Refuse("what follows its HTTP request cannot be read"),
            head => self.head(head, ended),
        }
    }

    /// Whether the last name or refusal is that of an HTTP request that begins the stream.
    pub fn is_first_request(&self) -> bool {
        self.is_first_request
    }

    fn head(&mut self, head: Head, ended: bool) -> Step {
        self.is_first_request =
            self.stage == Stage::Greeting && matches!(head, Head::Request(_) | Head::Refused(_));
        match head {
            Head::Request(Request { host, length, body }) => {
                let length = u64::try_from(length).unwrap_or(u64::MAX);
                self.next = match body {
                    Body::Length(body) => (length.saturating_add(body), Stage::Request),
                    Body::Chunked => (length, Stage::Chunk),
                    Body::Tunnel => (length, Stage::Open),
                };
                Step::CheckName(host)
            }
            Head::Refused(why) => Step::Refuse(why),
            Head::Incomplete { .. } if ended => Step::Refuse("its HTTP request is incomplete"),
            Head::Incomplete { .. } | Head::NotHttp => Step::NeedMore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that a client presents that sends these bytes one at a time, and how many of them pass.
    fn follow(bytes: &[u8]) -> Result<(Vec<String>, usize), &'static str> {
        let (mut guard, mut names, mut passed) = (Guard::default(), Vec::new(), 0);
        for end in 1..=bytes.len() {
            while passed < end {
                let step = match guard.inspect(&bytes[passed..end], false) {
                    Step::CheckName(name) => {
                        names.push(name.to_string());
                        guard.admit()
                    }
                    step => step,
                };
                match step {
                    Step::NeedMore => break,
                    Step::Pass(count) => passed += usize::try_from(count).unwrap(),
                    Step::Open => passed = bytes.len(),
                    Step::Refuse(why) => return Err(why),
                    Step::CheckName(_) => unreachable!(),
                }
            }
        }
        Ok((names, passed))
    }

    #[test]
    fn the_name_of_every_request_is_checked() {
        let text = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 21\r\n\r\nGET / HTTP/1.1\r\nHost:\n\
            \r\nPUT / HTTP/1.1\r\nHost: b.test\r\nTransfer-Encoding: chunked\r\n\r\n\
            4\r\nGET \r\n3;x\r\n0\r\n\r\n0\r\nTrailer: x\r\n\r\n\
            GET / HTTP/1.1\r\nHost: c.test\r\n\r\n";
        let names = ["a.test", "b.test", "c.test"].map(str::to_owned).to_vec();
        assert_eq!(follow(text), Ok((names, text.len())));
        let broken = b"PUT / HTTP/1.1\r\nHost: b.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET x";
        assert_eq!(follow(broken), Err("a chunk of its HTTP request cannot be read"));
        let other = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n\x16\x03\x01";
        assert_eq!(follow(other), Err("what follows its HTTP request cannot be read"));
    }

    #[test]
    fn protocols_without_a_name_pass() {
        for bytes in [&b"SSH-2.0-x\r\n"[..], b"EHLO me\r\n", &[0, 0, 0, 9, 0, 3, 0, 0, 0], &[22, 1, 2]] {
            assert_eq!(follow(bytes), Ok((Vec::new(), bytes.len())), "{bytes:?}");
        }
    }

    #[test]
    fn a_client_hello_after_a_postgres_ssl_request_is_inspected() {
        let plain = [&POSTGRES[0][..], &[0, 0, 0, 9, 0, 3, 0, 0, 0]].concat();
        assert_eq!(follow(&plain), Ok((Vec::new(), plain.len())));
        let hello = sni::tests::records(&sni::tests::hello(&[sni::tests::sni("db.test")]), 1000);
        let tls = [&POSTGRES[0][..], &hello].concat();
        assert_eq!(follow(&tls), Ok((vec!["db.test".to_owned()], tls.len())));
        let nameless = [&POSTGRES[1][..], &sni::tests::records(&sni::tests::hello(&[]), 1000)].concat();
        assert_eq!(follow(&nameless), Err("its TLS greeting shows no name"));
    }

    #[test]
    fn an_early_end_of_stream_is_decided() {
        let ended = |bytes: &[u8]| Guard::default().inspect(bytes, true);
        assert_eq!(ended(b"hello"), Step::Open);
        assert_eq!(ended(b"hello world"), Step::Open);
        assert_eq!(ended(&[0, 0]), Step::Open);
        assert_eq!(ended(&[22, 3, 1]), Step::Refuse("its TLS greeting is incomplete"));
        for half in [&b"GET / HTTP/1.1\r\nHost: a.test\r\n"[..], b"GET / HTTP/1.1"] {
            assert_eq!(ended(half), Step::Refuse("its HTTP request is incomplete"));
        }
        assert_eq!(ended(b"GET /"), Step::Refuse("its HTTP request shows no name"));
        assert_eq!(ended(b"GET /\x0c"), Step::Refuse("its first line has control characters"));
        assert_eq!(ended(b"\r\n"), Step::Open);
    }
}
