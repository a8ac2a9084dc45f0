//! `examples/quickstart` from `up` to `down`.

use tests::{Project, leftovers};

#[test]
fn the_quickstart_works_and_leaves_nothing() {
    let project = Project::example("quickstart");
    project.up();

    let listed = project.list();
    let row = |name: &str| {
        let found = listed.iter().find(|row| row["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {listed:?}"))
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

    let before = project.processes("worker");
    let again = project.ok(&["up", "-d"]).prints("");
    let lines: Vec<_> = again.err().lines().collect();
    assert_eq!(lines.len(), 1, "expected one line: {lines:?}");
    assert!(lines[0].contains("quickstart: nothing to do"), "{lines:?}");
    assert_eq!(project.processes("worker"), before);
    project.ok(&["plan", "--detailed-exitcode"]);
    // Without changes the graph is that of the dependencies.
    let graph = project.ok(&["graph", "--format", "json"]).json();
    assert_eq!(
        (&graph["kind"], &graph["nodes"]),
        (&"project".into(), &["setup", "web", "worker"][..].into()),
        "{graph:#}"
    );
    project.ok(&["graph"]).prints_some("  \"web\" -> \"worker\" [label=\"healthy\"];\n");

    project.down();
    leftovers::assert_none(project.home());
    assert!(project.list().is_empty());
    project.down();
}
