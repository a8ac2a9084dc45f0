//! `msb run` without a name leaves nothing, however the client ends.

use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use tests::process::Process;
use tests::run::Running;
use tests::{Project, leftovers};

/// How long the removal may take: the guest is shut down first.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

fn folder() -> Project {
    let project = Project::new("");
    project.own_image();
    std::fs::remove_file(project.directory().join("Sandboxfile")).expect("a file can be removed");
    project
}

/// Waits until nothing of a sandbox is left, without asking msb, which would remove it.
fn wait_until_gone(project: &Project) {
    let deadline = Instant::now() + PATIENCE;
    while !leftovers::find(project.home()).is_empty() {
        if Instant::now() > deadline {
            leftovers::assert_none(project.home());
        }
        std::thread::sleep(POLL);
    }
    assert_eq!(sandboxes(project).len(), 0, "the catalog knows it still");
}

fn sandboxes(project: &Project) -> Vec<serde_json::Value> {
    let json = project.ok(&["ps", "--all", "--json"]).json();
    json["sandboxes"].as_array().expect("a list").clone()
}

/// Starts a sandbox and waits until it runs its command; gives the client and the sandbox.
fn start(project: &Project, script: &str) -> (Running, serde_json::Value) {
    let client = project.msb(&["run", "./image", "--", "sh", "-c", script]).start();
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let sandbox = sandboxes(project).pop().filter(|sandbox| sandbox["state"] == "running");
        if let Some(sandbox) = sandbox {
            let name = sandbox["name"].as_str().expect("a name");
            if project.run(&["exec", name, "--", "test", "-e", "/begun"]).code == 0 {
                return (client, sandbox);
            }
        }
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(POLL);
    }
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid is not 0"), signal).expect("it can be signalled");
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let project = folder();
    let line = "msb run ./image -- sh -c 'while :; do echo y; done' | head -n 1";
    project.shell(line).run().ok().prints("y\n");
    wait_until_gone(&project);
}

#[test]
fn signals_that_end_the_client_end_it() {
    for kind in [Signal::HUP, Signal::KILL] {
        let project = folder();
        let (client, _) = start(&project, "touch /begun; sleep 1000000");
        signal(client.pid(), kind);
        assert_eq!(client.finish().code, 128 + kind.as_raw());
        wait_until_gone(&project);
    }
}

#[test]
fn a_third_interrupt_and_a_second_sigterm_end_it_though_the_guest_hangs() {
    for (kind, times) in [(Signal::INT, 3), (Signal::TERM, 2)] {
        let project = folder();
        let (client, sandbox) = start(&project, "touch /begun; trap '' INT TERM; sleep 1000000");
        let vmm = sandbox["vmm_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("it has one");
        signal(vmm, Signal::STOP);
        for _ in 0..times {
            signal(client.pid(), kind);
            // Two that come at once are one.
            std::thread::sleep(Duration::from_millis(300));
        }
        assert_eq!(client.finish().code, 128 + kind.as_raw());
        wait_until_gone(&project);
    }
}

#[test]
fn what_was_killed_together_with_its_supervisor_is_removed_by_the_next_msb() {
    let project = folder();
    let (client, sandbox) = start(&project, "touch /begun; sleep 1000000");
    let supervisor = sandbox["supervisor_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let supervisor = Process::find(supervisor.expect("it has one")).expect("it lives");
    signal(client.pid(), Signal::STOP);
    supervisor.kill();
    signal(client.pid(), Signal::KILL);
    client.finish();
    assert_eq!(sandboxes(&project).len(), 0);
    leftovers::assert_none(project.home());
}

#[test]
fn one_that_was_there_before_is_not_removed() {
    let project = folder();
    project.ok(&["create", "./image", "--name", "kept"]);
    let boot = project.boot_id("kept");
    project.run(&["run", "--rm", "--name", "kept", "./image", "--", "true"]).exits(1).says("already");
    assert_eq!(project.boot_id("kept"), boot);
    // One that takes the place of one that was to be removed stays.
    project.ok(&["run", "--rm", "--replace", "--name", "kept", "./image", "--", "true"]);
    project.ok(&["run", "--name", "kept", "./image", "--", "true"]);
    assert_eq!(sandboxes(&project).len(), 1);
    project.ok(&["rm", "-f", "kept"]);
    leftovers::assert_none(project.home());
}
