//! The reader agrees with `serde-saphyr`: what it accepts, the crate accepts, with the same items at the same places.

use super::problem::ProblemKind;
use super::*;
use crate::syntax::{Argument, Scalar, ScalarKind, Span, Spanned, Value};
use proptest::prelude::*;
use schemas::spec::limits;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Options};
use std::fmt;

/// Returns what the crate makes of a text; `None` if it finds an error, or anything else than a map.
fn by_crate(text: &str) -> Option<Vec<Item<'static>>> {
    let typed = serde_yaml::from_str_with_options::<serde_yaml::Spanned<Typed>>(text, options()).ok()?;
    let root = argument_of(text, typed)?;
    if root.is_null() {
        return Some(Vec::new());
    }
    match root.value {
        Value::Map(items) => Some(items),
        Value::Scalar(_) | Value::List(_) => None,
    }
}

fn argument_of(text: &str, typed: serde_yaml::Spanned<Typed>) -> Option<Argument<'static>> {
    let start = span_of(typed.defined).clamp_to(text);
    let cover = |elements: &mut dyn Iterator<Item = Span>| {
        elements.filter(|element| element.start >= start.start).fold(start, Span::join)
    };
    let (value, span) = match typed.value {
        Typed::List(elements) => {
            let elements: Option<Vec<_>> =
                elements.into_iter().map(|element| argument_of(text, element)).collect();
            let elements = elements?;
            let span = cover(&mut elements.iter().map(|element| element.span));
            (Value::List(elements), span)
        }
        Typed::Map(entries) => {
            let mut items = Vec::new();
            let mut spans = Vec::new();
            for (key, value) in entries {
                let (key, value) = (argument_of(text, key)?, argument_of(text, value)?);
                spans.extend([key.span, value.span]);
                let Value::Scalar(scalar) = key.value else { return None };
                items.push(value.named(Spanned::new(scalar.text, key.span)));
            }
            (Value::Map(items), cover(&mut spans.into_iter()))
        }
        Typed::Text(value) => {
            let length = text[start.start..start.end].trim_end().len();
            let scalar = Scalar { kind: ScalarKind::Text, text: value.into() };
            (Value::Scalar(scalar), Span::new(start.start, start.start + length))
        }
        Typed::Other(kind) => {
            let scalar = Scalar { kind, text: text[start.start..start.end].to_owned().into() };
            (Value::Scalar(scalar), start)
        }
    };
    Some(Argument { value, span, tag: None })
}

fn span_of(location: Location) -> Span {
    let span = location.span();
    let byte =
        |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
    let start = byte(span.byte_offset());
    Span::new(start, start + byte(span.byte_len()))
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

/// Checks that both agree on a text, and returns whether they accept it.
fn assert_agreement(text: &str) -> bool {
    let read = reader::read(text);
    if !read.problems.is_empty() {
        // The crate takes some texts with tags and odd merges, and a document that only a marker ends.
        let is_syntax = |kind: &ProblemKind| matches!(kind, ProblemKind::Syntax { .. });
        if read.problems.iter().all(|problem| is_syntax(&problem.kind)) {
            assert_eq!(by_crate(text), None, "{text:?}: {:?}", read.problems);
        }
        return false;
    }
    assert_eq!(Some(read.items), by_crate(text), "{text:?}");
    true
}

#[test]
fn files_are_read_the_same() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut seen, mut accepted) = (0, 0);
    for folder in ["tests/models", "tests/reports"] {
        for path in std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                seen += 1;
                accepted += usize::from(assert_agreement(&text));
                assert_agreement(&text.replace('\n', "\r\n"));
                assert_agreement(&format!("\u{FEFF}{text}"));
            }
        }
    }
    assert!(seen > 10 && accepted > 6, "{accepted} of {seen}");
}

#[test]
fn all_syntax_is_read() {
    for text in [
        "a: b\n",
        "---\na: [b, 'c', \"d\\n\", 1, -x, --y, 1e3, 0x1F, 1_0, .5, ~, true, True, no, .inf, 2024-01-01, 22:22]\n",
        "# a\na: # b\n  b: |\n    c\n\n     d\n  e: >-\n    f\n    g\n",
        "a: &x { b: 1, c: 2 }\nd: *x\ne: { <<: *x, c: 3 }\nf:\n  g: h\n  <<: *x\n",
        "a: &x [1, 2]\nb: &y { c: *x }\nd: *y\n",
        "é: 日本\n? a\n: b\n",
        "a: x\n   y\nb: 'it''s'\n\"c d\": null\n",
        "",
        "~\n",
        "---\n",
        "a: { <<: { b: c }, d: e }\n",
        "a: &a { b: 1 }\nc: &c { d: 2, b: 3 }\ne: { <<: [*a, *c], d: 4 }\n",
        "a: &a { 1: b }\nc: { <<: *a }\n",
    ] {
        assert!(assert_agreement(text), "{text:?}");
    }
}

/// Each problem is found at its place.
#[test]
fn problems_have_their_places() {
    use ProblemKind::*;
    for (text, problem, place) in [
        ("a: !x b\n", Tag { name: "!x".to_owned() }, "b"),
        ("a: b\n---\nc: d\n", SecondDocument, "---"),
        ("a: *b\n", UnknownAnchor, "*"),
        ("a: &a [*a]\n", AnchorInItself, "*a"),
        ("a: &b\n  <<: *b\n", AnchorInItself, "*b"),
        ("a: { <<: b }\n", NothingToMerge { found: "a string" }, "b"),
        ("a: { <<: [{}, c] }\n", NothingToMerge { found: "a string" }, "c"),
        ("[a]\n", NotAMap { found: "a list" }, "[a"),
        ("? [a]\n: b\n", KeyIsNoWord { found: "a list" }, "[a"),
    ] {
        let problems = reader::read(text).problems;
        let [found] = problems.as_slice() else { panic!("{text:?}: {problems:?}") };
        assert_eq!(found.kind, problem, "{text:?}");
        assert_eq!(text[found.span.start..found.span.end].trim_end(), place, "{text:?}");
    }
    for text in ["a: [\n", "a: b: c\n", "a: \"b\n", "a:\n\tb: c\n"] {
        let problems = reader::read(text).problems;
        assert!(
            matches!(problems.as_slice(), [found] if matches!(found.kind, Syntax { .. })),
            "{text:?}: {problems:?}"
        );
    }
}

/// An anchor that is repeated counts each time, and so do its bytes.
#[test]
fn aliases_are_counted() {
    let long = "x".repeat(1024 * 1024);
    let text = format!("a: &a {long}\nb: [{}]\n", "*a, ".repeat(1_000));
    let problems = reader::read(&text).problems;
    assert!(matches!(problems.as_slice(), [problem] if problem.kind == ProblemKind::TooComplex));
    let nested = (1..23).fold("&a0 [x, y]".to_owned(), |inner, level| format!("&a{level} [{inner}, z]"));
    assert!(assert_agreement(&format!("a: {nested}\n")));
    let many: String = (0..5_000).map(|number| format!("s{number}: {{ <<: *a }}\n")).collect();
    assert!(assert_agreement(&format!("a: &a {{ b: 1, c: 2 }}\n{many}")));
}

/// Pieces of YAML, those that make sense more often than the others.
fn pieces() -> impl Strategy<Value = String> {
    let usual = prop::sample::select(vec![
        "a: b\n",
        "  c: d\n",
        "e:\n",
        "  - f\n",
        "g: [h, 1]\n",
        "i: { j: k }\n",
        "l: 'm'\n",
        "  n: |\n    o\n",
        "# p\n",
        "q: &x { r: s, t: 2 }\n",
        "u: *x\n",
        "v: { <<: *x, r: w }\n",
        "  <<: *x\n",
        "y: &y z\n",
        "aa: *y\n",
        "- b\n",
        "c: \"d\\n\"\n",
        "e: 12\n",
        "f: true\n",
        "g: ~\n",
        "h: >\n  i\n  j\n",
        "k: l m\n   n\n",
    ]);
    let rare = prop::sample::select(vec![
        "\n", " ", "  ", "- ", "? ", ": ", ":", ",", "[", "]", "{", "}", "'", "\"", "|", "&x ", "*x ", "!a ",
        "---\n", "...\n", "<<: ", "0x1F", "1e3", "-1", ".5", "0o7", "True", "NO", ".nan", "1_000", "é",
        "\u{FEFF}", "\t", "\r\n", "#", "%", "@", "`", "=", "<<", "+.inf", "1.", "007", "-", "--", "1:2",
        "&y ", "*y", "null", "Null",
    ]);
    prop_oneof![3 => usual, 1 => rare].prop_map(str::to_owned)
}

/// Words that could be something else than text.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-+.0-9a-fxoXOinfINFNaA_:]{1,6}",
        "[-+]?\\.?[a-zA-Z]{1,8}",
        "[-+]?[0-9]{1,25}",
        "[-~=<>|/$@.a-z0-9]{1,5}"
    ]
}

/// What the parser takes a node for.
enum Typed {
    Text(String),
    Other(ScalarKind),
    List(Vec<serde_yaml::Spanned<Typed>>),
    Map(Vec<(serde_yaml::Spanned<Typed>, serde_yaml::Spanned<Typed>)>),
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

proptest! {
    #[test]
    fn any_text_is_read_the_same(text in prop::collection::vec(pieces(), 0..16).prop_map(|pieces| pieces.concat())) {
        assert_agreement(&text);
    }

    #[test]
    fn any_scalar_is_read_the_same(words in prop::collection::vec(words(), 1..6)) {
        assert_agreement(&words.iter().map(|word| format!("{word}: {word}\n")).collect::<String>());
        assert_agreement(&format!("a: [{}]", words.join(", ")));
    }
}
