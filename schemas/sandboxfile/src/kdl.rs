//! KDL text → items.
//!
//! [`Reader`] reads what is usual; nodes that it gives up go to the `kdl` crate, one by one. Whatever is
//! wrong with a text, the crate says so.

use super::code::Code;
use super::context::Context;
use super::diagnostic::Diagnostic;
use super::kdl_blocks::{Blocks, deepest_nesting, node_end, scan, without_block_comments};
use super::kdl_errors as errors;
use super::kdl_reader::Reader;
use super::report::DIAGNOSTICS_MAX;
use super::span::{Span, Spanned};
use super::tree::{Argument, Item, Scalar, ScalarKind, Text, Value};
use ::kdl::{KdlDocument, KdlEntry, KdlIdentifier, KdlNode, KdlValue};
use schemas::spec::limits::{self, UNUSUAL_BYTES_MAX};
use std::ops::Range;

/// What stands around the text that the crate parses; see [`Part::parse`].
const HEAD: &str = "n {\n";
const TAIL: &str = "\n}";

/// Marks of blocks and comments inside each other in text that is handed to the crate, those in strings
/// included. A script in a string may have some.
const NESTING_MAX: usize = 64;

/// A part counts as so many bytes at least: there is something to do for each of them.
const PART_BYTES_MIN: usize = 64;

/// The items of the whole text, or `None` when it is not KDL; then the context holds the errors.
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
    if blocks != Blocks::default() {
        errors::report_blocks(context, &blocks);
        // Where nodes begin and end is anybody's guess. In a large file the braces have to be mended first.
        if text.len() <= UNUSUAL_BYTES_MAX && deepest_nesting(text) <= NESTING_MAX {
            context.charge_unusual(text.len(), Span::default())?;
            Part { text, range: Reader::new(text).begin()..text.len() }.parse(context, true);
        }
        return None;
    }
    parse_nodes(context, text)
}

fn parse_nodes<'t>(context: &mut Context<'_>, text: &'t str) -> Option<Vec<Item<'t>>> {
    let mut reader = Reader::new(text);
    let mut items = Vec::new();
    let mut unusual_bytes = 0;
    let mut broken = 0;
    loop {
        match reader.next_node() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => break,
            Err(gave_up) => {
                let part = Part { text, range: reader.begin()..node_end(text, reader.begin()) };
                reader.go_on_at(part.range.end);
                let bytes = part.range.len().max(PART_BYTES_MIN);
                unusual_bytes += bytes;
                let is_too_deep = deepest_nesting(&text[part.range.clone()]) > NESTING_MAX;
                if unusual_bytes > UNUSUAL_BYTES_MAX || is_too_deep {
                    context.push(errors::misplaced(text, gave_up.at));
                    return None;
                }
                context.charge_unusual(bytes, Span::new(gave_up.at, gave_up.at))?;
                match part.parse(context, false) {
                    Some(own) => items.extend(own),
                    None => broken += 1,
                }
            }
        }
        if reader.count > limits::SANDBOXFILE_NODES_MAX {
            context.push(errors::too_complex(reader.begin()));
            return None;
        }
        // The findings are sorted by place already: nobody gets to see those that would follow.
        if broken > DIAGNOSTICS_MAX {
            return None;
        }
    }
    (broken == 0).then_some(items)
}

/// A part of the text that the crate reads: some nodes, whole ones.
struct Part<'t> {
    text: &'t str,
    range: Range<usize>,
}

impl Part<'_> {
    /// Its items, or `None` when it is not KDL; then the context holds the errors. `is_explained`: some of
    /// them were found already, and are why the parser stumbles.
    ///
    /// It is parsed as the block of a node. Parsed as a document, it would be parsed anew behind each token
    /// that cannot stand where it does, each time on top of the last one: a few thousand of them use up the
    /// stack. As a block, parsing ends at the first such token.
    fn parse(&self, context: &mut Context<'_>, is_explained: bool) -> Option<Vec<Item<'static>>> {
        let own = without_block_comments(&self.text[self.range.clone()]);
        match KdlNode::parse(&format!("{HEAD}{own}{TAIL}")) {
            Ok(node) => Some(node.children().map(|nodes| self.items_of(context, nodes)).unwrap_or_default()),
            Err(error) => {
                let findings = error.diagnostics.iter().map(|finding| (self.span(finding.span), finding));
                errors::report_syntax(context, self.text, self.range.end, is_explained, findings);
                None
            }
        }
    }

    /// Turns a place of the parser into one of the text.
    fn span(&self, span: miette::SourceSpan) -> Span {
        let place = |at: usize| {
            (at + self.range.start).saturating_sub(HEAD.len()).clamp(self.range.start, self.range.end)
        };
        Span::new(place(span.offset()), place(span.offset() + span.len()))
    }

    fn items_of(&self, context: &mut Context<'_>, document: &KdlDocument) -> Vec<Item<'static>> {
        document.nodes().iter().map(|node| self.item_of(context, node)).collect()
    }

    fn item_of(&self, context: &mut Context<'_>, node: &KdlNode) -> Item<'static> {
        self.refuse_annotation(context, node.ty());
        let mut arguments = Vec::new();
        let mut items = Vec::new();
        for entry in node.entries() {
            self.refuse_annotation(context, entry.ty());
            let whole = self.span(entry.span());
            match entry.name() {
                None => arguments.push(argument_of(entry, whole)),
                Some(name) => {
                    let name = self.spanned_name(name);
                    // The span of `max=5` covers all of it; its value is what stands behind the `=`.
                    let value = Span::new((name.span.end + 1).min(whole.end), whole.end);
                    let arguments = vec![argument_of(entry, value)];
                    items.push(Item { name, arguments, items: Vec::new() });
                }
            }
        }
        if let Some(children) = node.children() {
            items.extend(self.items_of(context, children));
        }
        Item { name: self.spanned_name(node.name()), arguments, items }
    }

    fn spanned_name(&self, name: &KdlIdentifier) -> Spanned<Text<'static>> {
        Spanned::new(name.value().to_owned().into(), self.span(name.span()))
    }

    fn refuse_annotation(&self, context: &mut Context<'_>, annotation: Option<&KdlIdentifier>) {
        if let Some(name) = annotation {
            context.push(
                Diagnostic::error(
                    Code::WrongType,
                    self.span(name.span()),
                    "type annotations have no meaning here",
                )
                .label("not known here")
                .help(format!("remove `({})`", name.value())),
            );
        }
    }
}

fn argument_of(entry: &KdlEntry, span: Span) -> Argument<'static> {
    let written = || entry.format().map(|format| format.value_repr.clone()).unwrap_or_default();
    let (kind, text) = match entry.value() {
        KdlValue::String(text) => (ScalarKind::Text, text.clone()),
        KdlValue::Bool(value) => (ScalarKind::Bool(*value), value.to_string()),
        KdlValue::Integer(value) => (ScalarKind::Integer(*value), written()),
        KdlValue::Float(_) => (ScalarKind::Float, written()),
        KdlValue::Null => (ScalarKind::Null, String::new()),
    };
    Argument { value: Value::Scalar(Scalar { kind, text: text.into() }), span }
}

/// Whether a line holds more than blanks and a comment of YAML's kind.
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
#[path = "kdl_tests.rs"]
mod tests;
