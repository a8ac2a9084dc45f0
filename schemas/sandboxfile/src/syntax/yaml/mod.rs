//! YAML text → items.

mod problem;
pub(crate) mod reader;
mod scalar;

use crate::diagnostics::Context;
use crate::syntax::Item;

/// Returns the items of the whole text, or `None` when it is not YAML; then the context holds the errors.
pub(crate) fn parse<'t>(context: &mut Context<'_>, text: &'t str) -> Option<Vec<Item<'t>>> {
    let document = reader::read(text);
    document.problems.iter().for_each(|problem| context.push(problem.diagnostic(text)));
    document.problems.iter().all(|problem| problem.kind.is_harmless()).then_some(document.items)
}

#[cfg(test)]
mod tests;
