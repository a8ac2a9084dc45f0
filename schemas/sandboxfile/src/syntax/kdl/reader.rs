//! KDL 2 text → items: nodes, arguments, properties and blocks. Values are in `value` and `string`.
//!
//! Grammar: <https://kdl.dev/spec/>, without type annotations, which have no meaning in a Sandboxfile.
//!
//! Whatever is wrong is recorded with its place, and reading continues: after a bad value with the next one, after
//! anything else with the next node. So one pass finds all errors, in time proportional to the text.
//!
//! Invariant: a text without problems is one that the `kdl` crate accepts, with the same items at the same places.
//! The tests compare both.

use super::blocks::node_end;
use super::problem::{Problem, ProblemKind};
use super::skip::{after_line, after_line_space, after_node_space};
use super::text::newline_at;
use crate::diagnostics::DIAGNOSTICS_MAX;
use crate::syntax::{Argument, Document, Item, Scalar, ScalarKind, Span, Spanned, Text};
use schemas::spec::limits;

/// A node cannot be read any further; the problem is recorded.
pub(super) struct Abandoned;

/// Reads a text.
pub(crate) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    /// The number of nodes and values so far.
    count: usize,
    problems: Vec<Problem>,
    /// Whether braces are missing or left over, which is reported already.
    has_uneven_braces: bool,
}

impl<'t> Reader<'t> {
    /// Starts at the beginning of a text, after its byte order mark.
    pub fn new(text: &'t str) -> Self {
        let at = if text.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
        Self { text, at, count: 0, problems: Vec::new(), has_uneven_braces: false }
    }

    /// Reads all nodes of a text.
    pub fn read(text: &'t str, has_uneven_braces: bool) -> Document<'t, ProblemKind> {
        let mut reader = Self { has_uneven_braces, ..Self::new(text) };
        let items = reader.nodes(0);
        if reader.count > limits::SANDBOXFILE_NODES_MAX {
            reader.report(ProblemKind::TooComplex, Span::new(text.len(), text.len()));
        }
        Document { items, problems: reader.problems }
    }

    /// Reads the next node outside any block; `None` at the end of the text or after a problem.
    pub fn next_node(&mut self) -> Option<Item<'t>> {
        loop {
            let item = self.node_of_block(0)?;
            if !self.problems.is_empty() {
                return None;
            }
            if item.is_some() {
                return item;
            }
        }
    }

    /// Whether a problem was found so far.
    pub fn has_problem(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Whether what follows would be neither shown nor used.
    fn is_full(&self) -> bool {
        self.count > limits::SANDBOXFILE_NODES_MAX || self.problems.len() > DIAGNOSTICS_MAX
    }

    pub(super) fn report(&mut self, kind: ProblemKind, span: Span) {
        self.problems.push(Problem { kind, span });
    }

    /// Records a problem at which the node cannot be read any further.
    fn abandon<T>(&mut self, kind: ProblemKind) -> Result<T, Abandoned> {
        self.report(kind, Span::new(self.at, self.at));
        Err(Abandoned)
    }

    /// Records that the character here cannot stand here.
    pub(super) fn misplaced<T>(&mut self) -> Result<T, Abandoned> {
        self.abandon(ProblemKind::Misplaced)
    }

    pub(super) fn byte(&self) -> Option<u8> {
        self.byte_at(self.at)
    }

    pub(super) fn byte_at(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn starts_with(&self, mark: &str) -> bool {
        self.rest().starts_with(mark)
    }

    /// Skips everything that may stand between two nodes.
    fn line_space(&mut self) {
        self.at = after_line_space(self.text, self.at);
    }

    /// Skips everything that may stand between the parts of a node; returns whether there was any.
    fn node_space(&mut self) -> bool {
        let begin = self.at;
        self.at = after_node_space(self.text, begin);
        self.at > begin
    }

    /// Reads the nodes of the text, or of a block up to its `}`.
    fn nodes(&mut self, depth: usize) -> Vec<Item<'t>> {
        let mut items = Vec::new();
        while let Some(item) = self.node_of_block(depth) {
            items.extend(item);
        }
        items
    }

    /// Reads the next node of the text or of a block; `None` at its end, and `Some(None)` for one that does not count.
    fn node_of_block(&mut self, depth: usize) -> Option<Option<Item<'t>>> {
        self.line_space();
        if self.is_full() {
            self.at = self.text.len();
        } else if self.at == self.text.len() && depth > 0 && !self.has_uneven_braces {
            self.report(ProblemKind::EndsEarly, Span::new(self.at, self.at));
            self.has_uneven_braces = true;
        }
        if self.at == self.text.len() {
            return None;
        }
        if self.byte() == Some(b'}') {
            if depth == 0 && !self.has_uneven_braces {
                self.report(ProblemKind::Misplaced, Span::new(self.at, self.at));
            }
            self.at += 1;
            return (depth == 0).then_some(None);
        }
        Some(self.node(depth).unwrap_or_else(|Abandoned| {
            self.at = node_end(self.text, self.at, depth > 0);
            None
        }))
    }

    /// Reads a node and what ends it; a `}` that ends it stays. `None` if a `/-` takes it out.
    fn node(&mut self, depth: usize) -> Result<Option<Item<'t>>, Abandoned> {
        let is_out = self.slash_dash();
        self.count += 1;
        if self.byte() == Some(b'{') {
            self.report(ProblemKind::NamelessBlock, Span::new(self.at, self.at + 1));
            self.children(depth);
        } else {
            self.annotation()?;
            let name = self.name()?;
            let item = self.contents(name, depth)?;
            return Ok((!is_out).then_some(item));
        }
        self.node_space();
        if self.node_end(depth) { Ok(None) } else { self.misplaced() }
    }

    /// Skips a `/-` and the space after it; returns whether there is one.
    fn slash_dash(&mut self) -> bool {
        let found = self.starts_with("/-");
        if found {
            self.at += 2;
            self.line_space();
        }
        found
    }

    fn name(&mut self) -> Result<Spanned<Text<'t>>, Abandoned> {
        let begin = self.at;
        match self.byte() {
            Some(byte) if self.starts_string() && (byte != b'.' || !self.is_dotted_number()) => self.string(),
            None => self.abandon(ProblemKind::EndsEarly),
            Some(_) if self.value_end() > begin => {
                self.at = self.value_end();
                self.report(ProblemKind::NotAName, Span::new(begin, self.at));
                Ok(Spanned::new("".into(), Span::new(begin, self.at)))
            }
            Some(_) => self.misplaced(),
        }
    }

    /// Reads the arguments, properties and children of a node, and what ends it.
    fn contents(&mut self, name: Spanned<Text<'t>>, depth: usize) -> Result<Item<'t>, Abandoned> {
        let (mut arguments, mut items) = (Vec::new(), Vec::new());
        // After the first block, taken out or not, only blocks may follow; only one of them counts.
        let (mut has_block, mut has_children) = (false, false);
        loop {
            let is_spaced = self.node_space();
            if self.node_end(depth) {
                return Ok(Item { name, arguments, items, is_list: false, tag: None });
            }
            let begin = self.at;
            let is_out = self.slash_dash();
            match self.byte() {
                Some(b'{') if is_out || !has_children => {
                    let children = self.children(depth);
                    has_block = true;
                    if !is_out {
                        has_children = true;
                        items.extend(children);
                    }
                }
                Some(_) if is_spaced && !has_block => {
                    let (arguments_before, items_before) = (arguments.len(), items.len());
                    self.entry(&mut arguments, &mut items)?;
                    if is_out {
                        arguments.truncate(arguments_before);
                        items.truncate(items_before);
                    }
                }
                None => return self.abandon(ProblemKind::EndsEarly),
                Some(_) => {
                    self.at = begin;
                    return self.misplaced();
                }
            }
        }
    }

    /// Reads a block at its `{`.
    fn children(&mut self, depth: usize) -> Vec<Item<'t>> {
        self.at += 1;
        if depth >= limits::SANDBOXFILE_DEPTH_MAX {
            // Only text that is not what it seems gets here: an open string may hide braces from the scan.
            self.report(ProblemKind::Misplaced, Span::new(self.at - 1, self.at - 1));
            self.at = self.text.len();
            return Vec::new();
        }
        self.nodes(depth + 1)
    }

    /// Returns whether the node ends here; then what ends it is skipped.
    fn node_end(&mut self, depth: usize) -> bool {
        match self.byte() {
            None => {}
            Some(b'}') if depth > 0 || self.has_uneven_braces => {}
            Some(b';') => self.at += 1,
            Some(b'/') if self.byte_at(self.at + 1) == Some(b'/') => {
                self.at = after_line(self.text, self.at);
            }
            Some(_) => match newline_at(self.text, self.at) {
                0 => return false,
                length => self.at += length,
            },
        }
        true
    }

    /// Reads an argument or a property.
    fn entry(
        &mut self,
        arguments: &mut Vec<Argument<'t>>,
        items: &mut Vec<Item<'t>>,
    ) -> Result<(), Abandoned> {
        self.count += 1;
        let begin = self.at;
        if !self.starts_string() {
            let value = self.value()?;
            arguments.push(Argument::scalar(value, Span::new(begin, self.at)));
            return Ok(());
        }
        let string = self.string()?;
        let end = self.at;
        self.node_space();
        if self.byte() != Some(b'=') {
            self.at = end;
            let scalar = Scalar { kind: ScalarKind::Text, text: string.value };
            arguments.push(Argument::scalar(scalar, string.span));
            return Ok(());
        }
        self.at += 1;
        self.node_space();
        let value = self.value()?;
        let span = Span::new(end + 1, self.at);
        items.push(Item {
            name: string,
            arguments: vec![Argument::scalar(value, span)],
            items: Vec::new(),
            is_list: false,
            tag: None,
        });
        Ok(())
    }

    /// Reports and skips a type annotation, `(name)`.
    pub(super) fn annotation(&mut self) -> Result<(), Abandoned> {
        if self.byte() != Some(b'(') {
            return Ok(());
        }
        let begin = self.at;
        self.at += 1;
        self.node_space();
        let mut closed = None;
        if self.starts_string() {
            let name = self.string()?;
            self.node_space();
            closed = (self.byte() == Some(b')')).then_some(name);
        }
        let Some(name) = closed else {
            self.at = begin;
            return self.misplaced();
        };
        self.at += 1;
        self.node_space();
        self.report(ProblemKind::Annotation { name: name.value.into_owned() }, name.span);
        Ok(())
    }
}
