//! The question before data is destroyed: asked where somebody sits, and nowhere else.

use tests::{Project, Run};

const FILE: &str = "project \"asked\"\nsandbox \"web\" { image \"./image\" }\n";

/// Runs a command line on a pseudo-terminal of its own, where this is typed.
fn on_a_terminal(project: &Project, line: &str, typed: &str) -> Run {
    let line = format!("script --quiet --return --command '{line}' /dev/null");
    project.shell(&line).env("CI", "").input(typed).run()
}

#[test]
fn a_person_is_asked_and_the_answer_counts() {
    let project = Project::new(FILE);
    let image = project.own_image();
    project.up();
    let processes = project.processes("web");
    std::fs::write(image.join("etc/motd"), "changed\n").expect("the image can be written to");

    // Without a terminal there is nobody, whatever is on standard input, and in CI or not.
    let piped = project.msb(&["up", "-d"]).env("CI", "").input("y\n").run().exits(1);
    piped.says("nobody can be asked").says("the writable disk of web").says("--yes");
    // A terminal in CI has nobody in front of it either.
    let in_ci = "CI=true msb up -d";
    on_a_terminal(&project, in_ci, "y\n").exits(1).prints_some("nobody can be asked");
    assert_eq!(project.processes("web"), processes);

    for no in ["n\n", "\n", "yesterday\n"] {
        let refused = on_a_terminal(&project, "msb up -d", no).exits(1);
        let refused = refused.prints_some("This destroys data").prints_some("the writable disk of web");
        refused.prints_some("Go on? [y/N] ").prints_some("nothing was changed");
        assert_eq!(project.processes("web"), processes, "{no:?}");
    }
    on_a_terminal(&project, "msb up -d", "y\n").exits(0).prints_some("Go on? [y/N] ");
    assert_ne!(project.processes("web"), processes);
    assert_eq!(project.exec("web", &["cat", "/etc/motd"]), "changed");
    project.down();
}
