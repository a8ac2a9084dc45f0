//! The table of fixtures in `docs/compose.md`, and the mapping there, are current.

use crate::fixtures;
use compose::{Converted, Format, Outcome};
use std::collections::BTreeMap;
use std::path::PathBuf;

const HEADING: &str =
    "| project | services | mapped | changed | left out |\n| --- | --- | --- | --- | --- |\n";

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/compose.md")
}

/// Returns the key of an entry: that of the service, or the section at the top level.
fn key(path: &str) -> String {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"').unwrap_or((inside, "")),
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        steps.push(step.split('[').next().unwrap_or_default());
        rest = after.trim_start_matches(|c: char| c != '.').trim_start_matches('.');
    }
    match steps.as_slice() {
        ["services", _] => "name".to_owned(),
        ["services", _, key @ ("networks" | "depends_on"), _, last, ..] => format!("{key}: {last}"),
        ["services", _, "deploy" | "healthcheck" | "develop", .., last] => (*last).to_owned(),
        ["services", _, key, ..] => (*key).to_owned(),
        [section, _, .., last] => format!("{section}: {last}"),
        other => other.join("."),
    }
}

/// Returns the keys with an outcome, and how often each has it.
fn keys(converted: &Converted, outcome: Outcome) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in converted.entries.iter().filter(|entry| entry.outcome == outcome) {
        *counts.entry(key(&entry.path)).or_default() += 1;
    }
    let shown = counts.iter().map(|(key, count)| match count {
        1 => format!("`{key}`"),
        count => format!("`{key}` ({count})"),
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() { "–".to_owned() } else { shown.join(", ") }
}

fn table() -> String {
    let row = |fixture: fixtures::Fixture| {
        let converted = fixture.convert(Format::Kdl);
        let services = converted
            .text
            .lines()
            .filter(|line| line.starts_with("sandbox ") || line.starts_with("job "))
            .count();
        let (changed, left_out) = (keys(&converted, Outcome::Changed), keys(&converted, Outcome::LeftOut));
        let mapped = converted.count(Outcome::Mapped);
        format!("| {} | {services} | {mapped} | {changed} | {left_out} |\n", fixture.name)
    };
    format!("{HEADING}{}", fixtures::all().into_iter().map(row).collect::<String>())
}

#[test]
fn the_table_of_projects_is_current() {
    let text = std::fs::read_to_string(page()).unwrap();
    let start = text.find(HEADING).expect("the page has the table");
    let length = text[start..].find("\n\n").map_or(text.len() - start, |end| end + 1);
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let renewed = format!("{}{table}{}", &text[..start], &text[start + length..]);
        std::fs::write(page(), renewed).unwrap();
    } else {
        assert_eq!(&text[start..start + length], table, "renew it with UPDATE_GOLDEN=1");
    }
}
