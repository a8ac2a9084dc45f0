//! Replaces placeholders by values in requests, and values by placeholders in responses.
//!
//! A secret is *allowed* at a destination when the verified name matches one of its hosts, over TLS unless it does not
//! require that. Then the value replaces the placeholder in the parts of the request that the secret names, and the
//! placeholder stays in the others. Where it is not allowed, a placeholder anywhere in the request is a [`Violation`],
//! unless the secret lets placeholders pass.
//!
//! - All occurrences are replaced in one pass: a value that contains a placeholder stays as it is. Of those that overlap,
//!   the first counts; of those at the same position, the longest.
//! - `Host`, `Content-Length` and other headers of the connection or the framing are never changed.
//! - In the URL and in forms, placeholders are found in any percent-encoding, and values are percent-encoded. In JSON,
//!   values are escaped. Elsewhere they are inserted as they are.
//! - Bodies with a `Content-Encoding` are neither changed nor searched. Bodies of gRPC are searched only: their messages
//!   start with their lengths, which a replacement would make wrong.
//! - Responses are masked with all the forms in which servers usually repeat a value. A value below
//!   [`HEADER_MASK_MIN`] bytes is not masked in headers, nor one below [`BODY_MASK_MIN`] bytes in bodies: other texts
//!   would contain it by chance.

mod forms;
mod head;
mod masks;
mod matcher;
mod replacer;
mod searcher;
#[cfg(test)]
mod tests;
mod violation;

pub use replacer::Replacer;
pub use violation::{Cause, Place, Violation};

use crate::secret::Secret;
use forms::BodyKind;
use http::HeaderName;
use http::header::{self, CONTENT_LENGTH, HeaderMap};
use masks::Masks;
use replacer::{Action, Vocabulary};
use rules::rule::{DomainName, HostPattern};
use schemas::spec::OnViolation;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

/// The shortest value that is masked in the headers of a response, in bytes.
pub const HEADER_MASK_MIN: usize = 4;
/// The shortest value that is masked in the body of a response, in bytes.
pub const BODY_MASK_MIN: usize = 8;
/// The longest body that is buffered for an exact `Content-Length`, in bytes.
pub const BUFFERED_BODY_MAX: u64 = 1 << 20;

/// The secrets of a sandbox, prepared for one destination.
pub struct Substitution {
    secrets: Arc<[Secret]>,
    /// By secret.
    access: Vec<Access>,
    placeholders: OnceLock<Arc<Vocabulary>>,
    lower_case_placeholders: OnceLock<Arc<Vocabulary>>,
    json_placeholders: OnceLock<Arc<Vocabulary>>,
    masks: OnceLock<Masks>,
}

/// What a destination may get of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// The value.
    Value,
    /// The placeholder.
    Placeholder,
    /// Nothing, for this reason.
    Nothing(Cause),
}

/// What is done about a request body.
#[derive(Debug)]
pub enum BodyPlan {
    /// It is forwarded as it is.
    Unchanged,
    /// It is searched for violations; its bytes and its length stay.
    Scan(Replacer),
    /// Values are inserted, so that its length may change.
    Replace(Replacer),
}

/// The part of a request that a text is in.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// One in which nothing is replaced.
    Fixed,
    Header(&'a HeaderName),
    Credentials,
    Query,
    Body(BodyKind),
}

impl Substitution {
    /// Prepares secrets for a destination.
    ///
    /// `host` is its verified name, or `None` if no secret may be sent to it. `requested` is the name in the request, by
    /// which placeholders may pass. `tls` says whether the connection uses TLS.
    pub fn new(secrets: Arc<[Secret]>, host: Option<&DomainName>, requested: &DomainName, tls: bool) -> Self {
        let matches = |patterns: &BTreeSet<HostPattern>, name: &DomainName| {
            patterns.iter().any(|pattern| pattern.matches(name))
        };
        let access = |secret: &Secret| {
            let is_own = host.is_some_and(|host| matches(&secret.hosts, host));
            if (tls || !secret.require_tls) && is_own {
                Access::Value
            } else if secret.on_violation == OnViolation::Passthrough
                || matches(&secret.passthrough_hosts, requested)
            {
                Access::Placeholder
            } else {
                Access::Nothing(if is_own { Cause::WithoutTls } else { Cause::Host })
            }
        };
        Self {
            access: secrets.iter().map(access).collect(),
            secrets,
            placeholders: OnceLock::new(),
            lower_case_placeholders: OnceLock::new(),
            json_placeholders: OnceLock::new(),
            masks: OnceLock::new(),
        }
    }

    /// Whether there are no secrets, so that nothing is ever changed or refused.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Plans what is done about the body of a request with these headers.
    pub fn request_body(&self, headers: &HeaderMap) -> BodyPlan {
        // Without a secret that is replaced or refused, there is nothing to search for.
        if self.access.iter().all(|&access| access == Access::Placeholder) || forms::is_encoded(headers) {
            return BodyPlan::Unchanged;
        }
        let kind = BodyKind::of(headers);
        let vocabulary = match kind {
            BodyKind::Json => self.json_placeholders(),
            BodyKind::Form | BodyKind::Grpc | BodyKind::Other => self.placeholders(),
        };
        let actions = self.actions(vocabulary, Part::Body(kind));
        let replaces = self.is_replaced_in(Part::Body(kind));
        if !replaces && actions.iter().all(|action| matches!(action, Action::Keep)) {
            return BodyPlan::Unchanged;
        }
        let mut replacer =
            Replacer::new(Arc::clone(vocabulary), actions, Arc::clone(&self.secrets), Place::Body);
        if kind == BodyKind::Form {
            replacer = replacer.percent_encoded();
        }
        if replaces { BodyPlan::Replace(replacer) } else { BodyPlan::Scan(replacer) }
    }

    fn is_replaced_in(&self, part: Part<'_>) -> bool {
        self.secrets
            .iter()
            .zip(&self.access)
            .any(|(secret, &access)| access == Access::Value && is_injected(secret, part))
    }

    /// Returns the actions in a part of a request, by pattern.
    fn actions(&self, vocabulary: &Vocabulary, part: Part<'_>) -> Arc<[Action]> {
        let actions: Vec<Action> = self
            .secrets
            .iter()
            .zip(&self.access)
            .map(|(secret, access)| match access {
                Access::Value if is_injected(secret, part) => insertion(secret, part),
                Access::Value | Access::Placeholder => Action::Keep,
                Access::Nothing(cause) => Action::Refuse(*cause),
            })
            .collect();
        vocabulary.owners.iter().map(|&owner| actions[owner].clone()).collect()
    }

    fn placeholders(&self) -> &Arc<Vocabulary> {
        self.placeholders.get_or_init(|| {
            Vocabulary::new(self.secrets.iter().map(|secret| secret.placeholder.as_bytes()).enumerate())
        })
    }

    /// The placeholders as the names of headers, which have no upper case.
    fn lower_case_placeholders(&self) -> &Arc<Vocabulary> {
        self.lower_case_placeholders.get_or_init(|| {
            let texts = self.secrets.iter().map(|secret| secret.placeholder.to_ascii_lowercase());
            Vocabulary::new(texts.enumerate())
        })
    }

    /// The placeholders as they are, and as JSON escapes them.
    fn json_placeholders(&self) -> &Arc<Vocabulary> {
        self.json_placeholders.get_or_init(|| {
            let plain = self.secrets.iter().map(|secret| secret.placeholder.as_bytes().to_vec());
            let escaped = self.secrets.iter().map(|secret| {
                let escaped = forms::json_escape(secret.placeholder.as_bytes());
                // Left out where it is the same.
                escaped
                    .filter(|escaped| **escaped != secret.placeholder.as_bytes())
                    .map(|escaped| escaped.to_vec())
                    .unwrap_or_default()
            });
            Vocabulary::new(plain.enumerate().chain(escaped.enumerate()))
        })
    }
}

/// Whether a body with these headers is short enough to be buffered, so that its `Content-Length` can be exact after
/// the replacement: see [`Replacer::replaced_length`].
pub fn is_bufferable(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length <= BUFFERED_BODY_MAX)
}

/// Whether a secret is to be put into a part of a request.
fn is_injected(secret: &Secret, part: Part<'_>) -> bool {
    let inject = &secret.inject;
    match part {
        Part::Fixed | Part::Body(BodyKind::Grpc) => false,
        Part::Header(name) => {
            inject.headers && (inject.header_names.is_empty() || inject.header_names.contains(name.as_str()))
        }
        Part::Credentials => inject.basic_auth,
        Part::Query => inject.query,
        Part::Body(BodyKind::Json | BodyKind::Form | BodyKind::Other) => inject.body,
    }
}

/// Returns the action that puts a value into a part of a request.
fn insertion(secret: &Secret, part: Part<'_>) -> Action {
    let value = secret.value.bytes();
    let text = match part {
        Part::Header(_) if !forms::fits_header(value) => return Action::Refuse(Cause::ControlCharacter),
        Part::Query | Part::Body(BodyKind::Form) => forms::percent_encode(value),
        Part::Body(BodyKind::Json) => match forms::json_escape(value) {
            Some(text) => text,
            None => return Action::Refuse(Cause::NotUtf8),
        },
        Part::Fixed | Part::Header(_) | Part::Credentials | Part::Body(_) => Zeroizing::new(value.to_vec()),
    };
    Action::Insert(Arc::new(text))
}

/// Whether a header is about the connection or the framing, and is never changed.
fn is_fixed(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONTENT_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

impl fmt::Debug for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = self.secrets.iter().map(|secret| &secret.name).zip(&self.access);
        f.debug_map().entries(access).finish()
    }
}
