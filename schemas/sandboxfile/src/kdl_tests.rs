//! Both readers of KDL agree: what the one for usual text accepts, the crate accepts, with the same items
//! at the same places.

use super::*;
use crate::AssumePresent;
use proptest::prelude::*;

/// What the crate makes of a text.
fn by_crate(text: &str) -> Option<Vec<Item<'_>>> {
    let mut context = Context::new(&AssumePresent);
    let begin = Reader::new(text).begin();
    let items = Part { text, range: begin..text.len() }.parse(&mut context, false);
    items.filter(|_| context.is_clean())
}

/// What the reader makes of a text, if it does not give up.
fn by_reader(text: &str) -> Option<Vec<Item<'_>>> {
    let mut reader = Reader::new(text);
    let mut items = Vec::new();
    while let Some(item) = reader.next_node().ok()? {
        items.push(item);
    }
    Some(items)
}

/// What the two of them make of a text.
fn by_both(text: &str) -> Option<Vec<Item<'_>>> {
    let mut context = Context::new(&AssumePresent);
    parse(&mut context, text).filter(|_| context.is_clean())
}

/// Whether the whole text is for the reader; then the crate must agree.
fn assert_agreement(text: &str) -> bool {
    let mut context = Context::new(&AssumePresent);
    if scan(text, limits::SANDBOXFILE_DEPTH_MAX) != Blocks::default()
        || errors::report_banned_characters(&mut context, text)
    {
        return false;
    }
    let read = by_reader(text);
    if let Some(read) = &read {
        assert_eq!(Some(read), by_crate(text).as_ref(), "{text:?}");
    }
    if !looks_like_yaml(text)
        && let Some(parsed) = by_crate(text)
    {
        assert_eq!(by_both(text), Some(parsed), "{text:?}");
    }
    read.is_some()
}

#[test]
fn files_are_read_the_same() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/models", "tests/reports", "../../examples"].map(|folder| root.join(folder));
    let mut open = folders.to_vec();
    let (mut seen, mut usual) = (0, 0);
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.join("Sandboxfile").is_file() {
                open.push(path);
            } else if name == "Sandboxfile" || name.ends_with(".kdl") {
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                seen += 1;
                usual += usize::from(assert_agreement(&text));
                let broken = text.replace('\n', "\r\n");
                assert_agreement(&broken);
            }
        }
    }
    assert!(seen > 20 && usual > 8, "{usual} of {seen}");
}

/// What people write is read without the crate.
#[test]
fn usual_text_is_for_the_reader() {
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
    ] {
        assert!(assert_agreement(text), "{text:?}");
    }
}

/// What is rare or wrong is for the crate, and does not disturb what stands around it.
#[test]
fn unusual_text_is_for_the_crate() {
    for (text, items) in [
        ("a\n/- b {\n c\n}\nd", Some(2)),
        ("/-\n\na { b }\nc", Some(1)),
        ("a 0x10 0b1 0o7 #inf #-inf #nan .a\nb", Some(2)),
        ("a \"b\\\n   c\"\nd", Some(2)),
        ("a \"b\\ \n ; { c\"\nd", Some(2)),
        ("a /-b /-c=1 d /-{ e } { f }; g", Some(2)),
        ("a \"\"\"\n  b \\\n  c\n  \"\"\"\nd", Some(2)),
        ("a \"b\"c\nd", None),
        ("a true\nb", None),
        ("a 1x", None),
        ("a #\"\"\"#", None),
        ("a \"\\u{110000}\"", None),
        ("a \"\"\"\n  b\n c\n  \"\"\"", None),
        ("a \"\"\"b\"\"\"", None),
        ("a 1.", None),
        ("a [b]", None),
        ("(a)b", None),
        ("a {} {}", None),
    ] {
        assert!(!assert_agreement(text), "{text:?}");
        assert_eq!(by_both(text).map(|items| items.len()), items, "{text:?}");
    }
}

/// A file of any size is read in one go, but only so much of it by the crate.
#[test]
fn little_is_handed_to_the_crate() {
    let usual = "sandbox \"a\" { image \".\"; env { A 1 } }\n".repeat(60_000);
    assert_eq!(by_both(&usual).map(|items| items.len()), Some(60_000));
    let large = format!("a \"{}\" 0x10\n", "x".repeat(UNUSUAL_BYTES_MAX));
    assert_eq!(by_both(&large), None);
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
