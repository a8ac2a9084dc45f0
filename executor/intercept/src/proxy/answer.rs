//! Answers of the proxy itself, which say what was refused and why.

use super::body::Body;
use crate::event::{BadRequest, Reason};
use crate::substitute::{Cause, Violation};
use crate::upstream::UpstreamError;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use http::{Response, StatusCode};

/// The reason why a request is not forwarded, or has no answer.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// It contains a placeholder that may not be sent.
    Violation {
        violation: Violation,
        /// The host of the request.
        host: String,
    },
    /// It is not valid, or for another host.
    Reason(Reason),
    /// The server cannot be used.
    Upstream(UpstreamError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Violation { .. } | Self::Reason(Reason::Connect) => StatusCode::FORBIDDEN,
            Self::Reason(Reason::Misdirected { .. }) => StatusCode::MISDIRECTED_REQUEST,
            Self::Reason(Reason::Request(BadRequest::TransferEncoding)) => StatusCode::NOT_IMPLEMENTED,
            Self::Reason(Reason::Stalled) => StatusCode::REQUEST_TIMEOUT,
            Self::Reason(_) => StatusCode::BAD_REQUEST,
            Self::Upstream(UpstreamError::Timeout { .. }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
        }
    }

    fn grpc_status(&self) -> &'static str {
        match self {
            // UNAVAILABLE
            Self::Upstream(_) => "14",
            // PERMISSION_DENIED
            _ => "7",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Violation { violation, .. } => violation.to_string(),
            Self::Reason(reason) => reason.to_string(),
            Self::Upstream(error) => error.to_string(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Violation { violation, host } if violation.cause == Cause::Host => Some(format!(
                "to send its value to {host}, add {host} to the hosts of the secret `{}`; to send the placeholder \
                 unchanged, add {host} to its passthrough hosts",
                violation.secret
            )),
            Self::Violation { violation, .. } if violation.cause == Cause::WithoutTls => {
                Some("use https://, or let the secret say `require-tls #false`".to_owned())
            }
            Self::Violation { .. } => None,
            Self::Reason(Reason::Misdirected { .. }) => {
                Some("open a connection for each host, with its name in the TLS handshake".to_owned())
            }
            Self::Reason(Reason::Connect) => Some("connect to the host without a proxy".to_owned()),
            Self::Reason(_) => None,
            Self::Upstream(error) => error.hint(),
        }
    }
}

/// The form of an answer, which a request prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    Grpc,
}

impl Form {
    /// The form for a request with some header fields.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let content = content.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if starts_with(content, b"application/grpc") && !starts_with(content, b"application/grpc-web") {
            return Self::Grpc;
        }
        let accept = headers.get_all(ACCEPT).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        // The first type that is understood; weights are rare, and both forms are readable.
        for range in accept {
            let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            if is_json(range) {
                return Self::Json;
            }
            if starts_with(range, b"text/") {
                return Self::Text;
            }
        }
        if is_json(content) { Self::Json } else { Self::Text }
    }
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_json(media_type: &[u8]) -> bool {
    media_type.eq_ignore_ascii_case(b"application/json")
        || media_type.to_ascii_lowercase().ends_with(b"+json")
}

/// Makes the answer to a request that is refused.
pub(super) fn answer(refusal: &Refusal, form: Form) -> Response<Body> {
    let (text, hint) = (refusal.text(), refusal.hint());
    if form == Form::Grpc {
        let message = match hint {
            Some(hint) => format!("msb: {text}; {hint}"),
            None => format!("msb: {text}"),
        };
        let mut response = Response::new(Body::whole(Bytes::new()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(refusal.grpc_status()));
        if let Ok(message) = HeaderValue::from_str(&percent_encode(&message)) {
            headers.insert("grpc-message", message);
        }
        headers.insert(SERVER, HeaderValue::from_static("msb"));
        return response;
    }
    let status = refusal.status();
    let (content_type, body) = match form {
        Form::Json => {
            let error = serde_json::json!({ "code": status.as_u16(), "source": "msb", "message": text, "hint": hint });
            ("application/json", format!("{}\n", serde_json::json!({ "error": error })))
        }
        Form::Text | Form::Grpc => {
            let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            ("text/plain; charset=utf-8", format!("msb: {text}\n{hint}"))
        }
    };
    let mut response = Response::new(Body::whole(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("msb"));
    response
}

/// Encodes a message for gRPC.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&'static str, &'static str)]) -> Form {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Form::of(&headers)
    }

    #[test]
    fn the_form_is_the_preferred_one() {
        assert_eq!(form(&[]), Form::Text);
        assert_eq!(form(&[("accept", "*/*")]), Form::Text);
        assert_eq!(form(&[("accept", "*/*"), ("content-type", "application/json")]), Form::Json);
        assert_eq!(form(&[("accept", "application/vnd.github+json")]), Form::Json);
        assert_eq!(form(&[("accept", "text/html, application/json;q=0.9")]), Form::Text);
        assert_eq!(form(&[("content-type", "application/grpc+proto")]), Form::Grpc);
        assert_eq!(form(&[("content-type", "application/grpc-web")]), Form::Text);
    }

    #[test]
    fn messages_of_grpc_are_ascii() {
        assert_eq!(percent_encode("100% é\n"), "100%25 %C3%A9%0A");
    }
}
