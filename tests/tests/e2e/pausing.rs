//! Pausing: nothing runs in a paused sandbox, nothing fails because of it, and its clock is right afterwards.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};
use tests::Project;
use tests::wait::retry;

const SANDBOXFILE: &str = r#"
project "nap"
sandbox "box" {
    image "@image"
    start "sh" "-c" "trap 'echo over >/root/stopped; exit' TERM; while :; do echo $((n+=1)) >/shared/count; sleep 0.1; done"
    mount "./shared" to="/shared"
    healthcheck { exec "test" "-e" "/shared/count"; interval "100ms"; timeout "2s"; retries 1 }
    hook "pre-stop" "sh" "-c" "echo hook >/root/hook"
}
"#;

/// Returns the events of the sandbox in words.
fn events(project: &Project) -> Vec<String> {
    let run = project.ok(&["events", "box", "--json"]);
    let kind = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).ok()?["event"]["kind"].as_str().map(str::to_owned)
    };
    run.out().lines().filter_map(kind).collect()
}

/// Creates a project whose main process keeps writing to a directory of the host.
fn project() -> Project {
    let project = Project::new(SANDBOXFILE);
    fs::create_dir(project.directory().join("shared")).expect("a new directory");
    project
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn a_paused_sandbox_stands_still_and_goes_on() {
    let project = project();
    project.up();
    let processes = project.processes("box");
    let running = project.msb(&["exec", "box", "--", "sh", "-c", "sleep 1; echo done"]).start();
    project.wait_for_output(&["exec", "box", "--", "ps"], "sleep 1");
    project.ok(&["pause", "box"]).prints("box: paused\n");
    project.ok(&["pause", "box"]).prints("box: already paused\n");
    assert_eq!(project.list()[0]["state"], "paused");
    assert_eq!(project.inspect("box")["state"], "paused");
    project.ok(&["ps"]).prints_some("paused");
    let metrics = project.ok(&["metrics", "--json"]).json();
    assert_eq!(metrics["sandboxes"][0]["paused"], true);
    for arguments in [
        &["exec", "box", "--", "true"][..],
        &["exec", "-d", "box", "--", "true"],
        &["cp", "Sandboxfile", "box:/tmp/"],
        &["cp", "box:/etc/passwd", "."],
    ] {
        project.run(arguments).exits(9).says("box is paused").says("msb resume box");
    }
    let count = || fs::read_to_string(project.directory().join("shared/count")).expect("a file");
    let stopped = count();
    // Longer than the health check takes to fail, and long enough to see that the clock would be slow.
    let paused = now();
    while now() < paused + 6 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(count(), stopped);
    assert!(!events(&project).contains(&"unhealthy".to_owned()), "{:?}", events(&project));
    project.run(&["plan", "--detailed-exitcode"]).exits(2).prints_some("is paused, though it should run");

    project.ok(&["resume", "box"]).prints("box: resumed\n");
    let before = now();
    let told: u64 = project.exec("box", &["date", "+%s"]).parse().expect("a number");
    assert!((before..=now()).contains(&told), "{told} is not from {before} to {}", now());
    retry(|| if count() == stopped { Err("the main process stands still".to_owned()) } else { Ok(()) });
    running.finish().ok().prints("done\n");
    project.ok(&["resume", "box"]).prints("box: not paused\n");
    // A slow host may well fail a check after that, not in between.
    let events = events(&project);
    let during = events.iter().skip_while(|kind| *kind != "paused").take(2).collect::<Vec<_>>();
    assert_eq!(during, ["paused", "resumed"], "{events:?}");
    assert_eq!(project.processes("box"), processes);

    // `up` resumes it, and loses nothing.
    project.ok(&["pause", "--all"]).prints("box: paused\n");
    project.up().says("paused");
    project.up().says("nothing to do");
    assert_eq!(project.processes("box"), processes);
    project.down();
}

#[test]
fn a_paused_sandbox_is_stopped_in_order() {
    let project = project();
    project.up();
    project.exec("box", &["sh", "-c", "echo unsynced >/root/file"]);
    project.ok(&["pause", "box"]);
    project.ok(&["stop", "box"]);
    project.up();
    let read = ["sh", "-c", "cat /root/file /root/stopped /root/hook"];
    assert_eq!(project.exec("box", &read), "unsynced\nover\nhook");
    let boot = project.boot_id("box");
    project.ok(&["pause", "box"]);
    project.ok(&["restart", "box"]);
    assert_ne!(project.boot_id("box"), boot);

    project.ok(&["pause", "box"]);
    project.run(&["rm", "box"]).exits(9).says("it is paused");
    project.ok(&["kill", "box"]);
    project.up();
    // A machine that is killed while it is paused has ended.
    project.ok(&["pause", "box"]);
    let processes = project.processes("box");
    processes.vmm.kill();
    processes.supervisor.wait_for_end();
    project.ok(&["ps"]).prints_some("failed (the VM's process crashed)");
    project.up();
    project.ok(&["pause", "box"]);
    project.down();
}
