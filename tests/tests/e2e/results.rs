//! Results and failures as JSON, and the exit codes of failures.

use serde_json::{Value, json};
use tests::{Project, Run, installation};

/// Returns the failure on the last line of stderr.
fn failure(outcome: &Run) -> Value {
    let text = outcome.err();
    let line = text.trim_end().lines().last().expect("a line on stderr");
    let document: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(document["version"], 1, "{document:#}");
    document["error"].clone()
}

#[test]
fn each_failure_has_a_code_and_an_exit_code() {
    let project = Project::new("");
    let expect = |arguments: &[&str], exit: i32, code: &str, name: &str| {
        let outcome = project.run(arguments).exits(exit);
        let failure = failure(&outcome);
        assert_eq!((&failure["code"], &failure["name"]), (&json!(code), &json!(name)), "{failure:#}");
        assert!(failure["message"].as_str().is_some_and(|text| !text.is_empty()), "{failure:#}");
        outcome
    };
    expect(&["inspect", "web", "--json"], 6, "sandbox-not-found", "web");
    expect(&["volume", "inspect", "data", "--json"], 6, "volume-not-found", "data");
    expect(&["snapshot", "inspect", "seeded", "--json"], 6, "snapshot-not-found", "seeded");
    expect(&["image", "inspect", "nginx", "--json"], 6, "image-not-found", "nginx");
    // For people the exit codes are the same, and nothing is JSON.
    project.run(&["inspect", "web"]).exits(6).says("error: there is no sandbox");
    let refused = project.run(&["stop", "--json"]).exits(64);
    assert_eq!(failure(&refused)["code"], "usage");
    project.write("Sandboxfile", "sandbox \"web\" { colour \"blue\" }\n");
    let invalid = project.run(&["plan", "--json"]).exits(1);
    assert_eq!(failure(&invalid)["code"], "invalid-sandboxfile");
}

#[test]
fn results_of_each_step_of_a_sandbox_are_json() {
    let project = Project::new("");
    let image = installation::image().display().to_string();
    let outcome = |arguments: &[&str]| {
        let document = project.ok(arguments).json();
        assert_eq!((&document["version"], &document["sandboxes"][0]["name"]), (&json!(1), &json!("web")));
        document["sandboxes"][0]["outcome"].as_str().expect("an outcome").to_owned()
    };
    let create = ["create", "--name", "web", &image, "--json"];
    assert_eq!(outcome(&create), "created");
    let exists = project.run(&create).exits(7);
    assert_eq!(failure(&exists)["code"], "sandbox-exists");
    assert_eq!(outcome(&["start", "web", "--json"]), "unchanged");
    assert_eq!(outcome(&["pause", "web", "--json"]), "paused");
    let paused = project.run(&["cp", "web:/etc/passwd", ".", "--json"]).exits(9);
    assert_eq!(failure(&paused)["code"], "sandbox-paused");
    assert_eq!(outcome(&["resume", "web", "--json"]), "resumed");
    let running = project.run(&["rm", "web", "--json"]).exits(8);
    assert_eq!(failure(&running)["code"], "sandbox-running");
    let copied = project.ok(&["cp", "web:/etc/passwd", ".", "--json"]).json();
    assert_eq!((&copied["files"], &copied["failed"]), (&json!(1), &json!(0)));
    assert_eq!(outcome(&["restart", "web", "--json"]), "restarted");
    assert_eq!(outcome(&["stop", "web", "--json"]), "stopped");
    let stopped = project.run(&["cp", "web:/etc/passwd", ".", "--json"]).exits(9);
    assert_eq!(failure(&stopped)["code"], "sandbox-not-running");

    // Of several, each has a result; the failure is that of the first one that failed.
    let mixed = project.run(&["start", "web", "nobody", "--json"]).exits(6);
    let results = mixed.json();
    assert_eq!(results["sandboxes"][0]["outcome"], "started", "{results:#}");
    assert_eq!(results["sandboxes"][1]["outcome"], "failed", "{results:#}");
    assert_eq!(results["sandboxes"][1]["error"]["code"], "sandbox-not-found", "{results:#}");
    assert_eq!(failure(&mixed)["name"], "nobody");
    assert_eq!(outcome(&["kill", "web", "--json"]), "killed");
    assert_eq!(outcome(&["rm", "web", "--json"]), "removed");

    let created = project.ok(&["create", "--name", "job", &image, "--json", "--", "sh", "-c", "exit 3"]);
    assert_eq!(created.json()["sandboxes"][0]["outcome"], "created");
    let ended = project.ok(&["wait", "job", "--json"]).json();
    assert_eq!(ended["exit_code"], 3, "{ended:#}");
    project.ok(&["rm", "job", "--json"]);

    let same = ["create", "--name", "web", &image, "--or-start", "--json"];
    assert_eq!(outcome(&same), "created");
    assert_eq!(outcome(&same), "unchanged");
    project.ok(&["stop", "web"]);
    assert_eq!(outcome(&same), "started");
    assert_eq!(outcome(&["wait", "web", "--for", "running", "--timeout", "30s", "--json"]), "running");
    let late = project.run(&["wait", "web", "--for", "stopped", "--timeout", "100ms", "--json"]).exits(4);
    assert_eq!(failure(&late)["code"], "timed-out");
    project.ok(&["rm", "-f", "web"]);

    assert_eq!(project.ok(&["volume", "create", "data", "--json"]).json()["created"], true);
    assert_eq!(project.ok(&["volume", "create", "data", "--json"]).json()["created"], false);
    assert_eq!(project.ok(&["volume", "rm", "data", "--yes", "--json"]).json()["removed"], json!(["data"]));
}

#[test]
fn lists_are_filtered_by_labels_and_come_in_pages() {
    let text = "project \"pages\"\n".to_owned()
        + &["a", "b", "c"]
            .map(|name| {
                format!(
                    "sandbox \"{name}\" {{ image \"@image\"; labels {{ owner \"{}\"; task \"1\" }} }}\n",
                    if name == "b" { "ci" } else { "me" }
                )
            })
            .concat();
    let project = Project::new(&text);
    project.ok(&["up", "-d", "--no-start"]);
    let names = |arguments: &[&str]| -> (Vec<String>, Value) {
        let document = project.ok(&[&["ps", "--json"], arguments].concat()).json();
        let rows = document["sandboxes"].as_array().expect("a list");
        let names = rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect();
        (names, document["next_cursor"].clone())
    };
    assert_eq!(names(&[]), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], Value::Null));
    assert_eq!(names(&["--label", "owner=me", "--label", "task"]).0, ["a", "c"]);
    assert_eq!(names(&["--label", "owner=nobody"]).0, [""; 0]);
    let (first, cursor) = names(&["--limit", "2"]);
    assert_eq!(first, ["a", "b"]);
    assert_eq!(
        names(&["--limit", "2", "--cursor", cursor.as_str().expect("a cursor")]),
        (vec!["c".to_owned()], Value::Null)
    );
    project.run(&["ps", "--cursor", "x", "--json"]).exits(64);
}
