//! Reasons to refuse a request.

use schemas::spec::OnViolation;
use std::fmt;

/// The longest name of a header in a message, in bytes.
const SHOWN_NAME_MAX: usize = 64;

/// The reason why a request is refused. It names the secret, and never contains its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the secret.
    pub secret: String,
    /// The action that its settings demand; [`OnViolation::BlockAndLog`] if the host is allowed and `cause` alone is in
    /// the way. It is never [`OnViolation::Passthrough`].
    pub action: OnViolation,
    /// The part of the request with the placeholder.
    pub place: Place,
    /// What is wrong.
    pub cause: Cause,
}

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The method.
    Method,
    /// The host in the URL.
    Authority,
    /// The path of the URL.
    Path,
    /// The query of the URL.
    Query,
    /// The name of a header.
    HeaderName,
    /// The value of the header of this name, in lower case.
    Header(String),
    /// The credentials of `Basic`, decoded, in the header of this name.
    Credentials(String),
    /// The body.
    Body,
}

impl Place {
    pub(super) fn header(name: &http::HeaderName) -> Self {
        Self::Header(shown(name))
    }

    pub(super) fn credentials(name: &http::HeaderName) -> Self {
        Self::Credentials(shown(name))
    }
}

/// Names are ASCII.
fn shown(name: &http::HeaderName) -> String {
    let name = name.as_str();
    match name.get(..SHOWN_NAME_MAX) {
        Some(start) if name.len() > SHOWN_NAME_MAX => format!("{start}…"),
        _ => name.to_owned(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("the method"),
            Self::Authority => f.write_str("the host of the URL"),
            Self::Path => f.write_str("the path of the URL"),
            Self::Query => f.write_str("the query of the URL"),
            Self::HeaderName => f.write_str("the name of a header"),
            Self::Header(name) => write!(f, "the header `{name}`"),
            Self::Credentials(name) => write!(f, "the Basic credentials in the header `{name}`"),
            Self::Body => f.write_str("the body"),
        }
    }
}

/// What is wrong with a placeholder in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The secret may not be sent to this host.
    Host,
    /// The secret may be sent to this host, but over TLS only.
    WithoutTls,
    /// The value contains a control character, which no header can contain.
    ControlCharacter,
    /// The value is not UTF-8, which JSON must be.
    NotUtf8,
    /// With the value, the URL or the headers are too long.
    TooLong,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, action: _, place, cause } = self;
        match cause {
            Cause::Host => {
                write!(
                    f,
                    "{place} contains the placeholder of the secret `{secret}`, which may not be sent to this host"
                )
            }
            Cause::WithoutTls => {
                write!(
                    f,
                    "{place} contains the placeholder of the secret `{secret}`, which is sent over TLS only"
                )
            }
            Cause::ControlCharacter => write!(
                f,
                "the value of the secret `{secret}` contains a control character and cannot be sent in {place}"
            ),
            Cause::NotUtf8 => {
                write!(
                    f,
                    "the value of the secret `{secret}` is not UTF-8 and cannot be sent in JSON, in {place}"
                )
            }
            Cause::TooLong => write!(f, "with the value of the secret `{secret}`, {place} is too long"),
        }
    }
}

impl std::error::Error for Violation {}
