//! A YAML document as a tree of nodes, each with its place, repeated keys and all.

use super::span::Span;
use super::tree::{Scalar, ScalarKind};
use schemas::spec::limits;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Error, Location, Options, Spanned};
use std::fmt;

/// One node.
#[derive(Debug)]
pub(crate) struct Node<'t> {
    /// What it is.
    pub value: NodeValue<'t>,
    /// Where it stands; for a collection, from its first to its last element.
    pub span: Span,
}

/// The three kinds of nodes.
#[derive(Debug)]
pub(crate) enum NodeValue<'t> {
    /// A scalar.
    Scalar(Scalar<'t>),
    /// A sequence.
    List(Vec<Node<'t>>),
    /// A mapping, in the order of the file.
    Map(Vec<(Node<'t>, Node<'t>)>),
}

impl NodeValue<'_> {
    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Scalar(scalar) => scalar.kind.describe(),
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads one document, within bounded time and memory whatever it holds.
pub(crate) fn read<'t>(text: &'t str) -> Result<Node<'t>, Error> {
    let typed = serde_yaml::from_str_with_options::<Spanned<Typed>>(text, options())?;
    Ok(node_of(text, typed))
}

fn options() -> Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: limits::SANDBOXFILE_DEPTH_MAX,
            max_nodes: limits::SANDBOXFILE_NODES_MAX,
            max_events: 4 * limits::SANDBOXFILE_NODES_MAX,
            max_anchors: limits::SANDBOXFILE_NODES_MAX / 10,
            max_aliases: limits::SANDBOXFILE_NODES_MAX / 10,
            // Many sandboxes may repeat one anchor. What they repeat is counted.
            enforce_alias_anchor_ratio: false,
        },
        // Repeated keys come through, so that all of them are reported, each with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    }
}

/// The bytes that a location covers, when the parser knows them.
pub(crate) fn span_of(location: Location) -> Option<Span> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    Some(Span::new(start, start.checked_add(length)?))
}

fn node_of<'t>(text: &'t str, typed: Spanned<Typed>) -> Node<'t> {
    let start = span_of(typed.defined).unwrap_or_default().clamp_to(text);
    let (value, span) = match typed.value {
        Typed::List(elements) => {
            let elements: Vec<Node<'t>> =
                elements.into_iter().map(|element| node_of(text, element)).collect();
            let span = cover(start, elements.iter().map(|element| element.span));
            (NodeValue::List(elements), span)
        }
        Typed::Map(entries) => {
            let entries: Vec<(Node<'t>, Node<'t>)> =
                entries.into_iter().map(|(key, value)| (node_of(text, key), node_of(text, value))).collect();
            let span = cover(start, entries.iter().flat_map(|(key, value)| [key.span, value.span]));
            (NodeValue::Map(entries), span)
        }
        Typed::Text(value) => {
            let scalar = Scalar { kind: ScalarKind::Text, text: value.into() };
            (NodeValue::Scalar(scalar), written_of_text(text, start))
        }
        Typed::Other(kind) => {
            let scalar = Scalar { kind, text: text[start.start..start.end].into() };
            (NodeValue::Scalar(scalar), start)
        }
    };
    Node { value, span }
}

/// Where a text stands that the parser finds at a place. A block scalar ends behind its last line break; a
/// label shall not.
pub(crate) fn written_of_text(text: &str, place: Span) -> Span {
    Span::new(place.start, place.start + text[place.start..place.end].trim_end().len())
}

/// What a plain scalar is by itself. What could be a number or a keyword in one of YAML's many ways, the
/// crate judges; `None` when it cannot.
pub(crate) fn scalar_kind(text: &str) -> Option<ScalarKind> {
    const KEYWORDS: [&str; 12] =
        ["true", "false", "null", "inf", "infinity", "nan", "yes", "no", "on", "off", "y", "n"];
    let is_keyword = || KEYWORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let is_numeric = |byte: u8| byte.is_ascii_hexdigit() || b"xXoO._+-".contains(&byte);
    match text.as_bytes() {
        b"" | b"~" | b"null" => Some(ScalarKind::Null),
        b"true" => Some(ScalarKind::Bool(true)),
        b"false" => Some(ScalarKind::Bool(false)),
        // These end a document where they stand alone.
        b"---" | b"..." => None,
        bytes if !bytes.iter().all(|&byte| is_word(byte)) => Some(ScalarKind::Text),
        [b'1'..=b'9', digits @ ..] if digits.len() < 18 && digits.iter().all(u8::is_ascii_digit) => {
            text.parse().ok().map(ScalarKind::Integer)
        }
        [b'0'..=b'9', rest @ ..] if !rest.iter().all(|&byte| is_numeric(byte)) => Some(ScalarKind::Text),
        [b'-', second, ..] if second.is_ascii_alphabetic() && !b"iInN".contains(second) => {
            Some(ScalarKind::Text)
        }
        [b'-', b'-', ..] => Some(ScalarKind::Text),
        [first, ..] if first.is_ascii_alphabetic() && !is_keyword() => Some(ScalarKind::Text),
        _ => match serde_yaml::from_str_with_options::<Typed>(text, options()).ok()? {
            Typed::Text(_) => Some(ScalarKind::Text),
            Typed::Other(kind) => Some(kind),
            Typed::List(_) | Typed::Map(_) => None,
        },
    }
}

/// From a collection's start to the end of its last element that stands behind it: what an alias brings
/// in stands elsewhere.
pub(crate) fn cover(start: Span, elements: impl IntoIterator<Item = Span>) -> Span {
    elements.into_iter().filter(|element| element.start >= start.start).fold(start, Span::join)
}

/// What the parser takes a node for.
enum Typed {
    Text(String),
    Other(ScalarKind),
    List(Vec<Spanned<Typed>>),
    Map(Vec<(Spanned<Typed>, Spanned<Typed>)>),
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TypedVisitor)
    }
}

struct TypedVisitor;

impl<'de> Visitor<'de> for TypedVisitor {
    type Value = Typed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a map")
    }

    fn visit_str<E>(self, value: &str) -> Result<Typed, E> {
        Ok(Typed::Text(value.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Integer(i128::from(value))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Integer(i128::from(value))))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Integer(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Integer(i128::try_from(value).unwrap_or(i128::MAX))))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Float))
    }

    fn visit_unit<E>(self) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Null))
    }

    fn visit_none<E>(self) -> Result<Typed, E> {
        Ok(Typed::Other(ScalarKind::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Typed, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            elements.push(element);
        }
        Ok(Typed::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Typed, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = mapping.next_entry()? {
            entries.push(entry);
        }
        Ok(Typed::Map(entries))
    }
}
