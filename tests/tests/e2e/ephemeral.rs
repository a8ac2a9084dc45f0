//! `msb run` without a name leaves nothing, whatever ends the client.

use std::time::Duration;
use tests::process::{Process, Signal, signal};
use tests::run::Running;
use tests::wait::retry;
use tests::{Project, leftovers};

fn folder() -> Project {
    let project = Project::new("");
    project.own_image();
    project.remove_sandboxfile();
    project
}

/// Waits until nothing of a sandbox is left, without msb, which would remove it.
fn wait_until_gone(project: &Project) {
    retry(|| {
        let left = leftovers::find(project.home());
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
    assert_eq!(project.list().len(), 0, "the catalog knows it still");
}

/// Starts a sandbox and waits until it runs its command. Returns the client and the sandbox.
fn start(project: &Project, script: &str) -> (Running, serde_json::Value) {
    let client = project.msb(&["run", "./image", "--", "sh", "-c", script]).start();
    let sandbox = retry(|| {
        let running = project.list().pop().filter(|sandbox| sandbox["state"] == "running");
        let sandbox = running.ok_or("it does not run")?;
        let name = sandbox["name"].as_str().expect("a name");
        let has_begun = project.run(&["exec", name, "--", "test", "-e", "/begun"]).code == 0;
        if has_begun { Ok(sandbox) } else { Err("its command has not begun".to_owned()) }
    });
    (client, sandbox)
}

#[test]
fn a_closed_pipe_ends_it() {
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
fn a_third_interrupt_ends_it_with_a_hung_guest() {
    assert_signals_end_it_with_a_hung_guest(Signal::INT, 3);
}

#[test]
fn a_second_sigterm_ends_it_with_a_hung_guest() {
    assert_signals_end_it_with_a_hung_guest(Signal::TERM, 2);
}

fn assert_signals_end_it_with_a_hung_guest(kind: Signal, times: u32) {
    let project = folder();
    let (client, sandbox) = start(&project, "touch /begun; trap '' INT TERM; sleep 1000000");
    let vmm = sandbox["vmm_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("it has one");
    signal(vmm, Signal::STOP);
    for _ in 0..times {
        signal(client.pid(), kind);
        // Two signals at the same time are one.
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(client.finish().code, 128 + kind.as_raw());
    wait_until_gone(&project);
}

#[test]
fn the_next_msb_removes_it_after_a_kill_of_client_and_supervisor() {
    let project = folder();
    let (client, sandbox) = start(&project, "touch /begun; sleep 1000000");
    let supervisor = sandbox["supervisor_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let supervisor = Process::find(supervisor.expect("it has one")).expect("it lives");
    signal(client.pid(), Signal::STOP);
    supervisor.kill();
    signal(client.pid(), Signal::KILL);
    client.finish();
    assert_eq!(project.list().len(), 0);
    leftovers::assert_none(project.home());
}

#[test]
fn an_existing_sandbox_is_not_removed() {
    let project = folder();
    project.ok(&["create", "./image", "--name", "kept"]);
    let boot = project.boot_id("kept");
    project.run(&["run", "--rm", "--name", "kept", "./image", "--", "true"]).exits(7).says("already");
    assert_eq!(project.boot_id("kept"), boot);
    // A sandbox that replaces one of `--rm` stays.
    project.ok(&["run", "--rm", "--replace", "--name", "kept", "./image", "--", "true"]);
    project.ok(&["run", "--name", "kept", "./image", "--", "true"]);
    assert_eq!(project.list().len(), 1);
    project.ok(&["rm", "-f", "kept"]);
    leftovers::assert_none(project.home());
}
