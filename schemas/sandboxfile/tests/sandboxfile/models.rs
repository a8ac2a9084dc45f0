//! `tests/models/` contains each example in both spellings, and the model that both must result in.

use super::load_named;
use std::path::Path;

#[test]
fn both_spellings_give_the_same_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let kdl = entry.unwrap().path();
        if kdl.extension().is_none_or(|extension| extension != "kdl") {
            continue;
        }
        let yaml = kdl.with_extension("yaml");
        let stem = kdl.file_stem().unwrap().to_str().unwrap().to_owned();
        let load = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            load_named(name, &std::fs::read(path).unwrap()).unwrap_or_else(|report| {
                let found: Vec<_> =
                    report.diagnostics().iter().map(|finding| (finding.code, &finding.message)).collect();
                panic!("{report}: {found:#?}")
            })
        };
        let (from_kdl, from_yaml) = (load(&kdl), load(&yaml));
        assert_eq!(from_kdl, from_yaml, "{stem}");
        let settings = settings(&folder);
        settings.bind(|| insta::assert_snapshot!(stem, sandboxfile::print::json(&from_kdl)));
        seen += 1;
    }
    assert!(seen >= 3, "{seen} models found in {}", folder.display());
}

#[test]
fn every_example_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let Ok(files) = std::fs::read_dir(example.unwrap().path()) else { continue };
        for file in files.map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            if name.starts_with("Sandboxfile") && name != "Sandboxfile.lock" || name.ends_with(".yaml") {
                let report = load_named(name, &std::fs::read(&file).unwrap()).err();
                assert!(report.is_none(), "{}: {:#?}", file.display(), report.unwrap().diagnostics());
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

fn settings(folder: &Path) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}
