//! The parts of a request that a secret is put into, and the placeholder that it replaces there.

use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::Vocabulary;
use crate::syntax::{Span, Spanned};
use crate::values::word::{advice, known_words};
use schemas::spec::limits::{PLACEHOLDER_BYTES_MAX, PLACEHOLDER_BYTES_MIN};
use schemas::spec::{RequestPart, default_parts, default_placeholder};
use std::collections::BTreeSet;

/// The header with the credentials that [`RequestPart::BasicAuth`] decodes.
const AUTHORIZATION: &str = "authorization";

/// Returns whether a character can be in a placeholder: one that is escaped neither in a header nor in JSON.
fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '`' | '\\')
}

/// Checks the placeholder of a secret: its own one, or else the one that its name makes.
pub(super) fn check_placeholder(
    context: &mut Context<'_>,
    name: &Spanned<String>,
    own: Option<&Spanned<String>>,
) -> Option<Option<String>> {
    let shown = shorten(&name.value);
    let Some(own) = own else {
        // The dollar signs at its ends tell the default placeholders of two names apart.
        let is_sound = name.value.chars().all(|c| is_plain(c) && c != '$')
            && default_placeholder(&name.value).len() <= PLACEHOLDER_BYTES_MAX;
        if is_sound {
            return Some(None);
        }
        let sample = context.sample("placeholder", &["sk-placeholder"]);
        return context.refuse(
            Diagnostic::error(
                Code::InvalidPlaceholder,
                name.span,
                format!("the secret `{shown}` needs a placeholder of its own"),
            )
            .label("this name cannot be a part of one")
            .help(format!("add one, such as `{sample}`, or choose a name such as API_KEY")),
        );
    };
    let length = own.value.len();
    let label = if let Some(found) = own.value.chars().find(|c| !is_plain(*c)) {
        format!("has {found:?}")
    } else if length == 0 {
        "no text".to_owned()
    } else if length < PLACEHOLDER_BYTES_MIN {
        "too short: it would be found by chance".to_owned()
    } else if length > PLACEHOLDER_BYTES_MAX {
        "too long".to_owned()
    } else {
        return Some(Some(own.value.clone()));
    };
    context.refuse(
        Diagnostic::error(
            Code::InvalidPlaceholder,
            own.span,
            format!("the placeholder of the secret `{shown}` cannot be used"),
        )
        .label(label)
        .help(format!(
            "it has {PLACEHOLDER_BYTES_MIN} to {PLACEHOLDER_BYTES_MAX} letters, digits and other characters of ASCII, \
             without spaces, quotes and backslashes; or omit it"
        )),
    )
}

/// A placeholder and its place: that of the text, or of the name of its secret.
pub(super) type Placed = Spanned<String>;

/// Reports placeholders that are a part of another one, or equal to it.
pub(super) fn check_apart(context: &mut Context<'_>, placeholders: &[Placed]) {
    for (index, inner) in placeholders.iter().enumerate() {
        let contains = |(other, outer): &(usize, &Placed)| {
            // Of two equal ones, the second is reported.
            let is_before = *other < index || outer.value != inner.value;
            *other != index && is_before && outer.value.contains(&inner.value)
        };
        let Some((_, outer)) = placeholders.iter().enumerate().find(contains) else { continue };
        let (inner_text, outer_text) = (shorten(&inner.value), shorten(&outer.value));
        let (message, label) = if inner.value == outer.value {
            (format!("two secrets have the placeholder `{inner_text}`"), "the same placeholder again")
        } else {
            (
                format!("the placeholder `{inner_text}` is a part of `{outer_text}`"),
                "found in the other one too",
            )
        };
        context.push(
            Diagnostic::error(Code::Conflict, inner.span, message)
                .label(label)
                .also(outer.span, "the other one")
                .help("choose another text for one of the two"),
        );
    }
}

/// Checks the names of the headers, which become lower case.
pub(super) fn check_headers(
    context: &mut Context<'_>,
    names: Option<&Vec<Spanned<String>>>,
) -> Option<BTreeSet<String>> {
    let is_token = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    let check = |name: &Spanned<String>| {
        if is_token(&name.value) {
            return Some(name.value.to_ascii_lowercase());
        }
        let message = format!("`{}` is not the name of a header", shorten(&name.value));
        context.refuse(
            Diagnostic::error(Code::InvalidText, name.span, message)
                .label("not a header")
                .help("name it without its value, such as \"Authorization\" or \"X-Api-Key\""),
        )
    };
    let checked: Vec<_> = names.into_iter().flatten().map(check).collect();
    checked.into_iter().collect()
}

/// Checks the parts of a request. Where headers are named, their values are a part in any case.
pub(super) fn check_parts(
    context: &mut Context<'_>,
    parts: Option<&Vec<Spanned<String>>>,
    headers: Option<&BTreeSet<String>>,
) -> Option<BTreeSet<RequestPart>> {
    let is_limited = headers.is_some_and(|headers| !headers.is_empty());
    let Some(parts) = parts else {
        let mut parts = default_parts();
        if is_limited && !headers.is_some_and(|headers| headers.contains(AUTHORIZATION)) {
            parts.remove(&RequestPart::BasicAuth);
        }
        return Some(parts);
    };
    let checked: Vec<_> = parts.iter().map(|part| check_part(context, part)).collect();
    let mut checked: BTreeSet<_> = checked.into_iter().collect::<Option<_>>()?;
    if is_limited {
        checked.insert(RequestPart::Headers);
    }
    Some(checked)
}

fn check_part(context: &mut Context<'_>, part: &Spanned<String>) -> Option<RequestPart> {
    if let Some(known) = RequestPart::ALL.iter().copied().find(|word| word.as_str() == part.value) {
        return Some(known);
    }
    let help = advice(context, &part.value, known_words::<RequestPart>(), RequestPart::FOREIGN);
    let message = format!("a secret cannot be put into `{}`", shorten(&part.value));
    context.refuse(
        Diagnostic::error(Code::UnknownValue, part.span, message).label("not a part of a request").help(help),
    )
}

/// Returns the place of the placeholder of a secret.
pub(super) fn place_of(name: &Spanned<String>, own: Option<&Spanned<String>>) -> Span {
    own.map_or(name.span, |own| own.span)
}
