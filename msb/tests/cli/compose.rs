//! `msb init --from`: where compose files are found, where the result goes, and the exit code.

use tests::Project;

const FILE: &str = "\
services:
  web:
    image: ./image
    ports: ['127.0.0.1:18099:80']
    environment: ['LEVEL=${LEVEL:-info}', 'NAME=$NAME']
    privileged: true
  cache:
    image: ./image
    command: [sleep, '1000']
";

/// A project with an image and a compose file, without a Sandboxfile.
fn project(name: &str) -> Project {
    let project = Project::without_guest("");
    project.remove_sandboxfile();
    project.own_image();
    project.write(name, FILE);
    project.write(".env", "NAME=test\n");
    project
}

#[test]
fn a_compose_file_becomes_a_sandboxfile() {
    for name in ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"] {
        let project = project(name);
        project
            .ok(&["init", "--from"])
            .says(&format!("wrote Sandboxfile from {name}: "))
            .says(" 1 left out")
            .says(&format!("left out  {name}:6  services.web.privileged: root in a sandbox"));
        let config = project.ok(&["config", "--format", "json"]).json();
        assert_eq!(config["sandboxes"][1]["definition"]["env"]["NAME"], "test");
        project.ok(&["validate"]);
        // It is never overwritten.
        project.run(&["init", "--from"]).exits(1).says("already exists");
        project.run(&["init", "--from", "-o", "Sandboxfile"]).exits(1).says("Sandboxfile exists already");
    }
}

#[test]
fn the_result_goes_where_it_is_to_go() {
    let project = project("other.yaml");
    project
        .run(&["init", "--from"])
        .exits(1)
        .says("looked for compose.yaml, compose.yml, docker-compose.yml");
    project.ok(&["init", "--from", "other.yaml", "-o", "-"]).prints_some("sandbox \"web\" {");
    project.ok(&["init", "--from", "other.yaml", "-o", "-", "--yaml"]).prints_some("sandboxes:\n  web:\n");
    project.ok(&["init", "--from", "other.yaml", "-o", "result.yaml"]).says("wrote result.yaml");
    project.ok(&["-f", "result.yaml", "validate"]);
    std::fs::create_dir(project.directory().join("deploy")).expect("a writable directory");
    project.write("code.yaml", "services: { web: { image: ./image, volumes: ['./image:/code'] } }\n");
    let code = project.ok(&["init", "--from", "code.yaml", "-o", "deploy/Sandboxfile"]);
    code.says("wrote deploy/Sandboxfile");
    let text = std::fs::read_to_string(project.directory().join("deploy/Sandboxfile")).expect("a file");
    assert!(text.contains("mount \"../image\" to=\"/code\""), "{text}");
}

#[test]
fn strictness_and_json_are_for_programs() {
    let project = project("compose.yaml");
    project.run(&["init", "--from", "--strict", "-o", "strict.kdl"]).exits(1).says("1 left out");
    let report = project.ok(&["init", "--from", "--json"]).json();
    assert_eq!((&report["version"], &report["left_out"]), (&1.into(), &1.into()));
    let entries = report["entries"].as_array().expect("a list");
    let found = entries.iter().find(|entry| entry["path"] == "services.web.privileged").expect("an entry");
    assert_eq!((&found["outcome"], &found["line"]), (&"left-out".into(), &6.into()));
    project
        .run(&["init", "--from", "--json", "-o", "-"])
        .exits(64)
        .says("either the Sandboxfile or the JSON");
    project.run(&["init", "--strict"]).exits(64);
    project.run(&["init", "--from", "--image", "x"]).exits(64);
}

#[test]
fn a_wrong_compose_file_is_reported_as_a_sandboxfile_is() {
    let project = project("compose.yaml");
    project.write("wrong.yaml", "services:\n  a:\n    image: [b]\n    ports: x\n");
    let failed = project.run(&["init", "--from", "wrong.yaml"]).exits(1);
    failed.says("`services.a.image` takes a text, not a list").says("wrong.yaml:3:5").says("wrong.yaml:4:");
    assert!(!project.directory().join("Sandboxfile").exists());
}
