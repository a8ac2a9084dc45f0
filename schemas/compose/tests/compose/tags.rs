//! `!reset` and `!override`, in several files, `include` and `extends`.

use crate::{Texts, convert_all, lines};
use compose::{Converted, Format, Outcome};

fn convert(files: &[(&str, &str)], others: &[(&str, &str)]) -> Converted {
    convert_all(files, &[], Format::Kdl, &Texts(others))
        .unwrap_or_else(|report| panic!("{files:?}{:#?}", lines(&report)))
}

/// Returns the Sandboxfile of two files, the second of which overrides the first.
fn overridden(base: &str, over: &str) -> Converted {
    convert(&[("compose.yaml", base), ("over.yaml", over)], &[])
}

const BASE: &str = "\
services:
  a:
    image: b
    command: [c]
    environment: { X: '1', Y: '2' }
    ports: ['1:1', '2:2']
    labels: [m=n]
  other: { image: o }
";

/// Checks which lines a result has, and which it has not.
fn assert_lines(converted: &Converted, present: &[&str], absent: &[&str]) {
    for line in present {
        assert!(converted.text.contains(line), "{line}\n{}", converted.text);
    }
    for line in absent {
        assert!(!converted.text.contains(line), "{line}\n{}", converted.text);
    }
}

#[test]
fn reset_removes_what_other_files_have() {
    for (over, present, absent) in [
        ("ports: !reset []", vec!["X \"1\""], vec!["port"]),
        ("ports: !reset\n    image: z", vec!["image \"z\""], vec!["port"]),
        ("environment: { X: !reset null, Z: '3' }", vec!["Y \"2\"", "Z \"3\""], vec!["X "]),
        ("environment: !reset {}", vec!["port \"1:1\""], vec!["env {"]),
        ("labels: !reset [m=x]", vec![], vec!["labels"]),
        // An element of a list has no counterpart.
        ("ports: [!reset '1:1', '3:3']", vec!["port \"1:1\"", "port \"3:3\""], vec![]),
        ("environment: [!reset 'X=1', Z=3]", vec!["X \"1\"", "Z \"3\""], vec![]),
    ] {
        let converted = overridden(BASE, &format!("services:\n  a:\n    {over}\n"));
        assert_lines(&converted, &present, &absent);
    }
    let converted = overridden(BASE, "services: { other: !reset null }\n");
    assert_lines(&converted, &["sandbox \"a\""], &["sandbox \"other\""]);
}

#[test]
fn override_replaces_what_other_files_have() {
    for (over, present, absent) in [
        ("ports: !override ['3:3']", vec!["port \"3:3\"", "X \"1\""], vec!["1:1", "2:2"]),
        ("environment: !override [Z=3]", vec!["Z \"3\""], vec!["X ", "Y "]),
        ("environment: !override { Z: '3', Q: !reset x }", vec!["Z \"3\""], vec!["X ", "Y ", "Q "]),
        ("image: !override z", vec!["image \"z\""], vec!["image \"b\""]),
    ] {
        let converted = overridden(BASE, &format!("services:\n  a:\n    {over}\n"));
        assert_lines(&converted, &present, &absent);
    }
    let converted = overridden(BASE, "services: { a: !override { image: z } }\n");
    assert_lines(&converted, &["image \"z\"", "sandbox \"other\""], &["port", "env {", "args"]);
}

#[test]
fn a_later_file_merges_over_what_a_tag_leaves() {
    let files = |tagged: &str| {
        let tagged = format!("services: {{ a: {{ ports: {tagged} }} }}\n");
        let last = "services: { a: { ports: ['9:9'] } }\n";
        convert(&[("compose.yaml", BASE), ("tagged.yaml", &tagged), ("last.yaml", last)], &[])
    };
    assert_lines(&files("!reset []"), &["port \"9:9\""], &["1:1", "2:2"]);
    assert_lines(&files("!override ['3:3']"), &["port \"3:3\"", "port \"9:9\""], &["1:1", "2:2"]);
}

#[test]
fn tags_without_a_counterpart_are_harmless() {
    let text = "services: { a: { image: !override b, command: !reset [c], ports: [!override '1:1', !reset '2:2'], environment: !override { X: '1', Y: !reset '2' } } }\n";
    let converted = convert(&[("compose.yaml", text)], &[]);
    assert_lines(&converted, &["image \"b\"", "port \"1:1\"", "X \"1\""], &["args", "2:2", "Y "]);
    let reset: Vec<_> = converted
        .entries
        .iter()
        .filter(|entry| entry.note.as_deref() == Some("`!reset` removes it"))
        .map(|entry| (entry.path.as_str(), entry.outcome, entry.keys))
        .collect();
    assert_eq!(
        reset,
        [
            ("services.a.command", Outcome::Mapped, 2),
            ("services.a.ports[1]", Outcome::Mapped, 1),
            ("services.a.environment.Y", Outcome::Mapped, 1),
        ]
    );
}

#[test]
fn tags_count_for_services_that_are_extended() {
    for (over, present, absent) in [
        ("ports: !reset []", vec!["X \"1\""], vec!["port"]),
        ("ports: !override ['3:3']", vec!["port \"3:3\""], vec!["1:1"]),
        ("environment: { X: !reset '' }", vec!["Y \"2\""], vec!["X "]),
        ("extends: !reset a", vec![], vec!["X ", "port"]),
    ] {
        let extends =
            if over.starts_with("extends") { "" } else { "extends: { file: base.yaml, service: a }" };
        let text = format!("services:\n  s:\n    image: s\n    {extends}\n    {over}\n");
        let converted = convert(&[("compose.yaml", &text)], &[("/project/base.yaml", BASE)]);
        assert_lines(&converted, &present, &absent);
    }
    // A tag of another file counts for what the first one extends.
    let first = format!("{BASE}  s: {{ extends: a }}\n");
    for (over, present, absent) in [
        ("ports: !reset []", vec![], vec!["port"]),
        ("ports: !override ['3:3']", vec!["port \"3:3\""], vec!["port \"1:1\""]),
        ("extends: !reset a", vec![], vec!["X ", "port"]),
    ] {
        let converted = overridden(&first, &format!("services:\n  s:\n    image: s\n    {over}\n"));
        let (_, service) = converted.text.split_once("sandbox \"s\"").unwrap();
        let converted = Converted { text: service.to_owned(), ..converted };
        assert_lines(&converted, &present, &absent);
    }
    // A service that replaces another one still extends its own.
    let over = "services: { other: !override { extends: a, image: z } }\n";
    let converted = overridden(BASE, over);
    let (_, service) = converted.text.split_once("sandbox \"other\"").unwrap();
    for line in ["image \"z\"", "X \"1\""] {
        assert!(service.contains(line), "{line}\n{service}");
    }
}

#[test]
fn tags_count_for_files_that_are_included() {
    let others = [("/project/base.yaml", BASE), ("/project/none.yaml", "services: { n: { image: n } }\n")];
    let text = "include: [base.yaml, !reset none.yaml]\nservices: { a: { ports: !override ['3:3'], environment: !reset } }\n";
    let converted = convert(&[("compose.yaml", text)], &others);
    assert_lines(&converted, &["port \"3:3\"", "image \"b\""], &["1:1", "env {", "sandbox \"n\""]);
    let text = "include: !reset [base.yaml]\nservices: { z: { image: z } }\n";
    assert_lines(&convert(&[("compose.yaml", text)], &others), &["sandbox \"z\""], &["sandbox \"a\""]);
}

#[test]
fn the_account_names_the_tags() {
    let converted = overridden(BASE, "services: { a: { ports: !reset [], labels: !override [] } }\n");
    let note = |path: &str, file: &str| {
        let found = converted.entries.iter().find(|entry| entry.path == path && entry.file == file);
        let found = found.unwrap_or_else(|| panic!("{path} {:#?}", converted.entries));
        (found.outcome, found.note.clone().unwrap_or_default(), found.keys)
    };
    let reset = "over.yaml:1 removes it with `!reset`".to_owned();
    assert_eq!(note("services.a.ports", "compose.yaml"), (Outcome::Replaced, reset, 3));
    assert_eq!(note("services.a.ports", "over.yaml"), (Outcome::Mapped, "`!reset` removes it".to_owned(), 1));
    let replaced = "over.yaml:1 has another value".to_owned();
    assert_eq!(note("services.a.labels", "compose.yaml"), (Outcome::Replaced, replaced, 2));
}
