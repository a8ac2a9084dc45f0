//! KDL text → items.

mod blocks;
mod errors;
mod problem;
pub(crate) mod reader;
mod string;
mod text;
mod value;

use crate::diagnostics::Context;
use crate::syntax::Item;
use blocks::{Blocks, scan};
use reader::Reader;
use schemas::spec::limits;

/// Returns the items of the whole text, or `None` when it is not KDL; then the context holds the errors.
pub(crate) fn parse<'t>(context: &mut Context<'_>, text: &'t str) -> Option<Vec<Item<'t>>> {
    let blocks = scan(text, limits::SANDBOXFILE_DEPTH_MAX);
    if errors::report_depth(context, &blocks) || errors::report_banned_characters(context, text) {
        return None;
    }
    if looks_like_yaml(text) {
        // A short YAML file can be KDL by chance, with node names that end in a colon.
        context.push(errors::not_kdl(text));
        return None;
    }
    let has_uneven_braces = blocks != Blocks::default();
    errors::report_blocks(context, &blocks);
    let read = Reader::read(text, has_uneven_braces);
    read.problems.iter().for_each(|problem| context.push(problem.diagnostic(text)));
    if read.is_too_complex {
        context.push(errors::too_complex(text.len()));
    }
    let is_readable = read.problems.iter().all(|problem| problem.kind.is_harmless());
    (is_readable && !read.is_too_complex && !has_uneven_braces).then_some(read.items)
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
