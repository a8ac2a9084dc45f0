//! KDL text → items.

mod blocks;
mod errors;
mod problem;
pub(crate) mod reader;
mod skip;
mod string;
mod text;
mod value;

use crate::diagnostics::Diagnostic;
use crate::syntax::{Document, Item};
use blocks::scan;
use reader::Reader;

/// Returns the items of the whole text, or `None` when it is not KDL, and the errors.
pub(crate) fn parse(text: &str) -> (Option<Vec<Item<'_>>>, Vec<Diagnostic>) {
    let braces = scan(text);
    if let Some(fatal) = braces.iter().find(|problem| problem.kind.is_fatal()) {
        return (None, vec![fatal.diagnostic(text)]);
    }
    let banned = errors::banned_characters(text);
    if !banned.is_empty() {
        return (None, banned);
    }
    if looks_like_yaml(text) {
        // A short YAML file can be KDL by chance, with node names that end in a colon.
        return (None, vec![errors::not_kdl(text)]);
    }
    let Document { items, problems } = Reader::read(text, !braces.is_empty());
    let mut problems = braces.iter().chain(&problems);
    let diagnostics = problems.clone().map(|problem| problem.diagnostic(text)).collect();
    (problems.all(|problem| problem.kind.is_harmless()).then_some(items), diagnostics)
}

/// Whether a line contains more than blanks and a comment of YAML's kind.
pub(crate) fn says_something(line: &&str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// Whether the first line that says anything reads `word:`, or starts a YAML document.
pub(crate) fn looks_like_yaml(text: &str) -> bool {
    let first = text.trim_start_matches('\u{FEFF}').lines().find(says_something).map(str::trim);
    let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    first.is_some_and(|line| line == "---" || line.split_once(':').is_some_and(|(key, _)| word(key)))
}

#[cfg(test)]
mod tests;
