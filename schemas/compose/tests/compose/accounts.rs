//! Every key of the input is in exactly one entry of the report.

use crate::fixtures::{self, Fixture};
use crate::{Host, convert_one};
use compose::{Entry, Format, Input, Outcome, SourceFile, convert};
use sandboxfile::yaml::{Files, Node, NodeValue};
use std::path::PathBuf;

/// Returns the number of keys and list elements in a node.
fn size(node: &Node) -> usize {
    match &node.value {
        NodeValue::Scalar { .. } => 0,
        NodeValue::List(elements) => elements.iter().map(|element| 1 + size(element)).sum(),
        NodeValue::Map(entries) => entries.iter().map(|(_, node)| 1 + size(node)).sum(),
    }
}

fn read(text: &str) -> Node {
    Files::new("a test").read("compose.yaml", text.as_bytes()).unwrap()
}

/// Returns the paths of all keys and list elements, each as the steps to it.
fn paths(node: &Node) -> Vec<Vec<usize>> {
    let children: Vec<&Node> = match &node.value {
        NodeValue::Scalar { .. } => Vec::new(),
        NodeValue::List(elements) => elements.iter().collect(),
        NodeValue::Map(entries) => entries.iter().map(|(_, node)| node).collect(),
    };
    let mut all = Vec::new();
    for (index, child) in children.into_iter().enumerate() {
        all.push(vec![index]);
        all.extend(paths(child).into_iter().map(|mut path| {
            path.insert(0, index);
            path
        }));
    }
    all
}

fn remove(node: &mut Node, path: &[usize]) {
    match (&mut node.value, path) {
        (NodeValue::List(elements), [last]) => _ = elements.remove(*last),
        (NodeValue::Map(entries), [last]) => _ = entries.remove(*last),
        (NodeValue::List(elements), [first, rest @ ..]) => remove(&mut elements[*first], rest),
        (NodeValue::Map(entries), [first, rest @ ..]) => remove(&mut entries[*first].1, rest),
        _ => unreachable!("a path leads to a key"),
    }
}

/// Writes a node in the flow style, each scalar as it was typed.
fn write(node: &Node) -> String {
    let quote = |text: &str| {
        format!(
            "\"{}\"",
            text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r")
        )
    };
    match &node.value {
        NodeValue::Scalar { kind: sandboxfile::ScalarKind::Text, text } => quote(text),
        NodeValue::Scalar { kind: sandboxfile::ScalarKind::Null, .. } => "~".to_owned(),
        NodeValue::Scalar { text, .. } => text.clone(),
        NodeValue::List(elements) => {
            format!("[{}]", elements.iter().map(write).collect::<Vec<_>>().join(", "))
        }
        NodeValue::Map(entries) => {
            let entries = entries.iter().map(|(key, node)| format!("{}: {}", quote(&key.value), write(node)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// An entry without its place.
type Shown = (String, Outcome, Option<String>, usize);

/// Returns the entries of a text, with which its lines do not matter; the errors if it is none.
fn entries(fixture: &Fixture, text: &str) -> Result<Vec<Shown>, Vec<String>> {
    let file = SourceFile { name: "compose.yaml", bytes: text.as_bytes(), folder: "/project" };
    let input = Input {
        files: vec![file],
        variables: fixture.variables.clone(),
        folder: "/project",
        format: Format::Kdl,
    };
    let converted = convert(&input, &fixture.host).map_err(|report| crate::lines(&report))?;
    let shown = |Entry { path, outcome, note, keys, file: _, line: _ }| (path, outcome, note, keys);
    Ok(converted.entries.into_iter().map(shown).collect())
}

#[test]
fn the_entries_count_every_key_once() {
    for fixture in fixtures::all().into_iter().filter(|fixture| fixture.name != "extends-include") {
        let entries = fixture.convert(Format::Kdl).entries;
        let counted: usize = entries.iter().map(|entry| entry.keys).sum();
        assert_eq!(counted, size(&read(&fixture.text)), "{}", fixture.name);
        let mut paths: Vec<_> = entries.iter().map(|entry| &entry.path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), entries.len(), "{}: an entry for each path", fixture.name);
    }
}

#[test]
fn without_any_key_the_report_is_another_one() {
    for fixture in fixtures::all() {
        let root = read(&fixture.text);
        let whole = write(&root);
        let before = entries(&fixture, &whole);
        assert!(before.is_ok(), "{}: {before:?}", fixture.name);
        for path in paths(&root) {
            let mut less = root.clone();
            remove(&mut less, &path);
            let after = entries(&fixture, &write(&less));
            assert_ne!(after, before, "{}: {path:?} changes nothing", fixture.name);
        }
    }
}

#[test]
fn a_key_that_nobody_knows_is_left_out() {
    for text in [
        "services: { a: { image: b, wrong: { c: d } } }\n",
        "services: { a: { image: b } }\nwrong: [c]\n",
        "services: { a: { image: b, healthcheck: { test: c, wrong: d } } }\n",
        "services: { a: { image: b, deploy: { wrong: d } } }\n",
        "services: { a: { image: b, deploy: { resources: { wrong: d } } } }\n",
        "services: { a: { image: b, ports: [{ target: 1, wrong: d }] } }\n",
        "services: { a: { image: b, volumes: [{ type: volume, target: /a, wrong: d }] } }\n",
        "services: { a: { image: b, depends_on: { c: { condition: service_started, wrong: d } } }, c: { image: d } }\n",
        "services: { a: { image: b, networks: { c: { wrong: d } } } }\nnetworks: { c: }\n",
        "services: { a: { image: b, logging: { wrong: d } } }\n",
        "services: { a: { image: b, ulimits: { nofile: { soft: 1, wrong: d } } } }\n",
        "services: { a: { image: b } }\nvolumes: { c: { wrong: d } }\n",
        "services: { a: { image: b } }\nnetworks: { c: { wrong: d } }\n",
        "services: { a: { image: b } }\nconfigs: { c: { file: d, wrong: e } }\n",
        "services: { a: { image: b } }\nsecrets: { c: { file: d, wrong: e } }\n",
        "services: { a: { image: b, develop: { wrong: d } } }\n",
        "services: { a: { image: b, env_file: [{ path: ./c, wrong: d }] } }\n",
        "services: { a: { image: b, post_start: [{ command: c, wrong: d }] } }\n",
        "services: { a: { image: b, secrets: [{ source: c, wrong: d }] } }\nsecrets: { c: { file: d } }\n",
    ] {
        for format in [Format::Kdl, Format::Yaml] {
            let converted = convert_one(text, format)
                .unwrap_or_else(|report| panic!("{text}{:?}", crate::lines(&report)));
            let found = converted.entries.iter().find(|entry| entry.path.ends_with("wrong"));
            let found = found.unwrap_or_else(|| panic!("{text}{:#?}", converted.entries));
            assert_eq!(found.outcome, Outcome::LeftOut, "{text}");
            assert!(converted.text.contains("wrong: it is not known"), "{text}\n{}", converted.text);
        }
    }
}

#[test]
fn the_account_of_several_files_includes_what_they_replace() {
    let host = Host { folder: PathBuf::new() };
    let (base, over) = (
        "services: { a: { image: b, environment: [A=1, B=2], command: [c], ports: ['1:1'] } }\n",
        "services: { a: { image: d, environment: { A: 3 }, command: [e], ports: ['2:2'] } }\n",
    );
    let files = [("compose.yaml", base), ("compose.override.yaml", over)];
    let converted = crate::convert_all(&files, &[], Format::Kdl, &host).unwrap();
    let replaced: Vec<_> = converted
        .entries
        .iter()
        .filter(|entry| entry.outcome == Outcome::Replaced)
        .map(|entry| (entry.path.as_str(), entry.file.as_str(), entry.note.as_deref().unwrap()))
        .collect();
    let by = "compose.override.yaml:1 has another value";
    assert_eq!(
        replaced,
        [
            ("services.a.image", "compose.yaml", by),
            ("services.a.environment.A", "compose.yaml", by),
            ("services.a.command", "compose.yaml", by),
        ]
    );
    for line in ["image \"d\"", "A \"3\"", "B \"2\"", "args \"e\"", "port \"1:1\"", "port \"2:2\""] {
        assert!(converted.text.contains(line), "{line}\n{}", converted.text);
    }
}
