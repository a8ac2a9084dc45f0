//! YAML text → nodes, for text that is as usual.
//!
//! The crate behind `yaml_node` deserializes: each node becomes a map of its places, and is read out of that
//! again. This reader takes the events of the same parser instead, which is several times faster. It reads
//! maps, lists, plain and quoted scalars, anchors, aliases and `<<`. Where it meets anything else, right or
//! wrong, it gives up, and the crate reads the file.
//!
//! Invariant: what it accepts, the crate accepts with the same nodes at the same places. The tests hold both
//! readers to that.

use super::span::Span;
use super::tree::{Scalar, ScalarKind};
use super::yaml_node::{Node, NodeValue, cover, scalar_kind, written_of_text};
use crate::spec::limits;
use granit_parser::{Event, Parser, ScalarStyle, Span as Place, StrInput};
use std::collections::{HashMap, HashSet};

/// So many bytes of a scalar that an anchor repeats count as much as a node.
const BYTES_OF_A_NODE: usize = 64;

/// The key that takes over another map's entries.
const MERGE_KEY: &str = "<<";

/// Why there is no node.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The text is not for this reader.
    GaveUp,
    /// It holds more than is allowed, what aliases repeat counted each time; reading ended at this place.
    TooComplex(Span),
}

/// Reads one document, within bounded time and memory whatever it holds.
pub(crate) fn read(text: &str) -> Result<Node, Stop> {
    let options = granit_parser::options! { emit_comments: false };
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { text, events, anchors: HashMap::new(), count: 0 };
    let (event, place) = loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            first => break first,
        }
    };
    let node = reader.node(event, place, 0)?;
    loop {
        match reader.next()?.0 {
            Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(node),
            _ => return Err(Stop::GaveUp),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    /// How many nodes have been made.
    count: usize,
}

impl<'t> Reader<'t> {
    /// The next event. What is wrong with the text, the crate says.
    fn next(&mut self) -> Result<(Event<'t>, Place), Stop> {
        self.events.next_event().and_then(Result::ok).ok_or(Stop::GaveUp)
    }

    /// The node that begins with an event.
    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, Stop> {
        let span = self.span(place)?;
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, None) => (self.scalar(&text, style, span)?, anchor),
            Event::SequenceStart(_, anchor, None) if depth < limits::SANDBOXFILE_DEPTH_MAX => {
                (self.list(span, depth + 1)?, anchor)
            }
            Event::MappingStart(_, anchor, None) if depth < limits::SANDBOXFILE_DEPTH_MAX => {
                (self.map(span, depth + 1)?, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else { return Err(Stop::GaveUp) };
                let weight = weight(node);
                let node = node.clone();
                self.count(weight, span)?;
                return Ok(node);
            }
            _ => return Err(Stop::GaveUp),
        };
        if anchor != 0 {
            self.count(weight(&node), node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stop> {
        self.count += nodes;
        if self.count > limits::SANDBOXFILE_NODES_MAX { Err(Stop::TooComplex(span)) } else { Ok(()) }
    }

    /// The bytes that a place covers.
    fn span(&self, place: Place) -> Result<Span, Stop> {
        match (place.start.byte_offset(), place.end.byte_offset()) {
            (Some(start), Some(end)) => Ok(Span::new(start, end).clamp_to(self.text)),
            _ => Err(Stop::GaveUp),
        }
    }

    fn scalar(&self, value: &str, style: ScalarStyle, span: Span) -> Result<Node, Stop> {
        let kind = match style {
            ScalarStyle::Plain => scalar_kind(value).ok_or(Stop::GaveUp)?,
            _ => ScalarKind::Text,
        };
        let (text, span) = match kind {
            ScalarKind::Text => (value.to_owned(), written_of_text(self.text, span)),
            _ => (self.text[span.start..span.end].to_owned(), span),
        };
        Ok(Node { value: NodeValue::Scalar(Scalar { kind, text }), span })
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Node, Stop> {
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => break,
                (event, place) => elements.push(self.node(event, place, depth)?),
            }
        }
        let span = cover(start, elements.iter().map(|element| element.span));
        Ok(Node { value: NodeValue::List(elements), span })
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        let mut taken_over = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(key, ScalarStyle::Plain, _, None) if key == MERGE_KEY);
            let key = self.node(event, place, depth)?;
            let (event, place) = self.next()?;
            let value = self.node(event, place, depth)?;
            match (is_merge, value.value) {
                (false, other) => entries.push((key, Node { value: other, span: value.span })),
                (true, NodeValue::Map(others)) => taken_over.push(others),
                (true, _) => return Err(Stop::GaveUp),
            }
        }
        if !taken_over.is_empty() {
            take_over(&mut entries, taken_over)?;
        }
        let span = cover(start, entries.iter().flat_map(|(key, value)| [key.span, value.span]));
        Ok(Node { value: NodeValue::Map(entries), span })
    }
}

/// Adds the entries of other maps, as far as their keys are not there yet.
fn take_over(entries: &mut Vec<(Node, Node)>, taken_over: Vec<Vec<(Node, Node)>>) -> Result<(), Stop> {
    let word = |key: &Node| match &key.value {
        NodeValue::Scalar(Scalar { kind: ScalarKind::Text, text }) => Ok(text.clone()),
        _ => Err(Stop::GaveUp),
    };
    let mut seen = HashSet::new();
    for (key, _) in entries.iter() {
        seen.insert(word(key)?);
    }
    for (key, value) in taken_over.into_iter().flatten() {
        if seen.insert(word(&key)?) {
            entries.push((key, value));
        }
    }
    Ok(())
}

/// How much a node counts when it is repeated.
fn weight(node: &Node) -> usize {
    1 + match &node.value {
        NodeValue::Scalar(Scalar { kind: _, text }) => text.len() / BYTES_OF_A_NODE,
        NodeValue::List(elements) => elements.iter().map(weight).sum(),
        NodeValue::Map(entries) => entries.iter().map(|(key, value)| weight(key) + weight(value)).sum(),
    }
}
