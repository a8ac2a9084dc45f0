//! YAML text → items, for text that is as usual.
//!
//! The crate behind `yaml_node` deserializes: each node becomes a map of its places, and is read out of that
//! again. This reader takes the events of the same parser instead, which is several times faster. It reads
//! maps, lists, plain and quoted scalars, anchors, aliases and `<<`. Where it meets anything else, right or
//! wrong, it gives up, and the crate reads the file.
//!
//! Invariant: what it accepts, the crate accepts with the same items at the same places. The tests hold both
//! readers to that.

use super::span::{Span, Spanned};
use super::tree::{Argument, Item, Scalar, ScalarKind, Text, Value};
use super::yaml_node::{cover, scalar_kind, written_of_text};
use granit_parser::{Event, Parser, ScalarStyle, Span as Place, StrInput};
use schemas::spec::limits;
use std::collections::{HashMap, HashSet};

/// So many bytes of a scalar that an anchor repeats count as much as a node.
const BYTES_OF_A_NODE: usize = 64;

/// The key that takes over another map's entries.
const MERGE_KEY: &str = "<<";

/// Why there are no items.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The text is not for this reader.
    GaveUp,
    /// It holds more than is allowed, what aliases repeat counted each time; reading ended at this place.
    TooComplex(Span),
}

/// Reads one document, a map, within bounded time and memory whatever it holds.
pub(crate) fn read<'t>(text: &'t str) -> Result<Vec<Item<'t>>, Stop> {
    let options = granit_parser::options! { emit_comments: false };
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { text, events, anchors: HashMap::new(), count: 0, has_odd_keys: false };
    let (event, place) = loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            first => break first,
        }
    };
    let Value::Map(items) = reader.node(event, place, 0)?.value else { return Err(Stop::GaveUp) };
    loop {
        match reader.next()?.0 {
            Event::DocumentEnd => {}
            Event::StreamEnd => return Ok(items),
            _ => return Err(Stop::GaveUp),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Argument<'t>>,
    /// How many nodes have been made.
    count: usize,
    /// Whether a key is something else than a text: `<<` cannot tell such keys apart.
    has_odd_keys: bool,
}

impl<'t> Reader<'t> {
    /// The next event. What is wrong with the text, the crate says.
    fn next(&mut self) -> Result<(Event<'t>, Place), Stop> {
        self.events.next_event().and_then(Result::ok).ok_or(Stop::GaveUp)
    }

    /// The node that begins with an event.
    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Argument<'t>, Stop> {
        let span = self.span(place)?;
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, None) => (self.scalar(text, style, span)?, anchor),
            Event::SequenceStart(_, anchor, None) if depth < limits::SANDBOXFILE_DEPTH_MAX => {
                (self.list(span, depth + 1)?, anchor)
            }
            Event::MappingStart(_, anchor, None) if depth < limits::SANDBOXFILE_DEPTH_MAX => {
                (self.map(span, depth + 1)?, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else { return Err(Stop::GaveUp) };
                let weight = weight(&node.value);
                let node = node.clone();
                self.count(weight, span)?;
                return Ok(node);
            }
            _ => return Err(Stop::GaveUp),
        };
        if anchor != 0 {
            self.count(weight(&node.value), node.span)?;
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

    fn scalar(&self, value: Text<'t>, style: ScalarStyle, span: Span) -> Result<Argument<'t>, Stop> {
        let kind = match style {
            ScalarStyle::Plain => scalar_kind(&value).ok_or(Stop::GaveUp)?,
            _ => ScalarKind::Text,
        };
        let (text, span) = match kind {
            ScalarKind::Text => (value, written_of_text(self.text, span)),
            _ => (self.text[span.start..span.end].into(), span),
        };
        Ok(Argument::scalar(Scalar { kind, text }, span))
    }

    fn list(&mut self, mut span: Span, depth: usize) -> Result<Argument<'t>, Stop> {
        let mut elements = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let element = self.node(event, place, depth)?;
            span = cover(span, [element.span]);
            elements.push(element);
        }
        Ok(Argument { value: Value::List(elements), span })
    }

    fn map(&mut self, mut span: Span, depth: usize) -> Result<Argument<'t>, Stop> {
        let mut items: Vec<Item<'t>> = Vec::new();
        let mut taken_over: Vec<Item<'t>> = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(key, ScalarStyle::Plain, _, None) if key == MERGE_KEY);
            let key = self.node(event, place, depth)?;
            let Value::Scalar(Scalar { kind, text }) = key.value else { return Err(Stop::GaveUp) };
            self.has_odd_keys |= kind != ScalarKind::Text;
            let (event, place) = self.next()?;
            let is_alias = matches!(event, Event::Alias(_));
            let value = self.node(event, place, depth)?;
            match value.value {
                Value::Map(others) if is_merge && is_alias => taken_over.extend(others),
                _ if is_merge => return Err(Stop::GaveUp),
                _ => {
                    span = cover(span, [key.span, value.span]);
                    items.push(value.named(Spanned::new(text, key.span)));
                }
            }
        }
        if !taken_over.is_empty() {
            self.take_over(&mut items, taken_over)?;
        }
        Ok(Argument { value: Value::Map(items), span })
    }

    /// Adds the entries of other maps, as far as their keys are not there yet.
    fn take_over(&self, items: &mut Vec<Item<'t>>, taken_over: Vec<Item<'t>>) -> Result<(), Stop> {
        if self.has_odd_keys {
            return Err(Stop::GaveUp);
        }
        let mut seen: HashSet<Text<'t>> = items.iter().map(|item| item.name.value.clone()).collect();
        items.extend(taken_over.into_iter().filter(|item| seen.insert(item.name.value.clone())));
        Ok(())
    }
}

/// How much a node counts when it is repeated.
fn weight(value: &Value<'_>) -> usize {
    match value {
        Value::Scalar(scalar) => weight_of_text(&scalar.text),
        Value::List(elements) => 1 + weights(elements),
        Value::Map(items) => 1 + items.iter().map(weight_of_item).sum::<usize>(),
    }
}

fn weights(arguments: &[Argument<'_>]) -> usize {
    arguments.iter().map(|argument| weight(&argument.value)).sum()
}

fn weight_of_item(Item { name, arguments, items }: &Item<'_>) -> usize {
    let inside = weights(arguments) + items.iter().map(weight_of_item).sum::<usize>();
    weight_of_text(&name.value) + inside.max(1)
}

fn weight_of_text(text: &str) -> usize {
    1 + text.len() / BYTES_OF_A_NODE
}
