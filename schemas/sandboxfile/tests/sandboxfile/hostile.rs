//! Hostile input: reading ends, with a model or with a report, and never panics. Where the work could grow with the square
//! of the input, the inputs are so large that such a test would take hours.

use super::{load_kdl, load_named, load_yaml};
use proptest::prelude::*;
use sandboxfile::{Code, DIAGNOSTICS_MAX, Format};
use schemas::spec::limits::{self, SANDBOXFILE_BYTES_MAX};

fn code_of(name: &str, text: &str) -> Code {
    let report = load_named(name, text.as_bytes()).expect_err("this cannot be valid");
    report.diagnostics()[0].code
}

#[test]
fn empty_files() {
    for text in ["", "\n", "\u{FEFF}", " \t\r\n", "\r\n\r\n"] {
        assert_eq!(code_of("a.kdl", text), Code::NoSandboxes, "{text:?}");
        assert_eq!(code_of("a.yaml", text), Code::NoSandboxes, "{text:?}");
    }
    assert_eq!(code_of("a.kdl", "// nothing"), Code::NoSandboxes);
    assert_eq!(code_of("a.yaml", "# nothing\n---\n~\n"), Code::NoSandboxes);
    assert_eq!(code_of("a.yaml", "sandboxes:\njobs: {}\n"), Code::NoSandboxes);
}

#[test]
fn line_endings_and_marks_change_nothing() {
    let kdl = "sandbox \"web\" {\n\timage \".\"\n\tenv { A \"1\" }\n}\n";
    let yaml = "sandboxes:\n  web:\n    image: .\n    env: { A: 1 }\n";
    let model = load_kdl(kdl).unwrap();
    assert_eq!(load_kdl(&format!("\u{FEFF}{}", kdl.replace('\n', "\r\n"))).unwrap(), model);
    assert_eq!(load_yaml(yaml).unwrap(), model);
    assert_eq!(load_yaml(&format!("\u{FEFF}{}", yaml.replace('\n', "\r\n"))).unwrap(), model);
}

#[test]
fn nested_blocks() {
    for levels in [1_000, 100_000] {
        assert_eq!(code_of("a.kdl", &"a {".repeat(levels)), Code::TooDeep);
        assert_eq!(
            code_of("a.kdl", &format!("{}{}", "a {".repeat(levels), "}".repeat(levels))),
            Code::TooDeep
        );
        assert_eq!(code_of("a.kdl", &"/*".repeat(levels)), Code::TooDeep);
        assert_eq!(code_of("a.yaml", &"[".repeat(levels)), Code::TooDeep);
        assert_eq!(code_of("a.yaml", &"{a: ".repeat(levels)), Code::TooDeep);
        assert_eq!(code_of("a.yaml", &"- ".repeat(levels)), Code::TooDeep);
    }
    let indented: String = (0..1_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert_eq!(code_of("a.yaml", &indented), Code::TooDeep);
}

#[test]
fn misplaced_tokens() {
    for piece in [
        "a=", "}", "a)", "a{}", "a (", "{}", "/-", "a\"b\"", "\\", "= ", ";", "/- {} ", "[", "a{}\"b\"", "#",
        "r#\"",
    ] {
        let code = if piece == "a (" { Code::TooDeep } else { Code::KdlSyntax };
        for text in [piece.repeat(5_000), format!("a {{ {}", piece.repeat(5_000))] {
            assert_eq!(code_of("a.kdl", &text), code, "{piece:?}");
        }
    }
    for (piece, at_the_top, in_a_sandbox) in [
        ("? ", Code::TooDeep, Code::YamlSyntax),
        ("&a ", Code::YamlSyntax, Code::YamlSyntax),
        ("!a ", Code::WrongType, Code::WrongType),
        ("*a ", Code::YamlSyntax, Code::YamlSyntax),
        (": ", Code::TooDeep, Code::YamlSyntax),
        ("| ", Code::YamlSyntax, Code::YamlSyntax),
        ("\t", Code::NoSandboxes, Code::MissingProperty),
        ("]", Code::YamlSyntax, Code::YamlSyntax),
        ("}", Code::YamlSyntax, Code::YamlSyntax),
        (", ", Code::YamlSyntax, Code::YamlSyntax),
        ("'", Code::WrongType, Code::WrongType),
        ("\"", Code::YamlSyntax, Code::YamlSyntax),
        ("%a\n", Code::YamlSyntax, Code::YamlSyntax),
        ("--- ", Code::WrongType, Code::WrongType),
        ("...\n", Code::NoSandboxes, Code::WrongType),
    ] {
        let text = piece.repeat(5_000);
        assert_eq!(code_of("a.yaml", &text), at_the_top, "{piece:?}");
        let inside = format!("sandboxes:\n  web: {text}");
        assert_eq!(code_of("a.yaml", &inside), in_a_sandbox, "{piece:?}");
    }
}

#[test]
fn unbalanced_braces() {
    for text in [
        "sandbox \"a\" { image \".\" }\n} /- {",
        "} n {",
        "}\nn {\n",
        "sandbox \"a\" { image \".\" } /-",
        "// a\n}",
    ] {
        assert_eq!(code_of("a.kdl", text), Code::KdlSyntax, "{text}");
    }
    assert!(load_kdl("sandbox \"a\" { image \".\" } // no line break").is_ok());
}

#[test]
fn size() {
    for name in ["a.kdl", "a.yaml"] {
        assert_eq!(code_of(name, &"x".repeat(100 * 1024 * 1024)), Code::TooLarge);
    }
}

/// The largest files within the limits, of the syntax that is slowest to read.
#[test]
fn the_largest_files() {
    let full = |start: &str, piece: &str| {
        format!("{start}{}", piece.repeat((SANDBOXFILE_BYTES_MAX - start.len()) / piece.len()))
    };
    for (start, piece, code) in [
        ("", "a\n", Code::TooComplex),
        ("", "sandbox \"a\" { image \".\" }\n", Code::TooComplex),
        ("", "/-", Code::KdlSyntax),
        ("", "a \"\n", Code::KdlSyntax),
        ("", "a 0x1\n", Code::TooComplex),
        ("", "\\\n;", Code::KdlSyntax),
        ("a", " {}", Code::KdlSyntax),
        ("", "/* ** */", Code::NoSandboxes),
        ("a \"\"\"\n", " \"\"\n", Code::KdlSyntax),
    ] {
        assert_eq!(code_of("a.kdl", &full(start, piece)), code, "{piece}");
    }
    let blanks = " ".repeat(SANDBOXFILE_BYTES_MAX / 2);
    assert_eq!(code_of("a.kdl", &format!("{blanks}{}", "{}".repeat(blanks.len() / 2))), Code::KdlSyntax);
    for (start, piece, code) in [
        ("", "- a\n", Code::TooComplex),
        ("a: &a [b, c, d]\ne:\n", "- *a\n", Code::TooComplex),
        ("a: &a b\n", "c: &a { <<: *a }\n", Code::YamlSyntax),
        ("a: \"", "x ", Code::YamlSyntax),
        ("a: |\n ", "x ", Code::UnknownProperty),
    ] {
        assert_eq!(code_of("a.yaml", &full(start, piece)), code, "{piece}");
    }
}

/// This many errors, each with its texts and labels, would need more memory than the file.
#[test]
fn the_most_errors() {
    let many = limits::SANDBOXFILE_NODES_MAX - 1;
    for (name, text) in [("a.kdl", "a\n".repeat(many)), ("a.yaml", "a:\n".repeat(many / 2))] {
        let report = load_named(name, text.as_bytes()).expect_err(name);
        assert_eq!(report.diagnostics().len(), DIAGNOSTICS_MAX);
        assert!(report.omitted() > many / 3, "{}", report.omitted());
    }
}

/// Each block is read once, however many `/-` comment it out.
#[test]
fn nested_slashdash_comments() {
    for (piece, code) in [
        ("/- a {\n", Code::NoSandboxes),
        ("a /-{ ", Code::UnknownProperty),
        ("a /- {\n", Code::UnknownProperty),
    ] {
        let nested = piece.repeat(20);
        let closed = format!("{nested}{}", "}\n".repeat(20));
        assert_eq!(code_of("a.kdl", &closed), code, "{piece:?}");
        let deep = format!("{nested}{nested}{}", "}\n".repeat(40));
        assert_eq!(code_of("a.kdl", &deep), Code::TooDeep, "{piece:?}");
    }
    let comment = format!("/*{}*/ a [b]", "*/ /* ".repeat(100_000));
    assert_eq!(code_of("a.kdl", &comment), Code::KdlSyntax);
    assert_eq!(code_of("a.kdl", &format!("/*{} */ a [b]", "* ".repeat(300_000))), Code::KdlSyntax);
}

/// Reading continues after an invalid string, with the text that a quote in it exposes.
#[test]
fn blocks_in_invalid_strings() {
    for piece in ["{", "a {", "/*", "/* {", "(", "(a)", "\\\"{", "/-{"] {
        for count in [60, 5_000, 100_000] {
            let nested = piece.repeat(count);
            for text in [
                format!("sandbox \"a\" {{ image \".\"; env {{ A \"\\q{nested}\" }} }}"),
                format!("sandbox \"a\" {{ image \".\"; env {{ A \"\\q{nested}\n\" }} }}"),
                format!("sandbox \"a\" {{ image \".\"; env {{ A #\"{nested}\"# }}; cpus 0x }}"),
                format!("sandbox \"a\" {{ image \".\"; env {{ A \"\\q{nested}\" }}"),
            ] {
                assert!(load_kdl(&text).is_err(), "{piece}");
            }
        }
    }
}

/// Each port is compared with the others, and there are as many as a file can have.
#[test]
fn many_ports_of_one_number() {
    let address = |number: u32| std::net::Ipv4Addr::from(0x7F00_0000 + number);
    let ports: String = (1..300_000).map(|number| format!(" \"{}:80:80\"", address(number))).collect();
    for (last, is_taken) in [("127.200.0.1:80:80", false), ("127.0.0.9:80:81", true), ("0.0.0.0:80:80", true)]
    {
        let text = format!("sandbox \"a\" {{ image \".\"; port{ports} \"{last}\" }}");
        assert_eq!(load_kdl(&text).is_err(), is_taken, "{last}");
    }
}

#[test]
fn alias_bombs() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let below = level - 1;
        bomb.push_str(&format!(
            "a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}, *a{below}]\n"
        ));
    }
    assert_eq!(code_of("a.yaml", &bomb), Code::TooComplex);
    let itself = load_yaml("a: &a [*a]\n").unwrap_err();
    assert!(!itself.diagnostics().is_empty());
}

#[test]
fn the_first_line_decides_the_format_of_a_nameless_text() {
    for (text, format) in
        [(KDL, Format::Kdl), (YAML, Format::Yaml), ("", Format::Kdl), ("# a\n---\n", Format::Yaml)]
    {
        assert_eq!(Format::of_text(text.as_bytes()), format, "{text}");
    }
    assert_eq!(Format::of_text("\u{FEFF}sandboxes: {}".as_bytes()), Format::Yaml);
    assert_eq!(Format::of_text(b"\xFF"), Format::Kdl);
}

#[test]
fn many_errors_are_bounded() {
    let text: String = (0..2_000).map(|number| format!("sandbox \"A{number}\" {{ x; y }}\n")).collect();
    let report = load_kdl(&text).unwrap_err();
    assert_eq!(report.diagnostics().len(), DIAGNOSTICS_MAX);
    assert_eq!(report.omitted(), 2_000 * 4 - DIAGNOSTICS_MAX);
}

#[test]
fn long_chains_and_cycles() {
    let chain = |last: usize| -> String {
        let line = |number: usize| {
            format!("sandbox \"s{number}\" {{ image \".\"; depends-on \"s{}\" }}\n", number + 1)
        };
        (0..last).map(line).collect()
    };
    let open = format!("{}sandbox \"s1000\" {{ image \".\" }}", chain(1_000));
    assert_eq!(load_kdl(&open).unwrap().sandboxes().len(), 1_001);
    let closed = format!("{}sandbox \"s1000\" {{ image \".\"; depends-on \"s0\" }}", chain(1_000));
    let report = load_kdl(&closed).unwrap_err();
    assert_eq!(report.diagnostics().len(), 1);
    assert_eq!(report.diagnostics()[0].code, Code::DependencyCycle);
}

#[test]
fn two_cycles_are_two_errors() {
    let text = "sandbox \"a\" { image \".\"; depends-on \"b\" }\nsandbox \"b\" { image \".\"; depends-on \"a\" }\n\
                sandbox \"c\" { image \".\"; depends-on \"d\" \"a\" }\nsandbox \"d\" { image \".\"; depends-on \"c\" }\n";
    let report = load_kdl(text).unwrap_err();
    let codes: Vec<_> = report.diagnostics().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::DependencyCycle, Code::DependencyCycle]);
}

/// Messages and help quote the file, which is untrusted.
#[test]
fn messages_do_not_steer_a_terminal() {
    for (name, text) in [
        ("a.yaml", "sandboxes:\n  a: *a\u{9b}31m\n"),
        ("a.yaml", "sandboxes:\n  a: *a\u{202e}b\n"),
        ("a.yaml", "sandboxes:\n  \"\\e[31m\": 1\n"),
        ("a.kdl", "sandbox \"\\u{1b}[31m\" { image \".\" }"),
        ("a.kdl", "sandbox \"a\" { image \"${\\u{1b}[31m}\" }"),
        ("a.kdl", "\"\\u{1b}[31m\" 1"),
    ] {
        let report = load_named(name, text.as_bytes()).expect_err(text);
        for finding in report.diagnostics() {
            let labels = finding.labels.iter().map(|label| &label.text);
            for shown in labels.chain([&finding.message]).chain(&finding.help) {
                let steers =
                    |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
                assert!(!shown.contains(steers), "{text:?}: {shown:?}");
            }
        }
    }
}

/// Each word of a valid file is replaced by long ones, so that most errors quote one.
#[test]
fn messages_quote_little_of_the_file() {
    const LONG: usize = 5_000;
    let words = regex::Regex::new(r"[A-Za-z0-9./:$\{\}-]+").unwrap();
    let outward_kdl = include_str!("../models/outward.kdl");
    let outward_yaml = include_str!("../models/outward.yaml");
    for (name, text) in [("a.kdl", KDL), ("a.kdl", outward_kdl), ("a.yaml", YAML), ("a.yaml", outward_yaml)] {
        for word in words.find_iter(text) {
            for piece in ["x", "X", "é", "x:", "x/", "./x", "$x", "-", "1", "x.", "${x:", "@x"] {
                let long = piece.repeat(LONG / piece.len());
                let text = format!("{}{long}{}", &text[..word.start()], &text[word.end()..]);
                let Err(report) = load_named(name, text.as_bytes()) else { continue };
                for finding in report.diagnostics() {
                    let labels = finding.labels.iter().map(|label| &label.text);
                    for shown in labels.chain([&finding.message]).chain(&finding.help) {
                        let start = shown.chars().take(200).collect::<String>();
                        assert!(shown.chars().count() < 500, "{} for {piece}: {start}", word.as_str());
                    }
                }
            }
        }
    }
}

#[test]
fn invalid_utf8() {
    for bytes in [&b"\xFF\xFE"[..], b"a \xC3", b"\x80", b"sandbox \"\xED\xA0\x80\""] {
        for name in ["a.kdl", "a.yaml"] {
            assert_eq!(load_named(name, bytes).unwrap_err().diagnostics()[0].code, Code::NotUtf8);
        }
    }
    for text in ["\0", "a \0", "\u{7F}", "a: \u{FFFE}"] {
        assert!(load_kdl(text).is_err() && load_yaml(text).is_err());
    }
}

const KDL: &str = include_str!("../models/whole.kdl");
const YAML: &str = include_str!("../models/whole.yaml");

/// A valid file with a piece of it replaced by something else.
fn mutated(text: &'static str) -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just(String::new()),
        "[\\PC\n\t\r]{0,8}",
        prop::sample::select(vec![
            "\"",
            "\"\"\"",
            "{",
            "}",
            "#",
            "/-",
            "/*",
            "\\",
            ": ",
            "- ",
            "&a ",
            "*a",
            "<<: ",
            "|",
            ">",
            "---\n",
            "[",
            "]",
            "=",
            "(a)",
            "\n",
            "\r",
            "é",
            "🦀",
            "\u{FEFF}",
            "#null",
            "~",
            "-1",
            "1e400",
            "99999999999999999999",
        ])
        .prop_map(str::to_owned),
    ];
    (any::<prop::sample::Index>(), 0..20_usize, pieces).prop_map(move |(at, length, piece)| {
        let characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len());
        let rest = characters.iter().skip(at + length);
        characters[..at].iter().copied().chain(piece.chars()).chain(rest.copied()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_text(text in "[\\PC\n\t\r\\x00]{0,200}") {
        for name in ["a.kdl", "a.yaml"] {
            if let Err(report) = load_named(name, text.as_bytes()) {
                prop_assert!(!report.diagnostics().is_empty());
            }
        }
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        for name in ["a.kdl", "a.yaml"] {
            prop_assert!(load_named(name, &bytes).is_err());
        }
    }

    #[test]
    fn mutated_kdl(text in mutated(KDL)) {
        if let Err(report) = load_kdl(&text) {
            prop_assert!(!report.diagnostics().is_empty());
        }
    }

    #[test]
    fn mutated_yaml(text in mutated(YAML)) {
        if let Err(report) = load_yaml(&text) {
            prop_assert!(!report.diagnostics().is_empty());
        }
    }
}
