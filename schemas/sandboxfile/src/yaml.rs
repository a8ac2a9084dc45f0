//! YAML text → items.

use super::context::Context;
use super::tree::Item;
use super::yaml_reader;

/// Returns the items of the whole text, or `None` when it is not YAML; then the context holds the errors.
pub(crate) fn parse<'t>(context: &mut Context<'_>, text: &'t str) -> Option<Vec<Item<'t>>> {
    let document = yaml_reader::read(text);
    document.problems.iter().for_each(|problem| context.push(problem.diagnostic(text)));
    document.problems.iter().all(|problem| problem.kind.is_harmless()).then_some(document.items)
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
