//! Both readers of YAML agree: what the one for usual text accepts, the crate accepts, with the same items
//! at the same places.

use super::*;
use proptest::prelude::*;

/// Whether the text is for the reader; then the crate must agree.
fn assert_agreement(text: &str) -> bool {
    match yaml_reader::read(text) {
        Ok(items) => {
            let mut context = Context::new(&crate::AssumePresent);
            let others = parse_by_crate(&mut context, text);
            assert_eq!(Some(items), others, "{text:?}: {:?}", context.into_findings().1);
        }
        Err(Stop::TooComplex(_)) => assert!(yaml_node::read(text).is_err(), "{text:?}"),
        Err(Stop::GaveUp) => return false,
    }
    true
}

#[test]
fn files_are_read_the_same() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut seen, mut usual) = (0, 0);
    for folder in ["tests/models", "tests/reports"] {
        for path in std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                seen += 1;
                usual += usize::from(assert_agreement(&text));
                assert_agreement(&text.replace('\n', "\r\n"));
                assert_agreement(&format!("\u{FEFF}{text}"));
            }
        }
    }
    assert!(seen > 10 && usual > 6, "{usual} of {seen}");
}

/// What people write is read without the crate.
#[test]
fn usual_text_is_for_the_reader() {
    for text in [
        "a: b\n",
        "---\na: [b, 'c', \"d\\n\", 1, -x, --y, 1e3, 0x1F, 1_0, .5, ~, true, True, no, .inf, 2024-01-01, 22:22]\n",
        "# a\na: # b\n  b: |\n    c\n\n     d\n  e: >-\n    f\n    g\n",
        "a: &x { b: 1, c: 2 }\nd: *x\ne: { <<: *x, c: 3 }\nf:\n  g: h\n  <<: *x\n",
        "a: &x [1, 2]\nb: &y { c: *x }\nd: *y\n",
        "é: 日本\n? a\n: b\n",
        "a: x\n   y\nb: 'it''s'\n\"c d\": null\n",
    ] {
        assert!(assert_agreement(text), "{text:?}");
    }
}

/// What is rare or wrong is for the crate.
#[test]
fn unusual_text_is_for_the_crate() {
    for text in [
        "",
        "a: !x b\n",
        "a: b\n---\nc: d\n",
        "a: *b\n",
        "a: &a [*a]\n",
        "a: [\n",
        "a: b: c\n",
        "a: { <<: b }\n",
        "a: { <<: [] }\n",
        "a: { <<: { b: c } }\n",
        "a: &a { 1: b }\nc: { <<: *a }\n",
        "[a]\n",
        "a: ---\n",
        "a: &b\n  <<: *b\n",
    ] {
        assert!(!assert_agreement(text), "{text:?}");
    }
}

/// An anchor that is repeated counts each time, and so do its bytes.
#[test]
fn aliases_are_counted() {
    let long = "x".repeat(1024 * 1024);
    let text = format!("a: &a {long}\nb: [{}]\n", "*a, ".repeat(1_000));
    assert!(matches!(yaml_reader::read(&text), Err(Stop::TooComplex(_))));
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
