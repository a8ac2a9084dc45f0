//! YAML text → items.

pub(crate) mod problem;
pub(crate) mod reader;
mod scalar;

use crate::diagnostics::Diagnostic;
use crate::syntax::{Document, Item};

/// Returns the items of the whole text, or `None` when it is not YAML, and the errors.
pub(crate) fn parse(text: &str) -> (Option<Vec<Item<'_>>>, Vec<Diagnostic>) {
    let Document { items, problems } = reader::read(text);
    let is_readable = problems.iter().all(|problem| problem.kind.is_harmless());
    (is_readable.then_some(items), problems.iter().map(|problem| problem.diagnostic(text)).collect())
}

#[cfg(test)]
mod tests;
