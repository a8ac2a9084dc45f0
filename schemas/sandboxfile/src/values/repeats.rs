//! Keys and names that are given twice.

use crate::diagnostics::{Code, Diagnostic, shorten};
use crate::syntax::{Span, Spanned};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Returns the span of an earlier use of a key; `None` for its first use, which is recorded.
pub(crate) fn given_before<K: Ord>(first: &mut BTreeMap<K, Span>, key: K, span: Span) -> Option<Span> {
    match first.entry(key) {
        Entry::Occupied(before) => Some(*before.get()),
        Entry::Vacant(free) => {
            free.insert(span);
            None
        }
    }
}

/// Returns the error about a property or a variable that is given twice.
pub(crate) fn given_twice(name: &str, span: Span, before: Span) -> Diagnostic {
    Diagnostic::error(Code::DuplicateProperty, span, format!("`{}` is given twice", shorten(name)))
        .label("given again")
        .also(before, "first given here")
        .help("keep one of the two")
}

/// Returns the error about two things of one kind and name; `kind` is the plural: `volumes`.
pub(crate) fn same_name(kind: &str, name: &Spanned<String>, before: Span) -> Diagnostic {
    let message = format!("two {kind} are called `{}`", shorten(&name.value));
    Diagnostic::error(Code::DuplicateName, name.span, message)
        .label("the same name again")
        .also(before, "first given here")
        .help("rename or remove one of the two")
}
