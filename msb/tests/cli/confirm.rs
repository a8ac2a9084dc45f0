//! The confirmation before data is destroyed: asked on a terminal only, or given by `--yes`.

use std::fs;
use tests::{Project, Run};

const FILE: &str = "project \"asked\"\nsandbox \"web\" { image \"./image\" }\n";

/// Runs a command line on a pseudo-terminal with this input.
fn on_a_terminal(project: &Project, line: &str, input: &str) -> Run {
    let line = format!("script --quiet --return --command '{line}' /dev/null");
    project.shell(&line).env("CI", "").input(input).run()
}

/// Returns a project with a created sandbox whose image has changed since.
fn project() -> Project {
    let project = Project::without_guest(FILE);
    let image = project.own_image();
    project.ok(&["up", "-d", "--no-start"]);
    fs::write(image.join("etc/motd"), "changed\n").expect("a writable image");
    project
}

/// What identifies a sandbox's instance: its image's digest and its disk.
fn instance(project: &Project, name: &str) -> [String; 2] {
    let sandbox = project.inspect(name);
    [&sandbox["spec"]["image"]["digest"], &sandbox["disk"]].map(ToString::to_string)
}

#[test]
fn a_terminal_is_asked_and_the_answer_counts() {
    let project = project();
    let before = instance(&project, "web");

    // Without a terminal there is no question, whatever standard input is.
    let piped = project.msb(&["up", "-d", "--no-start"]).env("CI", "").input("y\n").run().exits(1);
    piped.says("no terminal for a prompt").says("the writable disk of web").says("--yes");
    // Nor is there one on a terminal in CI.
    let in_ci = "CI=true msb up -d --no-start";
    on_a_terminal(&project, in_ci, "y\n").exits(1).prints_some("no terminal for a prompt");
    assert_eq!(instance(&project, "web"), before);

    for no in ["n\n", "\n", "yesterday\n"] {
        let refused = on_a_terminal(&project, "msb up -d --no-start", no).exits(1);
        let refused = refused.prints_some("This destroys data").prints_some("the writable disk of web");
        refused.prints_some("Continue? [y/N] ").prints_some("nothing was changed");
        assert_eq!(instance(&project, "web"), before, "{no:?}");
    }
    on_a_terminal(&project, "msb up -d --no-start", "y\n").exits(0).prints_some("Continue? [y/N] ");
    assert_ne!(instance(&project, "web")[0], before[0]);
    project.down();
}

#[test]
fn without_a_terminal_data_is_destroyed_only_with_yes() {
    let project = project();
    let before = instance(&project, "web");
    let refused = project.run(&["up", "-d", "--no-start"]).exits(1).prints("");
    refused.says("this destroys data").says("the writable disk of web (image changed)").says("--yes");
    assert_eq!(instance(&project, "web"), before);
    project.ok(&["up", "-d", "--no-start", "-y"]);
    let replaced = instance(&project, "web");
    assert_ne!(replaced[0], before[0]);

    // Removing a sandbox that left the file destroys its data too, unless it is kept.
    project.write("Sandboxfile", &FILE.replace("web", "other"));
    let refused = project.run(&["up", "-d", "--no-start"]).exits(1);
    refused.says("the writable disk of web (no longer in the Sandboxfile)");
    assert_eq!(instance(&project, "web"), replaced);
    project.ok(&["up", "-d", "--no-start", "--keep-orphans"]);
    assert_eq!(instance(&project, "web"), replaced);
    project.ok(&["up", "-d", "--no-start", "--yes"]);
    project.run(&["inspect", "web"]).exits(6);
    // `down` needs no confirmation.
    project.down();
}
