//! Tests of the helpers in crate `tests`.

use std::net::TcpListener;
use tests::document::{self, Document};
use tests::{ports, session};

#[test]
fn sessions_are_commands_with_output_and_exit_code() {
    let step = |command: &str, output: &str, code| session::Step {
        command: command.into(),
        output: output.into(),
        code,
    };
    assert_eq!(
        session::parse("$ echo a; false\na\n[exit 1]\n$ true\n"),
        [step("echo a; false", "a\n", 1), step("true", "", 0)]
    );
}

#[test]
fn output_is_compared_without_times_and_widths() {
    assert!(document::matches("a  b\n✓ up in 2.3s\n", "a b\n✓ up in 14 ms\n", false));
    assert!(document::matches("x …: y\n", "x one two: y\n", false));
    assert!(document::matches("b\na\n", "a\nb\n", true));
    for (shown, output) in
        [("a\n", "b\n"), ("a\n", "a\nb\n"), ("a …\n", "b c\n"), ("… z\n", "a\n"), ("b\na\n", "a\nb\n")]
    {
        assert!(!document::matches(shown, output, false), "{shown:?} {output:?}");
    }
}

#[test]
fn documents_are_split_into_blocks_and_prose() {
    let text = "# A `title` of\n\n[b](c.md#d-e) `msb\nup`\n\n```sh parse-only=system x\nmsb up\n```\n";
    let document = Document { name: "x.md".to_owned(), text: text.to_owned() };
    let blocks = document.blocks();
    assert_eq!(blocks.len(), 1);
    assert_eq!((blocks[0].line, blocks[0].language.as_str(), blocks[0].text.as_str()), (6, "sh", "msb up\n"));
    assert_eq!((blocks[0].value("parse-only"), blocks[0].has("x")), (Some("system"), true));
    assert_eq!(document.inline_code(), ["title", "msb up"]);
    assert_eq!(document.links(), [("c.md".to_owned(), "d-e".to_owned())]);
    assert_eq!(document.anchors(), ["a-title-of"]);
}

#[test]
fn free_ports_are_distinct_and_unused() {
    let ports: Vec<u16> = (0..20).map(|_| ports::free()).collect();
    // Binding all of them at once shows that they differ.
    let listeners: Vec<_> = ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port))).collect();
    assert!(listeners.iter().all(Result::is_ok), "{ports:?}");
}
