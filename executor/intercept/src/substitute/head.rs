//! Replaces placeholders in the head and the trailers of a request.

use super::replacer::{Replacer, Vocabulary};
use super::{Part, Place, Substitution, Violation, forms, is_fixed};
use bytes::BytesMut;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use http::request;
use http::uri::{PathAndQuery, Uri};
use std::sync::Arc;

/// The longest path and query, in bytes: the limit of [`Uri`].
const URL_BYTES_MAX: usize = u16::MAX as usize - 1;
/// The most bytes that the changed parts of a head may have in all.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// A text of a head.
struct Field<'a> {
    part: Part<'a>,
    place: Place,
    text: &'a [u8],
    /// The most bytes after the replacement.
    limit: usize,
}

impl Substitution {
    /// Replaces placeholders in the head of a request. After an error it is unchanged.
    ///
    /// # Errors
    ///
    /// If the request is refused.
    pub fn request_head(&self, parts: &mut request::Parts) -> Result<(), Violation> {
        if self.is_empty() {
            return Ok(());
        }
        self.search(Place::Method, parts.method.as_str().as_bytes())?;
        let uri = self.changed_uri(&parts.uri)?;
        let limit = HEAD_BYTES_MAX - uri.as_ref().map_or(0, |_| URL_BYTES_MAX);
        let changes = self.changed_headers(&parts.headers, limit)?;
        if let Some(uri) = uri {
            parts.uri = uri;
        }
        apply(&mut parts.headers, changes);
        Ok(())
    }

    /// Replaces placeholders in the trailers of a request, as in its headers. After an error they are unchanged.
    ///
    /// # Errors
    ///
    /// If the request is refused.
    pub fn request_trailers(&self, trailers: &mut HeaderMap) -> Result<(), Violation> {
        if self.is_empty() {
            return Ok(());
        }
        let changes = self.changed_headers(trailers, HEAD_BYTES_MAX)?;
        apply(trailers, changes);
        Ok(())
    }

    /// Returns the URI with values in its query, or `None` if it is the same.
    fn changed_uri(&self, uri: &Uri) -> Result<Option<Uri>, Violation> {
        if let Some(authority) = uri.authority() {
            self.search_url(Place::Authority, authority.as_str())?;
        }
        self.search_url(Place::Path, uri.path())?;
        let Some(query) = uri.query() else { return Ok(None) };
        self.search(Place::Query, query.as_bytes())?;
        // The question mark counts.
        let limit = URL_BYTES_MAX.saturating_sub(uri.path().len() + 1);
        let field = Field { part: Part::Query, place: Place::Query, text: query.as_bytes(), limit };
        let Some(query) = self.replace_encoded(field)? else { return Ok(None) };
        let mut path = BytesMut::with_capacity(uri.path().len() + 1 + query.len());
        path.extend_from_slice(uri.path().as_bytes());
        path.extend_from_slice(b"?");
        path.extend_from_slice(&query);
        // Percent-encoded text of a limited length is always valid.
        let Ok(path_and_query) = PathAndQuery::from_maybe_shared(path.freeze()) else { return Ok(None) };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(path_and_query);
        Ok(Uri::from_parts(parts).ok())
    }

    /// Returns the values that change, by their index among all headers.
    fn changed_headers(
        &self,
        headers: &HeaderMap,
        mut limit: usize,
    ) -> Result<Vec<(usize, HeaderValue)>, Violation> {
        let mut changes = Vec::new();
        for name in headers.keys() {
            let text = name.as_str().as_bytes();
            self.run(self.lower_case_placeholders(), Field::fixed(Place::HeaderName, text))?;
        }
        for (index, (name, value)) in headers.iter().enumerate() {
            if let Some(text) = self.changed_value(name, value.as_bytes(), limit)? {
                limit = limit.saturating_sub(text.len());
                // The values were checked, so that an error is impossible.
                if let Ok(mut value) = HeaderValue::from_maybe_shared(text.freeze()) {
                    value.set_sensitive(true);
                    changes.push((index, value));
                }
            }
        }
        Ok(changes)
    }

    fn changed_value(
        &self,
        name: &HeaderName,
        value: &[u8],
        limit: usize,
    ) -> Result<Option<BytesMut>, Violation> {
        if is_fixed(name) {
            self.search(Place::header(name), value)?;
            return Ok(None);
        }
        let part = Part::Header(name);
        let plain =
            self.run(self.placeholders(), Field { part, place: Place::header(name), text: value, limit })?;
        if (name == AUTHORIZATION || name == PROXY_AUTHORIZATION)
            && let Some(credentials) = forms::decode_basic(value)
        {
            let place = Place::credentials(name);
            // Base64 has 4 bytes for 3.
            let limit = limit / 4 * 3;
            let field = Field { part: Part::Credentials, place, text: &credentials, limit };
            if let Some(credentials) = self.run(self.placeholders(), field)? {
                return Ok(Some(BytesMut::from(forms::encode_basic(&credentials).as_bytes())));
            }
        }
        Ok(plain)
    }

    /// Searches a text in which nothing is replaced.
    fn search(&self, place: Place, text: &[u8]) -> Result<(), Violation> {
        self.run(self.placeholders(), Field::fixed(place, text)).map(drop)
    }

    /// Searches a part of a URL, which may be percent-encoded.
    fn search_url(&self, place: Place, text: &str) -> Result<(), Violation> {
        self.search(place.clone(), text.as_bytes())?;
        self.replace_encoded(Field::fixed(place, text.as_bytes())).map(drop)
    }

    fn run(&self, vocabulary: &Arc<Vocabulary>, field: Field<'_>) -> Result<Option<BytesMut>, Violation> {
        if !vocabulary.patterns.may_be_in(field.text) {
            return Ok(None);
        }
        let limit = field.limit;
        self.replacer(vocabulary, field.part, field.place).replace_all(field.text, limit)
    }

    fn replace_encoded(&self, field: Field<'_>) -> Result<Option<BytesMut>, Violation> {
        let vocabulary = self.placeholders();
        if memchr::memchr(b'%', field.text).is_none() && !vocabulary.patterns.may_be_in(field.text) {
            return Ok(None);
        }
        let limit = field.limit;
        let replacer = self.replacer(vocabulary, field.part, field.place).percent_encoded();
        replacer.replace_all(field.text, limit)
    }

    fn replacer(&self, vocabulary: &Arc<Vocabulary>, part: Part<'_>, place: Place) -> Replacer {
        let actions = self.actions(vocabulary, part);
        Replacer::new(Arc::clone(vocabulary), actions, Arc::clone(&self.secrets), place)
    }
}

impl<'a> Field<'a> {
    fn fixed(place: Place, text: &'a [u8]) -> Self {
        Self { part: Part::Fixed, place, text, limit: usize::MAX }
    }
}

/// Puts values at their indices.
pub(super) fn apply(headers: &mut HeaderMap, changes: Vec<(usize, HeaderValue)>) {
    let mut changes = changes.into_iter().peekable();
    for (index, value) in headers.values_mut().enumerate() {
        if let Some((_, changed)) = changes.next_if(|&(changed, _)| changed == index) {
            *value = changed;
        }
    }
}
