//! Which project a folder stands for, and whose a project is.

use std::fs;
use std::path::{Path, PathBuf};
use tests::{Msb, Project, Run};

const WEB: &str = "sandbox \"web\" { image \"@image\"; memory \"128M\" }\n";

/// Runs `msb` in another folder than the project's.
fn run_in(project: &Project, folder: &Path, arguments: &[&str]) -> Run {
    Msb::new(project.home(), folder, arguments).run()
}

/// A folder in the project's with a copy of its image and this Sandboxfile.
fn folder(project: &Project, name: &str, sandboxfile: &str) -> PathBuf {
    let folder = project.directory().join(name);
    fs::create_dir_all(&folder).expect("a folder can be made");
    project.write(&format!("{name}/Sandboxfile"), sandboxfile);
    folder
}

#[test]
fn two_folders_with_the_same_name_do_not_share_a_project() {
    let project = Project::new("");
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
    // Its full name means it from everywhere, and so does its project's.
    run_in(&project, &b, &["inspect", "app-web"]).ok();
    run_in(&project, &b, &["-p", "app", "ps"]).ok().prints_some("web");
    // Another name is another project; and from its own folder it is as it was.
    run_in(&project, &b, &["-p", "other", "up", "-d", "--no-start", "--trust"]).ok();
    run_in(&project, &a, &["plan", "--trust", "--detailed-exitcode"]).exits(2).prints_some("web");
    run_in(&project, &b, &["-p", "other", "down"]).ok();
    // Once nothing of it is left, it belongs to nobody.
    run_in(&project, &a, &["down"]).ok();
    run_in(&project, &b, &["up", "-d", "--no-start", "--trust"]).ok();
    run_in(&project, &a, &["ps"]).exits(1).says(&format!("was brought up from {}", b.display()));
    run_in(&project, &b, &["down"]).ok();
}

#[test]
fn a_folder_that_is_moved_or_renamed_takes_its_project_along() {
    let project = Project::new("");
    let old = folder(&project, "old", WEB);
    run_in(&project, &old, &["up", "-d", "--no-start", "--trust"]).ok();
    let new = project.directory().join("new");
    fs::rename(&old, &new).expect("a folder can be renamed");
    run_in(&project, &new, &["ps"]).ok().prints_some("web");
    let plan = run_in(&project, &new, &["plan", "--trust", "--json"]).ok().json();
    assert_eq!(plan["plan"]["project"], "old", "{plan:#}");
    let changes = plan["report"]["changes"].as_array().cloned().unwrap_or_default();
    assert!(changes.iter().all(|change| change["action"] != "create"), "{plan:#}");
    run_in(&project, &new, &["up", "-d", "--no-start", "--trust"]).ok();
    run_in(&project, &new, &["ps"]).ok().prints_some("web");
    run_in(&project, &new, &["down"]).ok();
    // Nothing is left of it: from now on the folder's name counts.
    let plan = run_in(&project, &new, &["plan", "--trust", "--json"]).ok().json();
    assert_eq!(plan["plan"]["project"], "new", "{plan:#}");
}

#[test]
fn without_a_flag_the_folder_stands_for_its_own_sandboxfile() {
    let project = Project::new("project \"one\"\nsandbox \"a\" { image \"@image\"; memory \"128M\" }\n");
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
    project.run(&["inspect", "a"]).exits(1);
    project.ok(&["inspect", "two-b"]);
    // With a broken file, and without one, what was brought up last counts.
    project.write("Sandboxfile", "sandbox {");
    project.ok(&["inspect", "b"]);
    fs::remove_file(project.directory().join("Sandboxfile")).expect("a file can be removed");
    project.ok(&["down"]).says("two: removed 1 sandbox");
}

#[test]
fn who_only_looks_evaluates_no_sandboxfile() {
    // Nothing of this was agreed to: it would be read whole, and told of, if it were evaluated.
    let filler = format!("// {}\n", "x".repeat(120)).repeat(2_000);
    let project = Project::new(&format!(
        "project \"quiet\"\ninclude \"/does/not/exist\"\nsandbox \"web\" {{ image \"$NOT_SET\" }}\n{filler}"
    ));
    for arguments in [&["ps"][..], &["down"]] {
        let run = project.ok(arguments);
        assert!(!run.err().contains("reading") && !run.err().contains("NOT_SET"), "{}", run.err());
    }
    for command in [&["exec", "web", "--", "true"][..], &["stop", "web"], &["inspect", "web"]] {
        let run = project.run(command).exits(1).says("there is no sandbox \"web\"");
        assert!(!run.err().contains("reading") && !run.err().contains("NOT_SET"), "{}", run.err());
    }
    project.run(&["up", "-d"]).exits(1).says("/does/not/exist");
}
