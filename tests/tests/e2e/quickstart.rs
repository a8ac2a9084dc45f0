//! The first thing that everybody sees: examples/quickstart from `up` to `down`.

use tests::{Project, leftovers};

#[test]
fn the_quickstart_comes_up_works_and_leaves_nothing() {
    let project = Project::example("quickstart");
    project.up();

    let listed = project.ok(&["ps", "-a", "--json"]).json();
    let row = |name: &str| {
        let found = listed["sandboxes"].as_array().into_iter().flatten().find(|row| row["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {listed:#}"))
    };
    assert_eq!(row("web")["state"], "running");
    assert_eq!(row("web")["health"], "healthy");
    assert_eq!(row("worker")["state"], "running");
    assert_eq!((&row("setup")["role"], &row("setup")["state"]), (&"job".into(), &"exited".into()));
    assert_eq!(row("setup")["exit"]["code"], 0);
    project.ok(&["ps", "-a"]).prints_some("web").prints_some("healthy").prints_some("completed");

    let system = project.exec("web", &["uname", "-a"]);
    assert!(system.starts_with("Linux web 6."), "{system}");
    let of_host = rustix::system::uname().release().to_string_lossy().into_owned();
    assert!(!system.contains(&of_host), "{system} is the host's kernel");
    assert!(project.exec("web", &["greet"]).starts_with("Hello from inside a microVM: web runs Linux"));
    assert!(
        project.exec("web", &["wget", "-q", "-O", "-", "http://127.0.0.1/"]).contains("inside a microVM")
    );
    project.ok(&["logs", "web"]).prints_some("serving /srv/www on port 80");
    project.ok(&["logs", "setup"]).prints_some("prepared");
    project.shell("msb logs -f worker | head -n 1").run().ok().prints("tick 1\n");

    // The worker's machine was spawned after the server was healthy and the job was done.
    let before = project.processes("worker");
    let again = project.ok(&["up", "-d"]).prints("");
    let lines: Vec<_> = again.err().lines().collect();
    assert_eq!(lines.len(), 1, "nothing to do is said in one line: {lines:?}");
    assert!(lines[0].contains("quickstart: nothing to do"), "{lines:?}");
    assert_eq!(project.processes("worker"), before);
    project.ok(&["plan", "--detailed-exitcode"]);

    project.down();
    leftovers::assert_none(project.home());
    let listed = project.ok(&["ps", "-a", "--json"]).json();
    assert_eq!(listed["sandboxes"].as_array().map(Vec::len), Some(0), "{listed:#}");
    project.down();
}
