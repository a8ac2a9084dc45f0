//! `up` with failures, without starting, and interrupted.

use tests::Project;
use tests::process::{Signal, signal};

/// Returns the name and the state of each sandbox.
fn states(project: &Project) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    project.list().iter().map(|row| (text(&row["name"]), text(&row["state"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn a_failed_up_is_rolled_back_to_what_ran_before() {
    let project = Project::new(
        r#"
        project "back"
        sandbox "kept" { image "@image"; start "sleep" "1000000"; }
        sandbox "new" { image "@image"; start "sleep" "1000000"; depends-on "kept" condition="started" }
        job "bad" { image "@image"; start "false"; depends-on "new" condition="started" }
        sandbox "never" { image "@image"; depends-on "bad" condition="completed" }
        "#,
    );
    project.ok(&["up", "-d", "kept"]);
    let boot = project.boot_id("kept");
    let run = project.run(&["up", "-d", "--rollback"]).exits(1);
    run.says("bad exited with code 1").says("all changes were rolled back");
    assert_eq!(states(&project), pairs(&[("kept", "running")]));
    assert_eq!(project.boot_id("kept"), boot);
    project.down();
}

#[test]
fn created_sandboxes_are_started_later() {
    let project = Project::new(
        r#"
        project "later"
        sandbox "one" { image "@image"; start "sleep" "1000000"; }
        job "two" { image "@image"; start "true"; }
        "#,
    );
    project.ok(&["up", "-d", "--no-start"]);
    assert_eq!(states(&project), pairs(&[("one", "stopped"), ("two", "stopped")]));
    project.ok(&["up", "-d", "--no-start"]).says("nothing to do");
    project.up();
    assert_eq!(states(&project), pairs(&[("one", "running"), ("two", "exited")]));
    project.down();
}

#[test]
fn ctrl_c_ends_waiting_and_names_what_is_left_undone() {
    let project = Project::new(
        r#"
        project "cut"
        sandbox "sick" { image "@image"; start "sleep" "1000000"; healthcheck { exec "false"; start-period "10m" } }
        sandbox "after" { image "@image"; depends-on "sick" condition="healthy" }
        "#,
    );
    let up = project.msb(&["up", "-d"]).start();
    project.wait_for_output(&["ps"], "running (not healthy yet)");
    signal(up.pid(), Signal::INT);
    let up = up.finish().exits(130).says("stopping after the running steps");
    up.says("interrupted; not finished: after\n");
    assert_eq!(states(&project), pairs(&[("after", "stopped"), ("sick", "running")]));
    project.down();
}

#[test]
fn waiting_for_a_crash_loop_is_reported() {
    let project = Project::new(
        r#"
        project "loop"
        sandbox "web" {
            image "@image"
            start "sh" "-c" "echo out of luck; sleep 1; exit 7"
            restart "always"
            healthcheck { exec "test" "-e" "/not/there"; start-period "10m" }
        }
        "#,
    );
    let mut up = project.msb(&["up", "-d", "--wait"]).live();
    up.until("was restarted 3 times, and last exited with code 7; still waiting until it is healthy");
    up.until("out of luck");
    up.until("msb logs web");
    assert_eq!(up.interrupt(), Some(130));
    // A later `up` reports it immediately and at its end.
    let late = project.run(&["up", "-d", "--wait-timeout", "2s"]).exits(4);
    let late = late.says("still waiting until it is healthy").says("not everything was ready in time: web");
    let (_, end) = late.err().split_once("not everything was ready").unwrap_or_else(|| late.fail("no end"));
    assert!(end.contains("web was restarted ") && end.contains("and last exited with code 7"), "{end}");
    project.down();
}
