//! The projects in `fixtures`: each is converted in both spellings, and both results are the same valid project.

use crate::{Host, check, lines, variables_of};
use compose::{Converted, Format, Input, SourceFile, convert};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A project of `fixtures`.
pub struct Fixture {
    pub name: String,
    pub host: Host,
    pub text: String,
    pub variables: BTreeMap<String, String>,
}

impl Fixture {
    pub fn convert(&self, format: Format) -> Converted {
        let file = SourceFile { name: "compose.yaml", bytes: self.text.as_bytes(), folder: "/project" };
        let input =
            Input { files: vec![file], variables: self.variables.clone(), folder: "/project", format };
        convert(&input, &self.host).unwrap_or_else(|report| panic!("{}: {:#?}", self.name, lines(&report)))
    }
}

/// Returns all projects, by their names.
pub fn all() -> Vec<Fixture> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let fixtures = folders.into_iter().map(|folder| Fixture {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        text: std::fs::read_to_string(folder.join("compose.yaml")).unwrap(),
        variables: variables_of(&std::fs::read(folder.join(".env")).unwrap_or_default()),
        host: Host { folder },
    });
    fixtures.collect()
}

#[test]
fn fixtures_become_valid_projects_in_both_spellings() {
    let mut failures = Vec::new();
    for fixture in all() {
        let mut models = Vec::new();
        for (format, name) in [(Format::Kdl, "kdl"), (Format::Yaml, "yaml")] {
            let converted = fixture.convert(format);
            assert_eq!(converted, fixture.convert(format), "{} twice", fixture.name);
            let mut settings = insta::Settings::clone_current();
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings.set_snapshot_path("../golden");
            settings.bind(|| insta::assert_snapshot!(format!("{}.{name}", fixture.name), converted.text));
            match check(&converted.text, &fixture.variables, format, &fixture.host) {
                Ok(loaded) => models.push(loaded.model),
                Err(report) => failures.push(format!("{} {name}: {:#?}", fixture.name, lines(&report))),
            }
        }
        if let [kdl, yaml] = models.as_slice() {
            assert_eq!(kdl, yaml, "{}", fixture.name);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_key_of_a_fixture_is_in_one_entry() {
    for fixture in all() {
        let entries = fixture.convert(Format::Kdl).entries;
        let unread: Vec<_> =
            entries.iter().filter(|entry| entry.note.as_deref() == Some("it was not read")).collect();
        assert!(unread.is_empty(), "{}: {unread:#?}", fixture.name);
        let other = fixture.convert(Format::Yaml).entries;
        assert_eq!(entries, other, "the report does not depend on the spelling");
    }
}
