//! Hostile input: every text is converted or refused, in bounded time and memory.

use crate::{Host, check, convert_all, convert_one, fixtures, lines};
use compose::Format;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A result is either valid, or what is wrong with it comes from its values: it is always a file that can be read.
fn assert_readable(text: &str, format: Format) {
    let Err(report) = check(text, &BTreeMap::new(), format, &Host { folder: PathBuf::new() }) else { return };
    for found in report.diagnostics() {
        let is_syntax = ["syntax", "unknown_property", "duplicate_property", "wrong_type"];
        let code = found.code.as_str();
        assert!(!is_syntax.iter().any(|word| code.ends_with(word)), "{:?}\n{text}", lines(&report));
    }
}

/// Pieces of compose files.
fn pieces() -> impl Strategy<Value = String> {
    let usual = prop::sample::select(vec![
        "services:\n",
        "  a:\n",
        "  b:\n",
        "    image: c\n",
        "    build: .\n",
        "    command: d 'e f' $G\n",
        "    command: [d, \"$$e\"]\n",
        "    entrypoint: \"\"\n",
        "    entrypoint: [\"a b\"]\n",
        "    ports: ['1:2', 3, '4-5:6-7/udp']\n",
        "    ports:\n    - target: 1\n      published: 2-3\n",
        "    volumes: ['./a:/b:ro', 'v:/c', /d]\n",
        "    volumes:\n    - { type: tmpfs, target: /t, tmpfs: { size: 1m } }\n",
        "    environment: [A=1, B, A=2]\n",
        "    environment: { A: 1, B: ~, 'c d': e }\n",
        "    depends_on: [a, b]\n",
        "    depends_on: { a: { condition: service_healthy, required: false } }\n",
        "    depends_on: { b: { condition: service_completed_successfully } }\n",
        "    healthcheck: { test: [CMD, a], interval: 1s }\n",
        "    healthcheck: { disable: true }\n",
        "    networks: [n]\n",
        "    networks: { n: { aliases: [x] } }\n",
        "    deploy: { replicas: 3, resources: { limits: { cpus: '0.5', memory: 1g } } }\n",
        "    restart: always\n",
        "    extends: a\n",
        "    extends: { service: b }\n",
        "    profiles: [p]\n",
        "    secrets: [s]\n",
        "    configs: [{ source: s, mode: 0440 }]\n",
        "    ulimits: { nofile: 3, nproc: { soft: 1, hard: 2 } }\n",
        "    extra_hosts: ['a:1.2.3.4', 'b=host-gateway']\n",
        "    logging: { driver: none }\n",
        "    mem_limit: ${M:-1b}\n",
        "    cpus: ${C:-x}\n",
        "    stop_signal: ${S}\n",
        "    labels: { 'a b': c, d: \"e\\nf\" }\n",
        "    tmpfs: ['/a', '/b:size=1k,x']\n",
        "    network_mode: none\n",
        "    scale: 0\n",
        "volumes:\n  v:\n",
        "networks:\n  n: { internal: true }\n",
        "secrets:\n  s: { environment: E }\n",
        "configs:\n  s: { content: \"x\\u0007\" }\n",
        "x-a: &x { image: y }\n",
        "    <<: *x\n",
        "name: Ä\n",
        "include: [z.yaml]\n",
        "    hostname: a_b\n",
        "    post_start: [{ command: [a] }]\n",
        "    init: true\n",
    ]);
    let rare = prop::sample::select(vec![
        "\n",
        " ",
        "- ",
        ": ",
        ",",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "|",
        "&x ",
        "*x ",
        "!a ",
        "!reset ",
        "!override ",
        "---\n",
        "<<: ",
        "é",
        "\u{FEFF}",
        "\t",
        "$",
        "${",
        "}",
        "~",
        "0",
        "-1",
        "18446744073709551616",
        "/",
        "..",
        "\\",
        "#",
        "\u{202e}",
    ]);
    prop_oneof![6 => usual, 1 => rare].prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_converted_or_refused(pieces in prop::collection::vec(pieces(), 0..24)) {
        let text = format!("services:\n  a:\n    image: c\n{}", pieces.concat());
        for format in [Format::Kdl, Format::Yaml] {
            match convert_one(&text, format) {
                Ok(converted) => {
                    assert_readable(&converted.text, format);
                    prop_assert!(converted.entries.iter().all(|entry| entry.note.as_deref() != Some("it was not read")));
                }
                Err(report) => prop_assert!(report.has_errors(), "{text}"),
            }
        }
    }

    #[test]
    fn fixtures_with_other_bytes_are_converted_or_refused(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 0..40_usize,
        insert in "[ -~\n]{0,12}",
    ) {
        let all = fixtures::all();
        let fixture = &all[index.index(all.len())];
        let mut bytes = fixture.text.clone().into_bytes();
        let start = at.index(bytes.len());
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, insert.into_bytes());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let variables: Vec<(&str, &str)> =
            fixture.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for format in [Format::Kdl, Format::Yaml] {
            if let Ok(converted) = convert_all(&[("compose.yaml", &text)], &variables, format, &fixture.host) {
                assert_readable(&converted.text, format);
            }
        }
    }
}

#[test]
fn large_files_are_converted_or_refused() {
    let many: String = (0..2_000).map(|number| format!("  s{number}: {{ image: a }}\n")).collect();
    assert!(convert_one(&format!("services:\n{many}"), Format::Kdl).is_ok());
    let long = "x".repeat(1 << 20);
    let bombs = [
        format!("services: {{ a: {{ image: b, environment: {{ A: {long} }} }} }}\n"),
        format!("services: {{ a: {{ image: \"{}\" }} }}\n", "${A:-".repeat(10_000) + &"}".repeat(10_000)),
        format!("services: {{ a: {} }}\n", "[".repeat(10_000)),
        format!(
            "x-a: &a [{}]\nservices: {{ a: {{ image: b, command: [{}] }} }}\n",
            "c, ".repeat(1_000),
            "*a, ".repeat(2_000)
        ),
        format!(
            "services:\n  a: {{ image: b, environment: {{ {} }} }}\n{}",
            (0..5_000).map(|number| format!("A{number}: 1, ")).collect::<String>(),
            (0..1_000).map(|number| format!("  b{number}: {{ extends: a }}\n")).collect::<String>()
        ),
        "services: { a: { image: b, ports: ['1-65535'] } }\n".to_owned(),
        "services: { a: { image: b, ports: ['1-65535:1-65535'] } }\n".to_owned(),
        "services: { a: { image: b, mem_limit: 18446744073709551615g, cpus: 4294967296 } }\n".to_owned(),
    ];
    let repeated = |item: fn(usize) -> String| (0..5_000).map(item).collect::<String>();
    let lists = [
        format!("environment: [{}]", repeated(|number| format!("A{number}=$B{number}, "))),
        format!("command: [{}]", repeated(|number| format!("$B{number}, "))),
        format!("command: \"{}\"", repeated(|number| format!("$B{number} "))),
        format!("labels: [{}]", repeated(|number| format!("traefik.{number}=$B{number}, "))),
        format!(
            "ports: [{}]",
            repeated(|number| format!("'127.0.{}.{}:1:1', ", number / 256 % 256, number % 256))
        ),
        format!("volumes: [{}]", repeated(|number| format!("/a{number}, "))),
        format!("links: [{0}]\n    depends_on: [{0}]", repeated(|number| format!("s{number}, "))),
        repeated(|number| format!("x{number}: 1\n    ")),
    ];
    let lists = lists.map(|list| format!("services:\n  a:\n    image: b\n    {list}\n"));
    let services = [
        repeated(|number| format!("  s{number}: {{ image: a, networks: [n{number}] }}\n")),
        repeated(|number| format!("  s{number}: {{ image: a, networks: [n{}] }}\n", number % 2)),
        repeated(|number| format!("  É{number}.: {{ image: a }}\n")),
        repeated(|number| {
            format!(
                "  s{number}: {{ image: a, depends_on: {{ s0: {{ condition: service_completed_successfully }} }} }}\n"
            )
        }),
    ];
    let networks: String = repeated(|number| format!("  n{number}:\n"));
    let services = services.map(|services| format!("services:\n{services}networks:\n{networks}"));
    for bomb in bombs.into_iter().chain(lists).chain(services) {
        for format in [Format::Kdl, Format::Yaml] {
            if let Err(report) = convert_one(&bomb, format) {
                assert!(report.has_errors());
            }
        }
    }
}

#[test]
fn comments_contain_what_both_spellings_take() {
    for c in ['\u{FEFF}', '\u{FFFE}', '\u{FFFF}', '\u{85}', '\u{2028}', '\u{202e}', '\u{1b}'] {
        let text = format!("services: {{ a: {{ image: b, \"c\\U{:08X}d\": e }} }}\n", u32::from(c));
        for format in [Format::Kdl, Format::Yaml] {
            let converted = convert_one(&text, format).unwrap();
            assert!(converted.text.contains("left out: c d: it is not known"), "{}", converted.text);
            assert_readable(&converted.text, format);
        }
    }
}
