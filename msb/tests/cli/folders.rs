//! The project of a directory, and the directory that owns a project.

use std::fs;
use std::path::{Path, PathBuf};
use tests::{Project, Run};

const WEB: &str = "sandbox \"web\" { image \"@image\"; memory \"128M\" }\n";

/// Runs `msb` in another directory.
fn run_in(project: &Project, folder: &Path, arguments: &[&str]) -> Run {
    project.msb_in(folder, arguments).run()
}

/// Creates a directory with this Sandboxfile inside the project's.
fn folder(project: &Project, name: &str, sandboxfile: &str) -> PathBuf {
    let folder = project.directory().join(name);
    fs::create_dir_all(&folder).expect("a new directory");
    project.write(&format!("{name}/Sandboxfile"), sandboxfile);
    folder
}

#[test]
fn directories_of_the_same_name_do_not_share_a_project() {
    let project = Project::without_guest("");
    let [a, b] = ["A/app", "B/app"].map(|name| folder(&project, name, WEB));
    run_in(&project, &a, &["up", "-d", "--no-start", "--trust"]).ok();
    let whose = format!("project \"app\" was brought up from {}", a.display());
    for command in [
        &["plan", "--trust"][..],
        &["up", "-d", "--trust", "--yes"],
        &["down"],
        &["ps"],
        &["logs"],
        &["exec", "web", "--", "true"],
        &["start", "web"],
        &["stop", "web"],
        &["rm", "web"],
        &["cp", "web:/etc/motd", "."],
        &["inspect", "web"],
    ] {
        run_in(&project, &b, command).exits(1).says(&whose);
    }
    run_in(&project, &b, &["plan", "--trust"]).exits(1).says("project \"…\"").says("-p");
    // Full names and project names work everywhere.
    run_in(&project, &b, &["inspect", "app-web"]).ok();
    run_in(&project, &b, &["-p", "app", "ps"]).ok().prints_some("web");
    // Another name is another project, and the first one is unchanged.
    run_in(&project, &b, &["-p", "other", "up", "-d", "--no-start", "--trust"]).ok();
    run_in(&project, &a, &["plan", "--trust", "--detailed-exitcode"]).exits(2).prints_some("web");
    run_in(&project, &b, &["-p", "other", "down"]).ok();
    // A project without sandboxes has no owner.
    run_in(&project, &a, &["down"]).ok();
    run_in(&project, &b, &["up", "-d", "--no-start", "--trust"]).ok();
    run_in(&project, &a, &["ps"]).exits(1).says(&format!("was brought up from {}", b.display()));
    run_in(&project, &b, &["down"]).ok();
}

#[test]
fn a_renamed_directory_keeps_its_project() {
    let project = Project::without_guest("");
    let old = folder(&project, "old", WEB);
    run_in(&project, &old, &["up", "-d", "--no-start", "--trust"]).ok();
    let new = project.directory().join("new");
    fs::rename(&old, &new).expect("a directory");
    run_in(&project, &new, &["ps"]).ok().prints_some("web");
    let plan = run_in(&project, &new, &["plan", "--trust", "--json"]).ok().json();
    assert_eq!(plan["plan"]["project"], "old", "{plan:#}");
    let changes = plan["report"]["changes"].as_array().cloned().unwrap_or_default();
    assert!(changes.iter().all(|change| change["action"] != "create"), "{plan:#}");
    run_in(&project, &new, &["up", "-d", "--no-start", "--trust"]).ok();
    run_in(&project, &new, &["ps"]).ok().prints_some("web");
    run_in(&project, &new, &["down"]).ok();
    // Without sandboxes the directory's name is the project's.
    let plan = run_in(&project, &new, &["plan", "--trust", "--json"]).ok().json();
    assert_eq!(plan["plan"]["project"], "new", "{plan:#}");
}

#[test]
fn the_default_project_is_that_of_the_sandboxfile() {
    let project =
        Project::without_guest("project \"one\"\nsandbox \"a\" { image \"@image\"; memory \"128M\" }\n");
    project.write("other.kdl", "project \"two\"\nsandbox \"b\" { image \"@image\"; memory \"128M\" }\n");
    let names = |run: Run| -> Vec<String> {
        let listed = run.json()["sandboxes"].as_array().cloned().unwrap_or_default();
        listed.iter().map(|sandbox| sandbox["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    project.ok(&["up", "-d", "--no-start"]);
    project.ok(&["-f", "other.kdl", "up", "-d", "--no-start"]);
    assert_eq!(names(project.ok(&["ps", "--json", "-p", "one"])), ["a"]);
    assert_eq!(names(project.ok(&["-f", "other.kdl", "ps", "--json"])), ["b"]);
    assert_eq!(names(project.ok(&["ps", "--json"])), ["a"]);
    project.ok(&["inspect", "a"]);
    project.ok(&["down"]).says("one: removed 1 sandbox");
    project.run(&["inspect", "a"]).exits(6);
    project.ok(&["inspect", "two-b"]);
    // With an invalid Sandboxfile, or without one, it is the project brought up last.
    project.write("Sandboxfile", "sandbox {");
    project.ok(&["inspect", "b"]);
    project.remove_sandboxfile();
    project.ok(&["down"]).says("two: removed 1 sandbox");
}

#[test]
fn commands_on_existing_sandboxes_do_not_evaluate_the_sandboxfile() {
    // A file that is not trusted, is invalid and is long enough for a progress message.
    let filler = format!("// {}\n", "x".repeat(120)).repeat(2_000);
    let project = Project::without_guest(&format!(
        "project \"quiet\"\ninclude \"/does/not/exist\"\nsandbox \"web\" {{ image \"$NOT_SET\" }}\n{filler}"
    ));
    for arguments in [&["ps"][..], &["down"]] {
        let run = project.ok(arguments);
        assert!(!run.err().contains("reading") && !run.err().contains("NOT_SET"), "{}", run.err());
    }
    for command in [&["exec", "web", "--", "true"][..], &["stop", "web"], &["inspect", "web"]] {
        let run = project.run(command).exits(6).says("there is no sandbox \"web\"");
        assert!(!run.err().contains("reading") && !run.err().contains("NOT_SET"), "{}", run.err());
    }
    project.run(&["up", "-d"]).exits(1).says("/does/not/exist");
}

#[test]
fn a_full_name_belongs_to_one_project() {
    // `one-two-three` is a full name of both projects.
    let project = Project::without_guest("project \"one\"\nsandbox \"two-three\" { image \"@image\" }\n");
    project.ok(&["up", "-d", "--no-start"]);
    project.write("other.kdl", "project \"one-two\"\nsandbox \"three\" { image \"@image\" }\n");
    let refused = project.run(&["-f", "other.kdl", "up", "-d", "--no-start"]).exits(1);
    refused.says("taken by a sandbox of project one");
    project.ok(&["-f", "other.kdl", "down"]);
    project.ok(&["-p", "one", "inspect", "two-three"]);
    project.ok(&["-p", "one", "down"]);
    tests::leftovers::assert_none(project.home());
}
