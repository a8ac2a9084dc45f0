//! Parser of HTTP/1 request heads (RFC 9112): bounded, incremental, for hostile input.
//!
//! Requests that servers are known to parse differently (folded lines, repeated `Host`, a length next to chunks) are
//! refused, so that the host name that is checked is the one that the server acts on.

use rules::rule::DomainName;

/// The longest request head, in bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The longest method, in bytes.
const METHOD_BYTES_MAX: usize = 32;
const BLANK: &[u8] = b" \t\r\n";

/// The result of parsing a client's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// More bytes are needed.
    Incomplete {
        /// Whether the request line is complete and is HTTP.
        is_http: bool,
    },
    /// It is another protocol.
    NotHttp,
    /// It is HTTP, but its host cannot be determined, for this reason.
    Refused(&'static str),
    /// A complete head.
    Request(Request),
}

/// A request whose head is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The requested host.
    pub host: DomainName,
    /// The length of the head, including preceding blank lines, in bytes.
    pub length: usize,
    /// The kind of body.
    pub body: Body,
}

/// The kind of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// This many bytes, then the next request.
    Length(u64),
    /// Chunks, then the next request.
    Chunked,
    /// Another protocol, if the server agrees (`CONNECT`, `Upgrade`).
    Tunnel,
}

/// Parses the head of a request. A decision does not depend on the bytes that follow, as the client chooses how its
/// stream is segmented.
pub fn head(bytes: &[u8]) -> Head {
    let bytes = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let start = bytes.iter().position(|byte| !BLANK.contains(byte)).unwrap_or(bytes.len());
    let more = |is_http| {
        if bytes.len() >= HEAD_BYTES_MAX {
            Head::Refused("its HTTP request is too long")
        } else {
            Head::Incomplete { is_http }
        }
    };
    let rest = &bytes[start..];
    let method_length = rest.iter().position(|byte| !is_token(*byte)).unwrap_or(rest.len());
    if method_length > METHOD_BYTES_MAX {
        return Head::NotHttp;
    }
    match rest.get(method_length) {
        None => return more(false),
        Some(b' ' | b'\t') if method_length > 0 => {}
        Some(_) => return Head::NotHttp,
    }
    // Servers disagree on these, so they neither belong to a request nor prove another protocol: the version that makes
    // it HTTP may still follow.
    let mut line_so_far = rest.split(|byte| *byte == b'\n').next().unwrap_or_default().iter();
    if line_so_far.any(|byte| byte.is_ascii_control() && !BLANK.contains(byte)) {
        return Head::Refused("its first line has control characters");
    }
    let Some((line, mut lines)) = line(rest) else { return more(false) };
    let Line { method, target } = match request_line(line) {
        Ok(Some(parts)) => parts,
        Ok(None) => return Head::NotHttp,
        Err(why) => return Head::Refused(why),
    };
    let mut fields = Fields::default();
    loop {
        let Some((line, after)) = self::line(lines) else { return more(true) };
        lines = after;
        if line.is_empty() {
            break;
        }
        if let Err(why) = fields.take(line) {
            return Head::Refused(why);
        }
    }
    match fields.finish(method, target) {
        Ok((host, body)) => Head::Request(Request { host, length: bytes.len() - lines.len(), body }),
        Err(why) => Head::Refused(why),
    }
}

/// The answer to a request that the rules refuse: `403 Forbidden` with the reason, as text or as JSON if the request
/// prefers that, in the words of the proxy. `head`: the begin of the request; `name`: the host that it names.
pub fn forbidden(head: &[u8], name: Option<&DomainName>, reason: &str) -> Vec<u8> {
    let hint = name.map_or_else(
        || "name the host in its `Host` header".to_owned(),
        |name| format!("allow {name} in the `network` rules of the sandbox"),
    );
    let (kind, body) = if prefers_json(head) {
        let error = serde_json::json!({ "code": 403, "source": "msb", "message": reason, "hint": hint });
        ("application/json", format!("{}\n", serde_json::json!({ "error": error })))
    } else {
        ("text/plain; charset=utf-8", format!("msb: {reason}\nhint: {hint}\n"))
    };
    let length = body.len();
    format!(
        "HTTP/1.1 403 Forbidden\r\nServer: msb\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Whether the `Accept` of a request names JSON and not plain text.
fn prefers_json(head: &[u8]) -> bool {
    let lines = head[..head.len().min(HEAD_BYTES_MAX)]
        .split(|byte| *byte == b'\n')
        .take_while(|line| !line.trim_ascii().is_empty());
    let accepted = lines
        .filter_map(|line| line.split_at_checked(7))
        .find(|(name, _)| name.eq_ignore_ascii_case(b"accept:"));
    accepted.is_some_and(|(_, value)| {
        let value = value.to_ascii_lowercase();
        let names = |kind: &[u8]| value.windows(kind.len()).any(|part| part == kind);
        names(b"application/json") && !names(b"text/plain") && !names(b"text/html")
    })
}

/// Splits off the first line, without its end; `None` while that is missing.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

/// The relevant parts of a request line.
struct Line<'a> {
    method: &'a [u8],
    target: &'a [u8],
}

/// Parses a request line; `None` if it is of another protocol.
fn request_line(line: &[u8]) -> Result<Option<Line<'_>>, &'static str> {
    let mut words = line.split(|byte| BLANK.contains(byte)).filter(|word| !word.is_empty());
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let Some(version) = words.next_back() else {
        // HTTP/0.9 has neither version nor host.
        let is_old = method.eq_ignore_ascii_case(b"GET");
        return if is_old { Err("its HTTP request shows no name") } else { Ok(None) };
    };
    match version.split_at_checked(5) {
        Some((name, number)) if name.eq_ignore_ascii_case(b"HTTP/") => match number {
            b"1.0" | b"1.1" if words.next().is_none() && line.iter().all(|byte| *byte != b'\r') => {
                Ok(Some(Line { method, target }))
            }
            [b'2', ..] => Err("it speaks HTTP/2 without TLS, whose names are not read"),
            _ => Err("its HTTP request cannot be read"),
        },
        _ => Ok(None),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The relevant header fields.
#[derive(Default)]
struct Fields {
    host: Option<Vec<u8>>,
    length: Option<u64>,
    is_chunked: bool,
    upgrades: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const UNREADABLE: &str = "its HTTP request cannot be read";
        let colon = line.iter().position(|byte| *byte == b':').ok_or(UNREADABLE)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Servers disagree on folded lines, a blank before the colon and a lone CR.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(UNREADABLE);
        }
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(UNREADABLE);
        }
        let name = name.to_ascii_lowercase();
        match name.as_slice() {
            b"host" if self.host.is_some() => return Err("its HTTP request shows two names"),
            b"host" => self.host = Some(value.to_vec()),
            b"content-length" => {
                let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                if !is_number || self.length.is_some() {
                    return Err(UNREADABLE);
                }
                self.length = Some(length.ok_or(UNREADABLE)?);
            }
            b"transfer-encoding" => {
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("the length of its HTTP request cannot be determined");
                }
                self.is_chunked = true;
            }
            b"upgrade" if value.to_ascii_lowercase().windows(3).any(|word| word == b"h2c") => {
                return Err("it asks for HTTP/2 without TLS, whose names are not read");
            }
            b"upgrade" => self.upgrades = true,
            _ => {}
        }
        Ok(())
    }

    fn finish(self, method: &[u8], target: &[u8]) -> Result<(DomainName, Body), &'static str> {
        let Self { host, length, is_chunked, upgrades } = self;
        let host = host_name(&host.ok_or("its HTTP request shows no name")?)?;
        let connects = method.eq_ignore_ascii_case(b"CONNECT");
        let absolute = target.windows(3).position(|part| part == b"://").map(|at| &target[at + 3..]);
        let authority = if connects {
            Some(target)
        } else {
            // A target is `*`, a path or an absolute URI; a path may contain `://`.
            absolute.filter(|_| !target.starts_with(b"/"))
        };
        if let Some(authority) = authority {
            let authority = authority.split(|byte| b"/?#".contains(byte)).next().unwrap_or_default();
            if host_name(authority)? != host {
                return Err("its HTTP request shows two names");
            }
        }
        let body = match (length, is_chunked) {
            _ if connects || upgrades => Body::Tunnel,
            (Some(_), true) => return Err("the length of its HTTP request cannot be determined"),
            (None, true) => Body::Chunked,
            (length, false) => Body::Length(length.unwrap_or_default()),
        };
        Ok((host, body))
    }
}

/// The host name in `name[:port]`.
fn host_name(value: &[u8]) -> Result<DomainName, &'static str> {
    const NO_NAME: &str = "its HTTP request shows no name that can be one";
    let text = std::str::from_utf8(value).map_err(|_| NO_NAME)?;
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NO_NAME);
    }
    DomainName::new(name).map_err(|_| NO_NAME)
}

/// Parses the first line of a chunk; `None` while it is incomplete.
pub fn chunk(bytes: &[u8]) -> Option<Result<Chunk, &'static str>> {
    const LINE_BYTES_MAX: usize = 4096;
    const UNREADABLE: Result<Chunk, &str> = Err("a chunk of its HTTP request cannot be read");
    let bytes = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return (bytes.len() == LINE_BYTES_MAX).then_some(UNREADABLE);
    };
    let Some(line) = bytes[..end].strip_suffix(b"\r") else { return Some(UNREADABLE) };
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let is_number = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let size = std::str::from_utf8(digits).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    match size {
        Some(size) if is_number => Some(Ok(Chunk { line: end + 1, size })),
        _ => Some(UNREADABLE),
    }
}

/// The first line of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its length, in bytes.
    pub line: usize,
    /// The bytes of data after it; 0 in the last chunk.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> (String, Body) {
        match head(text.as_bytes()) {
            Head::Request(Request { host, length, body }) => {
                assert_eq!(length, text.len());
                (host.to_string(), body)
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    fn refusal(text: &str) -> &'static str {
        match head(text.as_bytes()) {
            Head::Refused(why) => why,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn the_host_is_found_in_any_segmentation() {
        let text = "\r\nPOST /a?b HTTP/1.1\r\nAccept: */*\r\nhOsT:\t API.example.org:8080 \r\ncontent-length: 7\r\n\r\n";
        for length in 0..text.len() {
            assert!(matches!(head(&text.as_bytes()[..length]), Head::Incomplete { .. }), "{length}");
        }
        assert_eq!(request(text), ("api.example.org".to_owned(), Body::Length(7)));
    }

    #[test]
    fn kinds_of_bodies_are_distinguished() {
        let body = |fields: &str| request(&format!("PUT / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).1;
        assert_eq!(body(""), Body::Length(0));
        assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Body::Chunked);
        assert_eq!(body("Connection: upgrade\r\nUpgrade: websocket\r\n"), Body::Tunnel);
        let connect = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
        assert_eq!(request(connect), ("a.test".to_owned(), Body::Tunnel));
        let absolute = "GET http://a.test/x HTTP/1.1\nHost: a.test\n\n";
        assert_eq!(request(absolute), ("a.test".to_owned(), Body::Length(0)));
        let path = "GET /to/http://b.test HTTP/1.0\r\nHost: a.test\r\n\r\n";
        assert_eq!(request(path).0, "a.test");
    }

    #[test]
    fn a_host_that_cannot_be_determined_is_refused() {
        for (text, why) in [
            ("GET / HTTP/1.1\r\n\r\n", "its HTTP request shows no name"),
            ("GET /\r\n", "its HTTP request shows no name"),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "its HTTP request shows no name that can be one"),
            ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "its HTTP request shows no name that can be one"),
            ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", "its HTTP request shows two names"),
            ("GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "its HTTP request shows two names"),
            ("CONNECT b.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", "its HTTP request shows two names"),
            ("GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", "its HTTP request cannot be read"),
            ("GET / HTTP/1.1\r\nX: y\r\n Host: b.test\r\n\r\n", "its HTTP request cannot be read"),
            ("GET / HTTP/1.1\r\nX: y\rHost: b.test\r\n\r\n", "its HTTP request cannot be read"),
            ("GET / x HTTP/1.1\r\n", "its HTTP request cannot be read"),
            ("GET / HTTP/3\r\n", "its HTTP request cannot be read"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "it speaks HTTP/2 without TLS, whose names are not read"),
            (
                "GET / HTTP/1.1\r\nUpgrade: foo, H2C\r\n",
                "it asks for HTTP/2 without TLS, whose names are not read",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "the length of its HTTP request cannot be determined",
            ),
        ] {
            assert_eq!(refusal(text), why, "{text:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(refusal(&long), "its HTTP request is too long");
    }

    #[test]
    fn control_characters_are_refused_in_any_segmentation() {
        for text in [
            "GET /\x0c HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET \x00/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "GET / \x7fHTTP/1.1\r\nHost: a.test\r\n\r\n",
            // It may be a binary protocol, but nothing proves that it is not HTTP.
            "A \x00",
        ] {
            let shown = text.bytes().position(|byte| byte.is_ascii_control()).unwrap() + 1;
            for length in 0..=text.len() {
                let expected = if length < shown {
                    Head::Incomplete { is_http: false }
                } else {
                    Head::Refused("its first line has control characters")
                };
                assert_eq!(head(&text.as_bytes()[..length]), expected, "{text:?} at {length}");
            }
        }
    }

    #[test]
    fn length_limits_hold_in_any_segmentation() {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(head(request.as_bytes()), head(&request.as_bytes()[..HEAD_BYTES_MAX]));
        let line = format!("5;{}\r\n", "x".repeat(4096));
        assert_eq!(chunk(line.as_bytes()), chunk(&line.as_bytes()[..4096]));
    }

    #[test]
    fn other_protocols_are_detected_early() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"EHLO me.example.org\r\n",
            b"*1\r\n",
            b"NICK me\r\n",
            b"OPTIONS rtsp://a.test RTSP/1.0\r\n",
            &[0, 0, 0, 8],
            &[0x10, 0x0c, 0, 4],
            &[b'a'; METHOD_BYTES_MAX + 1],
        ] {
            assert_eq!(head(bytes), Head::NotHttp, "{bytes:?}");
        }
    }

    #[test]
    fn chunk_lengths_are_parsed() {
        assert_eq!(chunk(b"1F;x=y\r\n"), Some(Ok(Chunk { line: 8, size: 31 })));
        assert_eq!(chunk(b"0\r"), None);
        for bytes in [&b"5\n"[..], b"\r\n", b"-1\r\n", b"0x5\r\n", b"fffffffffffffffff\r\n", &[b'1'; 4096]] {
            assert!(matches!(chunk(bytes), Some(Err(_))), "{bytes:?}");
        }
    }
}
