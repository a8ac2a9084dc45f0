//! YAML text → items, from the events of the parser `granit`.
//!
//! Keys are texts, whatever YAML takes them for, and plain scalars keep their source text beside the type that YAML
//! 1.2's core schema gives them (<https://yaml.org/spec/1.2.2/#103-core-schema>), so that `NO` and `1e3` stay
//! themselves. Repeated keys come through, so that all of them are reported.
//!
//! Invariant: what it accepts, `serde-saphyr` accepts with the same items at the same places. The tests compare both.

use super::problem::{Problem, ProblemKind};
use super::scalar::scalar_kind;
use crate::syntax::{Argument, Document, Item, MergeTag, Scalar, ScalarKind, Span, Spanned, Text, Value};
use granit_parser::{
    ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span as YamlSpan, StrInput, Tag,
};
use schemas::spec::limits;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// So many bytes of a scalar that an anchor repeats count as much as a node.
const BYTES_OF_A_NODE: usize = 64;

/// The key that takes over another map's entries.
const MERGE_KEY: &str = "<<";

/// What the parser writes for `!!`.
const CORE_TAGS: &str = "tag:yaml.org,2002:";

/// Reads one document, a map, within bounded time and memory. It has no items if it is empty or cannot be read.
pub(crate) fn read(text: &str) -> Document<'_, ProblemKind> {
    read_document(text, false)
}

/// Does the same for a format whose values may have merge tags.
pub(crate) fn read_with_merge_tags(text: &str) -> Document<'_, ProblemKind> {
    read_document(text, true)
}

fn read_document(text: &str, has_merge_tags: bool) -> Document<'_, ProblemKind> {
    let options = granit_parser::options! { emit_comments: false };
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader =
        Reader { text, has_merge_tags, events, anchors: HashMap::new(), count: 0, problems: Vec::new() };
    let items = match reader.document() {
        Ok(items) => items,
        Err(Fatal(problem)) => {
            reader.problems.push(problem);
            Vec::new()
        }
    };
    Document { items, problems: reader.problems }
}

/// A problem after which nothing can be read.
struct Fatal(Problem);

struct Reader<'t> {
    text: &'t str,
    has_merge_tags: bool,
    events: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Argument<'t>>,
    /// The number of nodes that have been made.
    count: usize,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Vec<Item<'t>>, Fatal> {
        let root = loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(Vec::new()),
                (event, place) => break self.node(event, place, 0)?,
            }
        };
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => break,
                (_, place) => return Err(self.fatal(ProblemKind::SecondDocument, place)),
            }
        }
        self.refuse_merge_tag(&root);
        if root.is_null() {
            return Ok(Vec::new());
        }
        let (found, span) = (root.describe(), root.span);
        match root.value {
            Value::Map(items) => Ok(items),
            Value::Scalar(_) | Value::List(_) => {
                self.problems.push(Problem { kind: ProblemKind::NotAMap { found }, span });
                Ok(Vec::new())
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, YamlSpan), Fatal> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, YamlSpan::default())),
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Fatal {
        let start = self.place_of(error.marker());
        let length = self.text[start..].chars().next().map_or(0, char::len_utf8);
        let kind = match error.kind() {
            ErrorKind::UnknownAnchor => ProblemKind::UnknownAnchor,
            ErrorKind::RecursionLimitExceeded => ProblemKind::TooDeep,
            kind => ProblemKind::Syntax { message: kind.to_string() },
        };
        Fatal(Problem { kind, span: Span::new(start, start + length) })
    }

    /// Returns the byte that the marker of an error stands for; some of them count characters only.
    fn place_of(&self, marker: &Marker) -> usize {
        let place = marker.byte_offset().or_else(|| {
            let found = self.text.char_indices().nth(marker.index());
            found.map(|(byte, _)| byte)
        });
        let place = place.unwrap_or(self.text.len());
        Span::new(place, place).clamp_to(self.text).start
    }

    /// Returns the bytes that an event covers; a parser that reads from a string knows them.
    fn span(&self, place: YamlSpan) -> Span {
        let byte = |marker: &Marker| marker.byte_offset().unwrap_or_default();
        Span::new(byte(&place.start), byte(&place.end)).clamp_to(self.text)
    }

    fn fatal(&self, kind: ProblemKind, place: YamlSpan) -> Fatal {
        Fatal(Problem { kind, span: self.span(place) })
    }

    /// Reads the node that begins with an event.
    fn node(&mut self, event: Event<'t>, place: YamlSpan, depth: usize) -> Result<Argument<'t>, Fatal> {
        let span = self.span(place);
        self.count(1, span)?;
        let is_collection = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if is_collection && depth >= limits::SANDBOXFILE_DEPTH_MAX {
            return Err(self.fatal(ProblemKind::TooDeep, place));
        }
        let (node, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = self.tag(tag, span);
                (self.scalar(text, style, span), anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag = self.tag(tag, span);
                (self.list(span, depth + 1)?, anchor, tag)
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = self.tag(tag, span);
                (self.map(span, depth + 1)?, anchor, tag)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(self.fatal(ProblemKind::AnchorInItself, place));
                };
                let node = node.clone();
                self.count(weight(&node), span)?;
                return Ok(node);
            }
            _ => {
                return Err(
                    self.fatal(ProblemKind::Syntax { message: "a value is missing".to_owned() }, place)
                );
            }
        };
        let node = Argument { tag, ..node };
        if anchor != 0 {
            self.count(weight(&node), node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Fatal> {
        self.count += nodes;
        if self.count > limits::SANDBOXFILE_NODES_MAX {
            return Err(Fatal(Problem { kind: ProblemKind::TooComplex, span }));
        }
        Ok(())
    }

    /// Returns a merge tag; `None` after reporting any other one.
    fn tag(&mut self, tag: Option<Cow<'t, Tag>>, span: Span) -> Option<MergeTag> {
        let name = tag?.to_string();
        let found = MergeTag::ALL.into_iter().find(|tag| self.has_merge_tags && tag.name() == name);
        if found.is_none() {
            let name = name.strip_prefix(CORE_TAGS).map_or(name.clone(), |core| format!("!!{core}"));
            self.problems.push(Problem { kind: ProblemKind::Tag { name }, span });
        }
        found
    }

    /// Reports a merge tag of what merges with nothing: the document, a key, or the maps of `<<`.
    fn refuse_merge_tag(&mut self, node: &Argument<'t>) {
        if let Some(tag) = node.tag {
            let kind = ProblemKind::Tag { name: tag.name().to_owned() };
            self.problems.push(Problem { kind, span: node.span });
        }
    }

    fn scalar(&self, value: Text<'t>, style: ScalarStyle, span: Span) -> Argument<'t> {
        let kind = match style {
            ScalarStyle::Plain => scalar_kind(&value),
            _ => ScalarKind::Text,
        };
        let (text, span) = match kind {
            ScalarKind::Text => (value, self.without_trailing_space(span)),
            _ => (self.text[span.start..span.end].into(), span),
        };
        Argument::scalar(Scalar { kind, text }, span)
    }

    /// Returns where a text stands. A block scalar ends after its last line break; a label shall not.
    fn without_trailing_space(&self, span: Span) -> Span {
        Span::new(span.start, span.start + self.text[span.start..span.end].trim_end().len())
    }

    fn list(&mut self, mut span: Span, depth: usize) -> Result<Argument<'t>, Fatal> {
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
        Ok(Argument { value: Value::List(elements), span, tag: None })
    }

    fn map(&mut self, mut span: Span, depth: usize) -> Result<Argument<'t>, Fatal> {
        let mut items: Vec<Item<'t>> = Vec::new();
        let mut inherited: Vec<Item<'t>> = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(key, ScalarStyle::Plain, _, None) if key == MERGE_KEY);
            let key = self.node(event, place, depth)?;
            self.refuse_merge_tag(&key);
            let (event, place) = self.next()?;
            let value = self.node(event, place, depth)?;
            let (found, key_span) = (key.describe(), key.span);
            let Value::Scalar(Scalar { text, .. }) = key.value else {
                self.problems.push(Problem { kind: ProblemKind::KeyIsNoWord { found }, span: key_span });
                continue;
            };
            if is_merge {
                self.inherit(&mut inherited, value);
            } else {
                span = cover(span, [key.span, value.span]);
                items.push(value.named(Spanned::new(text, key.span)));
            }
        }
        if !inherited.is_empty() {
            let mut seen: HashSet<Text<'t>> = items.iter().map(|item| item.name.value.clone()).collect();
            items.extend(inherited.into_iter().filter(|item| seen.insert(item.name.value.clone())));
        }
        Ok(Argument { value: Value::Map(items), span, tag: None })
    }

    /// Collects the entries of the map, or of the maps in a list, that `<<` names.
    fn inherit(&mut self, inherited: &mut Vec<Item<'t>>, value: Argument<'t>) {
        self.refuse_merge_tag(&value);
        let maps = match value {
            Argument { value: Value::List(elements), .. } => elements,
            other => vec![other],
        };
        for map in maps {
            self.refuse_merge_tag(&map);
            let found = map.describe();
            match map.value {
                Value::Map(items) => inherited.extend(items),
                Value::Scalar(_) | Value::List(_) => {
                    self.problems
                        .push(Problem { kind: ProblemKind::NothingToMerge { found }, span: map.span });
                }
            }
        }
    }
}

/// From a collection's start to the end of its last element that follows it: what an alias repeats stands elsewhere.
fn cover(start: Span, elements: impl IntoIterator<Item = Span>) -> Span {
    elements.into_iter().filter(|element| element.start >= start.start).fold(start, Span::join)
}

/// Returns how much a node counts when it is repeated.
fn weight(node: &Argument<'_>) -> usize {
    node.count(&|text| 1 + text.len() / BYTES_OF_A_NODE)
}
