//! `up --wait`: ended sandboxes are failures, and conditions that can still be met are awaited.

use serde_json::Value;
use std::fs;
use std::path::Path;
use tests::Project;
use tests::wait::retry;

#[test]
fn a_sandbox_that_ends_after_its_start_is_a_failure() {
    let project = Project::new(
        r#"
        project "wait"
        sandbox "web" { image "@image"; memory "128M"; start "sh" "-c" "echo config missing >&2; exit 3" }
        job "once" { image "@image"; memory "128M"; start "true" }
        "#,
    );
    let run = project.run(&["up", "-d", "--wait"]).exits(1);
    let run = run.says("web exited with code 3").says("config missing").says("1 step failed");
    assert!(!run.err().contains("once completed: "), "a job that exits with 0 is a success\n{}", run.err());
    // With restart policies too.
    project.write(
        "Sandboxfile",
        r#"
        project "wait"
        sandbox "web" { image "@image"; memory "128M"; restart "on-failure" max=1; start "sh" "-c" "exit 7" }
        sandbox "loop" { image "@image"; memory "128M"; restart "always"; start "true" }
        "#,
    );
    let run = project.run(&["up", "-d", "--wait", "--yes"]).exits(1);
    run.says("web exited with code 7")
        .says("loop exits with code 0 after every start")
        .says("2 steps failed");
    project.down();
}

/// While a guest shuts down, its sandbox still runs.
#[test]
fn a_sandbox_that_is_ending_is_a_failure() {
    let project = Project::new(
        r#"
        project "ending"
        sandbox "web" {
            image "@image"
            memory "128M"
            start "sh" "-c" "(trap '' TERM; sleep 100000) & while [ ! -e /end ]; do sleep 0.05; done; exit 3"
        }
        "#,
    );
    project.up();
    project.exec("web", &["touch", "/end"]);
    let folder =
        project.inspect("web")["logs"].as_str().and_then(|logs| Some(Path::new(logs).parent()?.to_owned()));
    let state = folder.expect("a folder of logs").join("state.json");
    retry(|| {
        let state: Value = serde_json::from_slice(&fs::read(&state).expect("a state")).expect("JSON");
        if state["main_ended"] == true { Ok(()) } else { Err(format!("its main process runs: {state}")) }
    });
    project.run(&["up", "-d", "--wait"]).exits(1).says("web exited with code 3");
    project.down();
}

#[test]
fn dependents_of_an_ended_sandbox_are_not_started() {
    let project = Project::new(
        r#"
        project "wait-healthy"
        sandbox "backend" {
            image "@image"
            memory "128M"
            start "sh" "-c" "echo no database >&2; while [ ! -e /checked ]; do sleep 0.05; done; exit 3"
            healthcheck {
                exec "sh" "-c" "if [ -e /passed ]; then touch /checked; else touch /passed; fi"
                interval "100ms"
            }
        }
        sandbox "first" { image "@image"; memory "128M"; depends-on "backend" }
        sandbox "runner" {
            image "@image"
            memory "128M"
            depends-on "backend" condition="healthy"
            start "sh" "-c" "sleep 100000"
        }
        "#,
    );
    // The boot of `first` takes the only slot while the dependency passes its first check and ends at the second.
    let run = project.run(&["up", "-d", "--parallel", "1"]).exits(1);
    let run = run.says("✗ runner started: runner depends on backend, and backend exited with code 3");
    let run = run.says("no database").says("msb logs backend");
    // `first` has failed too, unless it started before the dependency ended.
    assert!(!run.err().contains("skipped"), "its own failure is reported already\n{}", run.err());
    assert_eq!(project.inspect("runner")["state"], "stopped");
    project.down();
}

#[test]
fn an_unhealthy_sandbox_may_become_healthy_until_the_timeout() {
    let project = Project::new(
        r#"
        project "late"
        sandbox "parent" {
            image "@image"
            memory "128M"
            start "sh" "-c" "touch /ready; sleep 100000"
            healthcheck {
                exec "sh" "-c" "test -e /ready || { echo not ready; exit 9; }"
                interval "100ms"
                timeout "60s"
                retries 1
            }
        }
        sandbox "child" {
            image "@image"
            memory "128M"
            depends-on "parent" condition="healthy"
            profiles "late"
            start "sleep" "100000"
        }
        "#,
    );
    project.up();
    project.exec("parent", &["rm", "/ready"]);
    let mut events = project.msb(&["events", "-f", "parent"]).live();
    events.until("unhealthy");
    drop(events);
    // Without a timeout it is a failure.
    let at_once = project.run(&["up", "-d", "--wait", "child"]).exits(1);
    at_once.says("parent is unhealthy").says("child skipped because parent is not healthy");
    let late = project.run(&["up", "-d", "--wait-timeout", "1s", "child"]).exits(4);
    let (_, end) =
        late.err().split_once("not everything was ready in time").unwrap_or_else(|| late.fail("no end"));
    assert!(end.contains("the last probe of parent exited with code 9, and printed: not ready"), "{end}");
    let mut up = project.msb(&["up", "-d", "--wait-timeout", "10m", "child"]).live();
    up.until("parent is unhealthy; still waiting until it is healthy");
    project.exec("parent", &["touch", "/ready"]);
    assert_eq!(up.wait(), Some(0));
    project.down();
}
