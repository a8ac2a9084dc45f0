//! `msb stop`: who is asked, for how long, and what becomes of those who do not go.

use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use tests::Project;

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

/// More than any stop without a grace takes here, and far less than the grace that is given where none is to be used up.
const SOON: Duration = Duration::from_secs(60);

fn timed(project: &Project, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    project.ok(arguments);
    began.elapsed()
}

#[test]
fn processes_are_asked_and_those_that_do_not_go_are_killed() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    // A session is asked as the main process is, and both before their time is over.
    let session =
        "trap 'echo session >>/root/asked; exit 0' TERM; touch /tmp/too; while :; do sleep 0.1; done";
    project.ok(&["exec", "-d", "polite", "--", "sh", "-c", session]);
    project.exec("polite", &["sh", "-c", "until [ -e /tmp/too ]; do sleep 0.1; done"]);
    assert!(timed(&project, &["stop", "-t", "10m", "polite"]) < SOON);
    project.ok(&["start", "polite"]);
    assert_eq!(project.exec("polite", &["sort", "/root/asked"]), "asked\nsession");
    // By force nobody is asked.
    project.ok(&["stop", "-f", "polite"]);
    project.ok(&["start", "polite"]);
    assert_eq!(project.exec("polite", &["sort", "/root/asked"]), "asked\nsession");

    // Who does not listen is killed when its time is over, and what it wrote is kept all the same.
    let lines = || -> u32 {
        project.exec("deaf", &["sh", "-c", "wc -l </root/busy"]).trim().parse().expect("a number")
    };
    let before = lines();
    let took = timed(&project, &["stop", "-t", "1s", "deaf"]);
    assert!(took >= Duration::from_secs(1) && took < SOON, "{took:?}");
    project.ok(&["start", "deaf"]);
    assert!(lines() > before, "what was written before the stop is lost");

    // A machine that does nothing any more cannot hold up its end.
    let vmm = project.processes("deaf").vmm;
    kill_process(Pid::from_raw(vmm.pid).expect("a pid is not 0"), Signal::STOP).expect("it can be stopped");
    assert!(timed(&project, &["stop", "-t", "0s", "deaf"]) < SOON);
    assert!(!vmm.lives());
    project.down();
}

#[test]
fn ctrl_c_between_two_sandboxes_leaves_the_second_one_alone() {
    let project = Project::new(
        r#"
        sandbox "deaf" { image "@image"; start "sh" "-c" "trap 'echo asked' TERM; echo listens; while :; do sleep 0.1; done" }
        sandbox "next" { image "@image" }
        "#,
    );
    project.up();
    let until_it_says = |text: &str| {
        let deadline = Instant::now() + SOON;
        while !project.ok(&["logs", "deaf"]).out().contains(text) {
            assert!(Instant::now() < deadline, "it does not say {text:?}");
        }
    };
    until_it_says("listens");
    let stop = project.msb(&["stop", "-t", "10s", "deaf", "next"]).start();
    until_it_says("asked");
    kill_process(Pid::from_raw(stop.pid()).expect("a pid is not 0"), Signal::INT).expect("it runs");
    stop.finish().exits(130).says("interrupted");
    assert!(
        project.ok(&["ps"]).out().lines().any(|line| line.starts_with("next") && line.contains("running"))
    );
    project.down();
}
