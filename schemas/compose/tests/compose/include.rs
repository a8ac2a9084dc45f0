//! `include` in its long form: env files, folders and overrides.

use crate::{Texts, check, convert_all, lines};
use compose::{Converted, Format, Outcome};
use std::collections::BTreeMap;

/// Converts a file that includes others.
fn convert(text: &str, files: &[(&str, &str)], variables: &[(&str, &str)]) -> Converted {
    convert_all(&[("compose.yaml", text)], variables, Format::Kdl, &Texts(files))
        .unwrap_or_else(|report| panic!("{text}{:#?}", lines(&report)))
}

/// Returns the errors of a file that includes others.
fn errors(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    let report = convert_all(&[("compose.yaml", text)], &[], Format::Kdl, &Texts(files)).expect_err(text);
    lines(&report)
}

/// Returns the values of the environment of each sandbox, as msb reads them.
fn environment(converted: &Converted, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let loaded = check(&converted.text, &variables, Format::Kdl, &Texts(&[]))
        .unwrap_or_else(|report| panic!("{}{:#?}", converted.text, lines(&report)));
    let text = sandboxfile::print::kdl(&loaded.model);
    let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

const DATABASE: &str =
    "services: { db: { image: \"db:$TAG\", environment: { LEVEL: $LEVEL, OWN: \"${OWN:-own}\" } } }\n";

#[test]
fn env_files_give_the_defaults_of_variables() {
    let text = "include: [{ path: sub/db.yaml, env_file: [first.env, second.env] }]\nservices: { a: { image: \"a:$TAG\" } }\n";
    let files = [
        ("/project/sub/db.yaml", DATABASE),
        ("/project/first.env", "TAG=1\nLEVEL=low\n"),
        ("/project/second.env", "LEVEL=high-${TAG}\n"),
    ];
    let converted = convert(text, &files, &[]);
    for line in
        ["image \"db:${TAG-1}\"", "LEVEL \"${LEVEL-high-1}\"", "OWN \"${OWN:-own}\"", "image \"a:$TAG\""]
    {
        assert!(converted.text.contains(line), "{line}\n{}", converted.text);
    }
    let found = environment(&converted, &[("TAG", "x")]);
    assert_eq!((found["LEVEL"].as_str(), found["OWN"].as_str()), ("high-1", "own"));
    // The environment takes precedence, also for the values of env files.
    let variables = [("TAG", "2"), ("LEVEL", "none"), ("OWN", "")];
    let converted = convert(text, &files, &variables);
    let found = environment(&converted, &variables);
    assert_eq!((found["LEVEL"].as_str(), found["OWN"].as_str()), ("none", "own"));
    let entry = converted.entries.iter().find(|entry| entry.path == "include[0].env_file").unwrap();
    assert_eq!((entry.outcome, entry.keys), (Outcome::Mapped, 3));
    let unset = |text: &str| text.contains("TAG is not set");
    assert!(!converted.entries.iter().any(|entry| entry.note.as_deref().is_some_and(unset)));
}

#[test]
fn the_env_file_is_dot_env_of_the_folder_without_another_one() {
    let files = [
        ("/project/sub/db.yaml", DATABASE),
        ("/project/sub/.env", "TAG=sub\nLEVEL=sub\n"),
        ("/project/other/.env", "TAG=other\nLEVEL=other\n"),
        ("/project/.env", "TAG=project\nLEVEL=project\n"),
    ];
    for (include, expected) in [
        ("sub/db.yaml", "db:${TAG-sub}"),
        ("{ path: sub/db.yaml, project_directory: ./other }", "db:${TAG-other}"),
        ("{ path: sub/db.yaml, env_file: other/.env }", "db:${TAG-other}"),
        ("{ path: sub/db.yaml, env_file: /dev/null }", "db:$TAG"),
        // The project's own one is read by msb.
        ("{ path: sub/db.yaml, project_directory: . }", "db:$TAG"),
        ("{ path: sub/db.yaml, env_file: .env }", "db:$TAG"),
    ] {
        let converted = convert(&format!("include: [{include}]\n"), &files, &[]);
        assert!(converted.text.contains(&format!("image \"{expected}\"")), "{include}\n{}", converted.text);
    }
}

#[test]
fn included_files_inherit_the_defaults() {
    let files = [
        ("/project/a.yaml", "include: [{ path: \"${NAME}.yaml\", env_file: inner.env }]\n"),
        (
            "/project/b.yaml",
            "services: { b: { extends: { file: c.yaml, service: c }, environment: [TAG, \"X=$OUTER $INNER\"] } }\n",
        ),
        ("/project/c.yaml", "services: { c: { image: \"c:${TAG:?}\", environment: { PASSED: } } }\n"),
        ("/project/outer.env", "NAME=b\nTAG=outer\nOUTER=1\n"),
        ("/project/inner.env", "TAG=inner\nINNER=${OUTER}2\nPASSED=3\n"),
    ];
    let converted = convert("include: [{ path: a.yaml, env_file: outer.env }]\n", &files, &[]);
    for line in [
        "image \"c:${TAG:-outer}\"",
        "TAG \"${TAG-outer}\"",
        "X \"${OUTER-1} ${INNER-12}\"",
        "PASSED \"${PASSED-3}\"",
    ] {
        assert!(converted.text.contains(line), "{line}\n{}", converted.text);
    }
}

#[test]
fn several_files_of_an_include_override_each_other_and_share_a_folder() {
    let files = [
        ("/project/sub/a.yaml", "services: { a: { image: a, volumes: ['./x:/x'] } }\n"),
        ("/project/more/b.yaml", "services: { a: { image: b, volumes: ['./y:/y'] } }\n"),
    ];
    let converted = convert("include: [{ path: [sub/a.yaml, more/b.yaml] }]\n", &files, &[]);
    for line in ["image \"b\"", "mount \"./sub/x\"", "mount \"./sub/y\""] {
        assert!(converted.text.contains(line), "{line}\n{}", converted.text);
    }
    // The same file in another folder is another one.
    let files = [
        ("/project/sub/a.yaml", "services: { a: { image: a, volumes: ['./x:/x'] } }\n"),
        ("/project/b.yaml", "services: { b: { extends: { file: sub/a.yaml, service: a } } }\n"),
    ];
    let text = "include: [{ path: sub/a.yaml, project_directory: other }, b.yaml]\n";
    let converted = convert(text, &files, &[]);
    for line in ["mount \"./other/x\"", "mount \"./sub/x\""] {
        assert!(converted.text.contains(line), "{line}\n{}", converted.text);
    }
}

#[test]
fn a_value_that_is_no_default_replaces_the_variable() {
    let files = [
        ("/project/a.yaml", "services: { a: { image: a, environment: { B: $JSON } } }\n"),
        ("/project/a.env", "JSON='{\"c\":1}'\n"),
    ];
    let text = "include: [{ path: a.yaml, env_file: a.env }]\n";
    let converted = convert(text, &files, &[]);
    assert!(converted.text.contains("// changed: these variables have the values of env files"));
    assert_eq!(converted.count(Outcome::Changed), 1);
    assert_eq!(environment(&converted, &[])["B"], "{\\\"c\\\":1}");
    let files = [("/project/a.yaml", "services: { a: { image: \"${A:-$JSON}\" } }\n"), files[1]];
    let error = "compose.yaml:1: the value of `JSON` contains `}`, as the default of a variable may not (set it in the environment, or in the `.env` of the project)";
    assert_eq!(errors(text, &files), [error]);
}

#[test]
fn what_is_wrong_with_an_include_has_a_place() {
    let files = [("/project/a.yaml", "services: { a: { image: a } }\n"), ("/project/bad.env", "A=1\nB C\n")];
    for (include, error) in [
        (
            "{ path: a.yaml, env_file: none.env }",
            "compose.yaml:2: the env file `./none.env` cannot be read: no such file (looked for /project/none.env)",
        ),
        ("{ path: a.yaml, env_file: [bad.env] }", "compose.yaml:2: ./bad.env:2: "),
        (
            "{ path: a.yaml, env_file: { a: b } }",
            "compose.yaml:2: `include[0].env_file` takes a list, not a map",
        ),
        (
            "{ path: a.yaml, env_file: [~] }",
            "compose.yaml:2: `include[0].env_file[0]` takes a text, not nothing",
        ),
        ("{ env_file: bad.env }", "compose.yaml:2: this include names no file (write `path: FILE`)"),
        ("{ path: [] }", "compose.yaml:2: this include names no file (write `path: FILE`)"),
    ] {
        let found = errors(&format!("include:\n  - {include}\n"), &files);
        assert!(found.len() == 1 && found[0].starts_with(error), "{include} {found:#?}");
    }
    let text = "include:\n  - { path: a.yaml, wrong: b }\n";
    let converted = convert(text, &files, &[]);
    let left_out: Vec<_> = converted
        .entries
        .iter()
        .filter(|entry| entry.outcome == Outcome::LeftOut)
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(left_out, ["include[0].wrong"]);
    assert!(converted.text.contains("left out: include.wrong: it is not known"), "{}", converted.text);
}

#[test]
fn env_files_are_bounded() {
    let many: String = (0..65).map(|number| format!("e{number}.env, ")).collect();
    let names: Vec<String> = (0..65).map(|number| format!("/project/e{number}.env")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "A=1\n")).collect();
    files.push(("/project/a.yaml", "services: { a: { image: a } }\n"));
    let found = errors(&format!("include: [{{ path: a.yaml, env_file: [{many}] }}]\n"), &files);
    assert_eq!(found, ["compose.yaml:1: includes have more than 64 env files (write fewer files)"]);
    let value = format!("A={}\n", "x".repeat(100_000));
    let text = format!("services: {{ a: {{ image: a, command: [{}] }} }}\n", "$A, ".repeat(1_000));
    let files = [("/project/a.yaml", text.as_str()), ("/project/a.env", value.as_str())];
    let found = errors("include: [{ path: a.yaml, env_file: a.env }]\n", &files);
    let error = "compose.yaml:1: the values of env files make these files longer than any project needs";
    assert!(found[0].starts_with(error), "{found:#?}");
}
