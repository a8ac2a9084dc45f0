//! `msb stop`: signals, grace periods, and kills after them.

use std::time::{Duration, Instant};
use tests::Project;
use tests::process::{Signal, signal};

const SANDBOXFILE: &str = r#"
sandbox "polite" {
    image "@image"
    start "sh" "-c" "trap 'echo asked >>/root/asked; exit 0' TERM; touch /tmp/listens; while :; do sleep 0.1; done"
    healthcheck { exec "test" "-e" "/tmp/listens" }
}
sandbox "deaf" {
    image "@image"
    start "sh" "-c" "trap '' TERM; touch /tmp/listens; while :; do echo $(date) >>/root/busy; sleep 0.1; done"
    healthcheck { exec "test" "-e" "/tmp/listens" }
}
"#;

/// More than any stop without a grace period takes, and far less than the grace periods that must not be used up.
const SOON: Duration = Duration::from_secs(60);

fn timed(project: &Project, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    project.ok(arguments);
    began.elapsed()
}

#[test]
fn processes_are_signalled_and_killed_after_the_grace_period() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    // Sessions get the signal too, and nothing waits longer than needed.
    let session =
        "trap 'echo session >>/root/asked; exit 0' TERM; touch /tmp/too; while :; do sleep 0.1; done";
    project.ok(&["exec", "-d", "polite", "--", "sh", "-c", session]);
    project.exec("polite", &["sh", "-c", "until [ -e /tmp/too ]; do sleep 0.1; done"]);
    assert!(timed(&project, &["stop", "-t", "10m", "polite"]) < SOON);
    project.ok(&["start", "polite"]);
    assert_eq!(project.exec("polite", &["sort", "/root/asked"]), "asked\nsession");
    // `-f` sends no signal.
    project.ok(&["stop", "-f", "polite"]);
    project.ok(&["start", "polite"]);
    assert_eq!(project.exec("polite", &["sort", "/root/asked"]), "asked\nsession");

    // A process that ignores the signal is killed after the grace period, and its files are kept.
    let lines = || -> u32 {
        project.exec("deaf", &["sh", "-c", "wc -l </root/busy"]).trim().parse().expect("a number")
    };
    let before = lines();
    let took = timed(&project, &["stop", "-t", "1s", "deaf"]);
    assert!(took >= Duration::from_secs(1) && took < SOON, "{took:?}");
    project.ok(&["start", "deaf"]);
    assert!(lines() > before, "what was written before the stop is lost");

    // A hung VM is stopped too.
    let vmm = project.processes("deaf").vmm;
    signal(vmm.pid, Signal::STOP);
    assert!(timed(&project, &["stop", "-t", "0s", "deaf"]) < SOON);
    assert!(!vmm.is_alive());
    project.down();
}

#[test]
fn ctrl_c_between_two_sandboxes_does_not_stop_the_second() {
    let project = Project::new(
        r#"
        sandbox "deaf" { image "@image"; start "sh" "-c" "trap 'echo asked' TERM; echo listens; while :; do sleep 0.1; done" }
        sandbox "next" { image "@image" }
        "#,
    );
    project.up();
    project.wait_for_output(&["logs", "deaf"], "listens");
    let stop = project.msb(&["stop", "-t", "5s", "deaf", "next"]).start();
    project.wait_for_output(&["logs", "deaf"], "asked");
    signal(stop.pid(), Signal::INT);
    stop.finish().exits(130).says("interrupted");
    assert!(
        project.ok(&["ps"]).out().lines().any(|line| line.starts_with("next") && line.contains("running"))
    );
    project.down();
}
