//! `up --wait` tells the truth: what has ended by its end has not come up, and what may still come true is awaited.

use tests::Project;

#[test]
fn what_ends_right_behind_its_start_has_not_come_up() {
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
    // The policy brings it back, for nothing.
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

#[test]
fn a_dependent_is_not_started_behind_a_dependency_that_has_ended() {
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
    // The only slot is taken by the boot of `first` while the dependency passes its first check, and ends at the
    // second one: by then the first result is recorded.
    let run = project.run(&["up", "-d", "--parallel", "1"]).exits(1);
    let run = run.says("✗ runner started: runner depends on backend, and backend exited with code 3");
    let run = run.says("no database").says("msb logs backend");
    // `first` has failed too, unless it came up before the dependency ended.
    assert!(!run.err().contains("skipped"), "its own failure is told already\n{}", run.err());
    let listed = project.ok(&["ps", "--json"]).json();
    let runner =
        listed["sandboxes"].as_array().into_iter().flatten().find(|sandbox| sandbox["name"] == "runner");
    assert_eq!(runner.expect("it is recorded")["state"], "stopped", "{listed:#}");
    project.down();
}

#[test]
fn what_is_unhealthy_may_become_healthy_until_the_time_is_over() {
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
    // Nobody has said how long it may take.
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
