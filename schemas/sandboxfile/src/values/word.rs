//! Values that are one of a few words.

use super::read::{Takes, text};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{Foreign, Vocabulary};
use crate::syntax::{Item, Spanned};
use rules::Word;
use rules::suggest::list;

/// Returns the words of a type, in the order in which messages list them.
pub(super) fn known_words<T: Word>() -> impl Iterator<Item = &'static str> + Clone {
    T::ALL.iter().map(|word| word.as_str())
}

/// Reads a word as typed.
pub(super) fn read_word<T: Word>(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    let help = |_: &Context<'_>| format!("it is {}", list(known_words::<T>(), "or"));
    text(context, item, Takes { what: "a word", bare: false }, &help)
}

/// Checks a word; the default where none is written.
pub(super) fn check_word<T: Vocabulary + Default>(
    context: &mut Context<'_>,
    given: Option<&Spanned<String>>,
    property: &str,
) -> Option<T> {
    let Some(given) = given else { return Some(T::default()) };
    if let Some(known) = T::ALL.iter().copied().find(|word| word.as_str() == given.value) {
        return Some(known);
    }
    let help = advice(context, &given.value, known_words::<T>(), T::FOREIGN);
    let property = context.spell_name(property);
    let message = format!("`{property}` cannot be `{}`", shorten(&given.value));
    context
        .refuse(Diagnostic::error(Code::UnknownValue, given.span, message).label("not known here").help(help))
}

/// Returns the word that was probably meant.
pub(super) fn suggestion(
    context: &Context<'_>,
    given: &str,
    words: impl Iterator<Item = &'static str>,
    foreign: Foreign,
) -> Option<&'static str> {
    let known = foreign.iter().find(|(theirs, _)| theirs.contains(&given)).map(|(_, ours)| *ours);
    known.or_else(|| context.nearest(given, words))
}

/// Returns what a message about an unknown word advises.
pub(super) fn advice(
    context: &Context<'_>,
    given: &str,
    words: impl Iterator<Item = &'static str> + Clone,
    foreign: Foreign,
) -> String {
    match suggestion(context, given, words.clone(), foreign) {
        Some(ours) => format!("did you mean `{ours}`?"),
        None => format!("it is {}", list(words, "or")),
    }
}
