//! Projects of several files: overlays, includes, variables and the origin of each value.

use tests::Project;

const BASE: &str = r#"
project "many"
sandbox "web" { image "@image"; memory "${SIZE:-128M}"; env { A 1; B 2 } }
"#;

#[test]
fn later_files_override_earlier_ones() {
    let project = Project::without_guest(BASE);
    project.write("one.yaml", "sandboxes:\n  web: { env: { B: two, C: 3 } }\n");
    project.write("two.kdl", "sandbox \"web\" { env { C \"three\" } }\n");
    let files = ["-f", "Sandboxfile", "-f", "one.yaml", "-f", "two.kdl"];
    let config = project.ok(&[&files[..], &["config", "--format", "json"]].concat());
    let model: serde_json::Value = serde_json::from_str(config.out()).expect("JSON");
    let env = &model["sandboxes"][0]["definition"]["env"];
    assert_eq!(env, &serde_json::json!({ "A": "1", "B": "two", "C": "three" }));
    project
        .ok(&[&files[..], &["config", "--explain", "web.env.C"]].concat())
        .prints("web.env.C\n  two.kdl:1:25  \"three\"\n  over one.yaml:2:28  3\n");
}

#[test]
fn dot_env_overrides_env_files() {
    let project = Project::without_guest(BASE);
    let memory = |arguments: &[&str]| {
        let config = project.ok(arguments);
        let model: serde_json::Value = serde_json::from_str(config.out()).expect("JSON");
        model["sandboxes"][0]["definition"]["memory_mib"].as_u64()
    };
    let config = ["config", "--format", "json"];
    assert_eq!(memory(&config), Some(128));
    project.write("more.env", "SIZE=192M\n");
    assert_eq!(memory(&[&["--env-file", "more.env"][..], &config].concat()), Some(192));
    project.write(".env", "SIZE=160M # the project's\n");
    assert_eq!(memory(&[&["--env-file", "more.env"][..], &config].concat()), Some(160));
    project.write("Sandboxfile", &BASE.replace("${SIZE:-128M}", "$SIZES"));
    let invalid = project.run(&["--env-file", "more.env", "validate"]).exits(1);
    invalid.says("msb::sandboxfile::unset_variable").says("did you mean `SIZE`?").says("then in .env");
    project.run(&["--env-file", "gone.env", "validate"]).exits(1).says("gone.env");
}

#[test]
fn errors_of_included_files_are_reported_there() {
    let project = Project::without_guest("include \"./more/base.kdl\"\nsandbox \"web\" { like \"base\" }\n");
    project.run(&["validate"]).exits(1).says("include_not_found").says("Sandboxfile:1:9");
    std::fs::create_dir(project.directory().join("more")).expect("a new directory");
    project.write("more/base.kdl", "sandbox \"base\" {\n    image \"@image\"\n    memroy \"1G\"\n}\n");
    project.run(&["validate"]).exits(1).says("more/base.kdl:3:5").says("did you mean `memory`?");
    project.write("more/base.kdl", "include \"../Sandboxfile\"\n");
    project.run(&["validate"]).exits(1).says("include_cycle");
}
