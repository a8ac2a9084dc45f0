//! Header fields that are about one connection, not about the message.

use crate::event::BadRequest;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{StatusCode, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the fields of a message said about its connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    /// The connection ends after the message.
    pub(super) close: bool,
    /// The message is about a change to another protocol.
    pub(super) upgrade: bool,
    /// The message had a transfer coding.
    pub(super) coded: bool,
}

/// A message has a transfer coding other than `chunked`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownCoding;

impl From<UnknownCoding> for BadRequest {
    fn from(_: UnknownCoding) -> Self {
        Self::TransferEncoding
    }
}

/// Removes the fields about the connection.
pub(super) fn take_hop(headers: &mut HeaderMap, version: Version) -> Result<Hop, UnknownCoding> {
    let mut hop = Hop { close: version == Version::HTTP_10, ..Hop::default() };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() {
            return Err(UnknownCoding);
        }
        hop.coded = true;
    }
    let mut listed = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                hop.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                hop.close = false;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                hop.upgrade = headers.contains_key(UPGRADE);
            } else if let Ok(name) = HeaderName::from_bytes(option) {
                listed.push(name);
            }
        }
    }
    // HTTP/2 without TLS would begin in the middle of the connection. The server may ignore the offer.
    if headers.get_all(UPGRADE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"h2c")) {
        hop.upgrade = false;
    }
    let trailers = headers.get_all(TE).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    for name in listed {
        // These are about the message, whatever the list says.
        if ![HOST, CONTENT_LENGTH].contains(&name) {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if !hop.upgrade {
        headers.remove(UPGRADE);
    }
    if hop.coded {
        // A message with both is cut by its transfer coding.
        headers.remove(CONTENT_LENGTH);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(hop)
}

/// Adds the fields about a connection of HTTP/1.1.
pub(super) fn add_hop(headers: &mut HeaderMap, hop: &Hop) {
    if hop.upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else if hop.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    } else if headers.contains_key(TE) {
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
}

/// Returns whether a response has no body, whatever its fields say.
pub(super) fn is_bodyless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn taken(fields: &[(&'static str, &'static str)]) -> (Result<Hop, UnknownCoding>, Vec<String>) {
        let mut headers = headers(fields);
        let hop = take_hop(&mut headers, Version::HTTP_11);
        let mut rest: Vec<_> = headers.keys().map(ToString::to_string).collect();
        rest.sort();
        (hop, rest)
    }

    #[test]
    fn fields_about_the_connection_are_removed() {
        let (hop, rest) = taken(&[
            ("connection", "x-hop, Close, host, content-length"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("host", "a.example"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ]);
        assert_eq!(hop, Ok(Hop { close: true, ..Hop::default() }));
        assert_eq!(rest, ["content-length", "host", "x-kept"]);
    }

    #[test]
    fn the_length_of_a_chunked_message_is_removed() {
        let (hop, rest) = taken(&[("content-length", "3"), ("transfer-encoding", "Chunked")]);
        assert_eq!(hop, Ok(Hop { coded: true, ..Hop::default() }));
        assert_eq!(rest, Vec::<String>::new());
    }

    #[test]
    fn other_transfer_codings_are_refused() {
        assert_eq!(taken(&[("transfer-encoding", "gzip, chunked")]).0, Err(UnknownCoding));
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(taken(&twice).0, Err(UnknownCoding));
    }

    #[test]
    fn an_upgrade_is_kept_unless_it_is_to_http2() {
        let (hop, rest) = taken(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(hop, Ok(Hop { upgrade: true, ..Hop::default() }));
        assert_eq!(rest, ["upgrade"]);
        let (hop, rest) = taken(&[
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
        ]);
        assert_eq!(hop, Ok(Hop::default()));
        assert_eq!(rest, Vec::<String>::new());
    }

    #[test]
    fn trailers_stay_welcome() {
        let (_, rest) = taken(&[("te", "gzip, trailers"), ("connection", "TE")]);
        assert_eq!(rest, ["te"]);
        assert_eq!(taken(&[("te", "gzip")]).1, Vec::<String>::new());
    }
}
