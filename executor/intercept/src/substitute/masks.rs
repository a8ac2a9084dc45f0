//! Masks values in responses: they become placeholders again.

use super::forms::{self, BodyKind, JsonStyle};
use super::head::apply;
use super::replacer::{Action, Replacer, Vocabulary};
use super::{Access, BODY_MASK_MIN, HEADER_MASK_MIN, Place, Substitution, is_fixed};
use crate::secret::Secret;
use http::header::{CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue};
use http::response;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The longest value that is masked in percent-encoding, in bytes: about what fits into a URL.
const PERCENT_ENCODED_MAX: usize = 8 << 10;
/// The longest value that is masked in Base64 and in all styles of JSON, in bytes: credentials are short.
const SHORT_MAX: usize = 1 << 10;
/// The styles of JSON, the first ones, that longer values are masked in.
const LONG_STYLES: usize = 2;

/// The masks of a destination.
pub(super) struct Masks {
    headers: Option<Mask>,
    body: Option<Mask>,
    /// For bodies in which lengths are fixed.
    same_length: Option<Mask>,
}

/// Texts that are replaced in a part of responses.
struct Mask {
    vocabulary: Arc<Vocabulary>,
    actions: Arc<[Action]>,
}

/// A form of a value.
struct Form {
    owner: usize,
    text: Zeroizing<Vec<u8>>,
    placeholder: Zeroizing<Vec<u8>>,
}

impl Substitution {
    /// Masks values in the head of a response.
    pub fn response_head(&self, parts: &mut response::Parts) {
        self.response_trailers(&mut parts.headers);
    }

    /// Masks values in the trailers of a response.
    pub fn response_trailers(&self, trailers: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        let Some(mask) = &self.masks().headers else { return };
        let masked = |name: &HeaderName, value: &HeaderValue| {
            if is_fixed(name) || !mask.vocabulary.patterns.may_be_in(value.as_bytes()) {
                return None;
            }
            let replacer = self.mask(mask, Place::header(name));
            // No mask refuses, and the result is limited by the length of the placeholder.
            let text = replacer.replace_all(value.as_bytes(), usize::MAX).ok().flatten()?;
            // A placeholder that no header can contain masks the whole.
            Some(HeaderValue::from_maybe_shared(text.freeze()).unwrap_or(HeaderValue::from_static("")))
        };
        let changes = trailers
            .iter()
            .enumerate()
            .filter_map(|(index, (name, value))| Some((index, masked(name, value)?)))
            .collect();
        apply(trailers, changes);
    }

    /// Returns the replacement that masks values in the body of a response with these headers, or `None` if the body is
    /// forwarded as it is. It never fails. Its length may change, except in gRPC and in ranges.
    pub fn response_body(&self, headers: &HeaderMap) -> Option<Replacer> {
        if self.is_empty() || forms::is_encoded(headers) {
            return None;
        }
        let is_fixed_length = BodyKind::of(headers) == BodyKind::Grpc || headers.contains_key(CONTENT_RANGE);
        let masks = self.masks();
        let mask = if is_fixed_length { &masks.same_length } else { &masks.body };
        Some(self.mask(mask.as_ref()?, Place::Body))
    }

    fn mask(&self, mask: &Mask, place: Place) -> Replacer {
        let Mask { vocabulary, actions } = mask;
        Replacer::new(Arc::clone(vocabulary), Arc::clone(actions), Arc::clone(&self.secrets), place)
    }

    fn masks(&self) -> &Masks {
        self.masks.get_or_init(|| {
            let forms = |min: usize| -> Vec<Form> {
                let mut forms = Vec::new();
                for (owner, secret) in self.secrets.iter().enumerate() {
                    if self.access[owner] == Access::Value && secret.value.bytes().len() >= min {
                        add_forms(owner, secret, &mut forms);
                    }
                }
                forms
            };
            Masks {
                headers: Mask::new(forms(HEADER_MASK_MIN)),
                body: Mask::new(forms(BODY_MASK_MIN)),
                same_length: Mask::new(
                    forms(BODY_MASK_MIN).into_iter().map(Form::with_same_length).collect(),
                ),
            }
        })
    }
}

impl Mask {
    fn new(forms: Vec<Form>) -> Option<Self> {
        if forms.is_empty() {
            return None;
        }
        let vocabulary = Vocabulary::new(forms.iter().map(|form| (form.owner, form.text.as_slice())));
        let actions = forms.into_iter().map(|form| Action::Insert(Arc::new(form.placeholder))).collect();
        Some(Self { vocabulary, actions })
    }
}

impl Form {
    /// Cuts the placeholder, or fills it with asterisks.
    fn with_same_length(mut self) -> Self {
        self.placeholder.resize(self.text.len(), b'*');
        self
    }
}

/// Adds the forms in which servers usually repeat a value: as it is, in JSON, in URLs, and in Base64.
fn add_forms(owner: usize, secret: &Secret, forms: &mut Vec<Form>) {
    let value = secret.value.bytes();
    let placeholder = secret.placeholder.as_bytes();
    let mut add = |text: Zeroizing<Vec<u8>>, placeholder: &[u8]| {
        if !text.is_empty() && forms.iter().all(|form| form.text != text) {
            forms.push(Form { owner, text, placeholder: Zeroizing::new(placeholder.to_vec()) });
        }
    };
    add(Zeroizing::new(value.to_vec()), placeholder);
    let escaped = JsonStyle::PLAIN.escape(placeholder).unwrap_or_default();
    let styles = if value.len() <= SHORT_MAX { JsonStyle::COMMON.len() } else { LONG_STYLES };
    for style in &JsonStyle::COMMON[..styles] {
        if let Some(text) = style.escape(value) {
            add(text, &escaped);
        }
    }
    if value.len() <= PERCENT_ENCODED_MAX {
        add(forms::percent_encode(value), &forms::percent_encode(placeholder));
    }
    if (BODY_MASK_MIN..=SHORT_MAX).contains(&value.len()) {
        for core in forms::base64_cores(value) {
            let for_urls = core.iter().map(|&letter| forms::url_letter(letter)).collect();
            add(core, placeholder);
            add(Zeroizing::new(for_urls), placeholder);
        }
    }
}
