//! `msb logs`: what was printed, whole and in order, and following it to the end.

use tests::Project;

const SANDBOXFILE: &str = r#"
project "talk"
sandbox "chatty" {
    image "@image"
    script "talk" """
        echo "first"
        echo "a complaint" >&2
        echo "Grüße, 日本"
        printf 'no newline at the end'
        touch /tmp/said
        exec sleep 1000000
        """
    start "talk"
    healthcheck { exec "test" "-e" "/tmp/said" }
}
job "brief" {
    image "@image"
    script "count" "for n in 1 2 3 4 5; do echo \"line $n\"; done"
    start "count"
}
"#;

#[test]
fn logs_hold_what_was_printed() {
    let project = Project::new(SANDBOXFILE);
    project.up();

    project.ok(&["logs", "brief"]).prints("line 1\nline 2\nline 3\nline 4\nline 5\n");
    project.ok(&["logs", "--tail", "2", "brief"]).prints("line 4\nline 5\n");
    let chatty = project.ok(&["logs", "chatty"]);
    for line in ["first\n", "a complaint\n", "Grüße, 日本\n"] {
        assert!(chatty.out().contains(line), "{:?}", chatty.out());
    }
    // Several of them are told apart by name.
    let all = project.ok(&["logs"]);
    assert!(
        all.out().lines().any(|line| line.starts_with("chatty") && line.ends_with("| first")),
        "{:?}",
        all.out()
    );
    assert!(
        all.out().lines().any(|line| line.starts_with("brief") && line.ends_with("| line 5")),
        "{:?}",
        all.out()
    );

    let entries: Vec<serde_json::Value> = project
        .ok(&["logs", "--json", "chatty"])
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let of = |source: &str| -> Vec<&str> {
        entries.iter().filter(|entry| entry["s"] == source).filter_map(|entry| entry["d"].as_str()).collect()
    };
    assert_eq!(of("stdout"), ["first", "Grüße, 日本", "no newline at the end"]);
    assert_eq!(of("stderr"), ["a complaint"]);
    assert!(entries.iter().all(|entry| entry["t"].as_str().is_some_and(|time| time.ends_with('Z'))));

    let stamped = project.ok(&["logs", "--timestamps", "--tail", "1", "brief"]);
    assert!(stamped.out().contains("T") && stamped.out().ends_with("line 5\n"), "{:?}", stamped.out());
    project.run(&["logs", "bref"]).exits(1).says("bref").says("brief");

    // A follower sees what comes and ends with the sandbox.
    let follower = project.msb(&["logs", "-f", "chatty"]).start();
    project.exec("chatty", &["sh", "-c", "echo from a session"]);
    project.down();
    let followed = follower.finish();
    assert!(followed.out().contains("first\n"), "{:?}", followed.out());
    assert!(followed.out().contains("from a session"), "{:?}", followed.out());
}
