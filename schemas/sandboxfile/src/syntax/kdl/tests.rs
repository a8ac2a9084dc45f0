//! The reader agrees with the `kdl` crate: both accept the same texts, with the same items at the same places.

use super::problem::ProblemKind;
use super::*;
use crate::syntax::{Argument, Scalar, ScalarKind, Span, Spanned, Text};
use ::kdl::{KdlDocument, KdlEntry, KdlIdentifier, KdlNode, KdlValue};
use proptest::prelude::*;

/// Text around the one that the crate parses: it parses the block of a node. After each token that cannot stand where
/// it does, a document would be parsed again, on top of the last one, until the stack is full.
const HEAD: &str = "n {\n";
const TAIL: &str = "\n}";

/// Returns what the crate makes of a text; `None` if it finds an error or a type annotation.
fn by_crate(text: &str) -> Option<Vec<Item<'static>>> {
    let begin = if text.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
    let node = KdlNode::parse(&format!("{HEAD}{}{TAIL}", &text[begin..])).ok()?;
    Oracle { begin, end: text.len() }.items_of(node.children()?)
}

struct Oracle {
    begin: usize,
    end: usize,
}

impl Oracle {
    /// Turns a place of the crate into one of the text.
    fn span(&self, span: miette::SourceSpan) -> Span {
        let place = |at: usize| (at + self.begin).saturating_sub(HEAD.len()).clamp(self.begin, self.end);
        Span::new(place(span.offset()), place(span.offset() + span.len()))
    }

    fn items_of(&self, document: &KdlDocument) -> Option<Vec<Item<'static>>> {
        document.nodes().iter().map(|node| self.item_of(node)).collect()
    }

    fn item_of(&self, node: &KdlNode) -> Option<Item<'static>> {
        let mut arguments = Vec::new();
        let mut items = Vec::new();
        for entry in node.entries() {
            let whole = self.span(entry.span());
            match entry.name() {
                None => arguments.push(argument_of(entry, whole)?),
                Some(name) => {
                    let name = self.spanned_name(name);
                    // The span of `max=5` covers all of it; its value is what follows the `=`.
                    let value = Span::new((name.span.end + 1).min(whole.end), whole.end);
                    items.push(Item {
                        name,
                        arguments: vec![argument_of(entry, value)?],
                        items: Vec::new(),
                        is_list: false,
                        tag: None,
                    });
                }
            }
        }
        if let Some(children) = node.children() {
            items.extend(self.items_of(children)?);
        }
        node.ty().is_none().then(|| Item {
            name: self.spanned_name(node.name()),
            arguments,
            items,
            is_list: false,
            tag: None,
        })
    }

    fn spanned_name(&self, name: &KdlIdentifier) -> Spanned<Text<'static>> {
        Spanned::new(name.value().to_owned().into(), self.span(name.span()))
    }
}

fn argument_of(entry: &KdlEntry, span: Span) -> Option<Argument<'static>> {
    let written = || entry.format().map(|format| format.value_repr.clone()).unwrap_or_default();
    let (kind, text) = match entry.value() {
        KdlValue::String(text) => (ScalarKind::Text, text.clone()),
        KdlValue::Bool(value) => (ScalarKind::Bool(*value), value.to_string()),
        KdlValue::Integer(value) => (ScalarKind::Integer(*value), written()),
        KdlValue::Float(_) => (ScalarKind::Float, written()),
        KdlValue::Null => (ScalarKind::Null, String::new()),
    };
    let argument = Argument::scalar(Scalar { kind, text: text.into() }, span);
    entry.ty().is_none().then_some(argument)
}

/// Returns what the reader makes of a text; `None` if it finds an error.
fn by_reader(text: &str) -> Option<Vec<Item<'_>>> {
    let read = Reader::read(text, false);
    read.problems.is_empty().then_some(read.items)
}

/// Checks that both agree on a text, and returns whether they accept it.
fn assert_agreement(text: &str) -> bool {
    if !scan(text).is_empty() || !errors::banned_characters(text).is_empty() {
        return false;
    }
    let read = by_reader(text);
    let by_crate = by_crate(text);
    // The crate takes a bare `-inf` for a word, and in some places no `;` after a node that a `/-` takes out, but two
    // nodes on one line. The specification says otherwise.
    if (text.contains("-inf") || text.contains("/-")) && read.is_some() != by_crate.is_some() {
        return read.is_some();
    }
    assert_eq!(read, by_crate, "{text:?}: {:?}", Reader::read(text, false).problems);
    read.is_some()
}

#[test]
fn files_are_read_the_same() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/models", "tests/reports", "../../examples"].map(|folder| root.join(folder));
    let mut open = folders.to_vec();
    let (mut seen, mut accepted) = (0, 0);
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.join("Sandboxfile").is_file() {
                open.push(path);
            } else if name == "Sandboxfile" || name.ends_with(".kdl") {
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                seen += 1;
                accepted += usize::from(assert_agreement(&text));
                let broken = text.replace('\n', "\r\n");
                assert_agreement(&broken);
            }
        }
    }
    assert!(seen > 20 && accepted > 20, "{accepted} of {seen}");
}

#[test]
fn all_syntax_is_read() {
    for text in [
        "",
        "\u{FEFF}a",
        "a\n",
        "a b \"c\" 1 -1.5e3 1_000 #true #false #null -x + é 日本 a.b a,b <> ~ 'a' $x",
        "a b=1 \"c d\"=\"e\" f = #null g=h",
        "a{b}",
        "a { b; c { d 1; e\n } }\nf",
        "a \\ // b\n c \\\n d",
        "// a\n/* b /* c */ */ d /* e */ f // g\nh",
        "a \"\\\\ \\\" \\b\\f\\n\\r\\t\\s \\u{1F980} é\" \"\"",
        "a \"\"\"\n  b\n\n    c \\\" \\u{e9} \"\"\n  \"\"\"",
        "a \"\"\"\n\"\"\" b",
        "a \"\"\"\r\n\tb\r\n \r\n\t\"\"\" {\r\n}",
        "a #\"\\ \" b\"# ##\"\"#\"##",
        "a #\"\"\"\n  \\n \"\"\" \n  \"\"\"#",
        "a;b;c",
        "a\u{A0}b\u{3000}c\u{2028}d\u{85}e\rf\u{C}g",
        "a\n/- b {\n c\n}\nd",
        "/-\n\na { b }\nc",
        "a 0x10 -0x1F 0b1 0o7 #inf #-inf #nan .a\nb",
        "a \"b\\\n   c\"\nd",
        "a \"b\\ \n ; { c\"\nd",
        "a /-b /-c=1 d /-{ e } { f } /-{ g }; h",
        "a \"\"\"\n  b \\\n  c\n  \"\"\"\nd",
        "a \"\"\"\n  b\n  \\\n \"\"\"",
    ] {
        assert!(assert_agreement(text), "{text:?}");
    }
}

/// Each problem is found at its place, and what follows it is read.
#[test]
fn problems_have_their_places() {
    use ProblemKind::*;
    let annotation = || Annotation { name: "b".to_owned() };
    for (text, problems) in [
        ("a \"b\"c\nd 1x", vec![(Sticks, "\"b\"c"), (NotAValue, "1x")]),
        ("a true 64M inf\nb", vec![(BareKeyword, "true"), (NotAValue, "64M"), (BareKeyword, "inf")]),
        ("a #\"\"\"# b", vec![(LinesOnOneLine, "#\"\"\"#")]),
        ("a \"\\u{110000}\" \"\\q\"", vec![(BadEscape, "\"\\u{110000}\""), (BadEscape, "\"\\q\"")]),
        ("a \"\"\"\n  b\n c\n  \"\"\"\n1", vec![(BadIndentation, " c"), (NotAName, "1")]),
        ("a \"\"\"b\"\"\"", vec![(LinesOnOneLine, "\"\"\"b\"\"\"")]),
        ("a \"\"\"\nb", vec![(OpenLines, "\"\"\"\nb")]),
        ("a \"\"\"\nb\"\"\"\nc", vec![(QuotesInLine, "\"\"\"\nb\"\"\"")]),
        (
            "a 1. 0x #yes 9999999999999999999999999999999999999999",
            vec![
                (NotAValue, "1."),
                (NotAValue, "0x"),
                (NotAValue, "#yes"),
                (NotAValue, "9999999999999999999999999999999999999999"),
            ],
        ),
        ("a [b] c\nd /e f}", vec![(NotAValue, "[b]"), (NotAValue, "/e"), (Misplaced, "")]),
        ("(b)a (b)1", vec![(annotation(), "b"), (annotation(), "b")]),
        ("a {} {}\n{ 1 }", vec![(Misplaced, ""), (NamelessBlock, "{"), (NotAName, "1")]),
        ("a { b = 1; c=; d }", vec![(Misplaced, ""), (Misplaced, "")]),
        ("a b={", vec![(Misplaced, "")]),
        ("a \"b\nc", vec![(OpenString, "\"b")]),
        ("a /-", vec![(EndsEarly, "")]),
    ] {
        let found = Reader::read(text, false).problems;
        let found: Vec<_> = found
            .into_iter()
            .map(|problem| (problem.kind, &text[problem.span.start..problem.span.end]))
            .collect();
        assert_eq!(found, problems, "{text:?}");
    }
}

/// Pieces of KDL, those that make sense more often than the others.
fn pieces() -> impl Strategy<Value = String> {
    let usual = prop::sample::select(vec![
        " ",
        "\n",
        " ",
        "\n",
        ";",
        "a",
        "b-c",
        "\"d\"",
        "1",
        "#true",
        " {",
        "}\n",
        "{ b; c 1 }\n",
        "=",
        " e=1",
        " f",
        " \"g h\"",
        " \"i\\n\"",
        "// j\n",
        "/* k */",
        " \\\n",
        "é",
        " \"\"\"\n  l\n  \"\"\"",
        " #\"m\"#",
        " n=\"o\"",
        " -1.5e3",
        " -p",
        "\r\n",
    ]);
    let rare = prop::sample::select(vec![
        "/-",
        "(q)",
        "0x1F",
        "\"",
        "\"\"\"",
        "#",
        "\\",
        "'",
        ".",
        "+",
        "-",
        "_",
        "[",
        "\t",
        "\u{A0}",
        "\u{2028}",
        "\r",
        "\u{85}",
        "\u{FEFF}",
        "\\u{e9}",
        "\\",
        "\n  \"\"\"",
        "\"\"\"\n",
        "#\"\"\"\n",
        "\"\"\"#",
        "true",
        "#null",
        "#inf",
        "inf",
        "-inf",
        "1e",
        "1_0",
        "9999999999999999999999999999999999999999",
        "/*",
        "*/",
        "//",
        " \n",
        "\\s",
        "\\ \n",
        "##\"",
        "\"##",
        "=",
        ",",
        "$",
        "🦀",
    ]);
    prop_oneof![4 => usual, 1 => rare].prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn any_text_is_read_the_same(text in prop::collection::vec(pieces(), 0..24).prop_map(|pieces| pieces.concat())) {
        assert_agreement(&text);
    }

    #[test]
    fn any_nodes_are_read_the_same(
        nodes in prop::collection::vec(prop::collection::vec(pieces(), 0..6).prop_map(|pieces| pieces.concat()), 0..8)
    ) {
        assert_agreement(&nodes.join("\nz "));
    }
}
