//! `kill -9` of everything that can be killed: the next `up` converges, and `down` leaves nothing.

use std::time::{Duration, Instant};
use tests::Project;
use tests::process::{self, Process};

const SANDBOXFILE: &str = r#"
project "crash"
sandbox "first" { image "@image"; start "sleep" "1000000"; healthcheck { exec "true" } }
sandbox "second" { image "@image"; start "sleep" "1000000"; depends-on "first" condition="healthy" }
job "once" { image "@image"; start "true" }
"#;

/// When `up` is killed, in ms after its start: from before its first write to after its last.
const MOMENTS_MS: [u64; 8] = [5, 20, 50, 120, 300, 700, 1_500, 3_000];

fn assert_whole(project: &Project) {
    project.up();
    assert_eq!(project.exec("first", &["hostname"]), "first");
    assert_eq!(project.exec("second", &["hostname"]), "second");
    project.ok(&["up", "-d"]).says("nothing to do");
}

/// Starts `up` and kills it after a while.
fn kill_up(project: &Project, after_ms: u64) {
    let mut child = project.msb(&["up", "-d", "--wait"]).spawn();
    std::thread::sleep(Duration::from_millis(after_ms));
    let _ = child.kill();
    child.wait().expect("a child can be waited for");
}

#[test]
fn up_killed_at_any_moment_is_brought_to_the_end_by_the_next() {
    let project = Project::new(SANDBOXFILE);
    for after_ms in MOMENTS_MS {
        kill_up(&project, after_ms);
    }
    assert_whole(&project);
    project.down();
}

#[test]
fn up_killed_at_any_moment_is_undone_by_down() {
    for after_ms in [20, 120, 400, 1_000] {
        let project = Project::new(SANDBOXFILE);
        kill_up(&project, after_ms);
        project.down();
    }
}

/// Runs msb so that it dies behind its n-th write to the catalog; false when it came to its end before.
fn dies_behind_write(project: &Project, write: u32, arguments: &[&str]) -> bool {
    let run = project.msb(arguments).env("MSB_FAILPOINT", format!("journal:{write}")).run();
    match run.code {
        0 => false,
        KILLED => true,
        _ => run.fail("it was to die or to come to its end"),
    }
}

/// 128 + SIGKILL.
const KILLED: i32 = 137;

/// Everything is as declared, and there is one of each: a supervisor and a machine for each sandbox that runs.
fn assert_settled(project: &Project, running: usize) {
    project.ok(&["plan", "--detailed-exitcode"]);
    let deadline = Instant::now() + PATIENCE;
    // A finished job's supervisor may be on its way out.
    while process::of_home(project.home()).len() > 2 * running && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let processes = process::of_home(project.home());
    let shown: Vec<_> = processes.iter().map(|process| process::describe(process.pid)).collect();
    assert_eq!(processes.len(), 2 * running, "{shown:#?}");
}

/// How long a process may be on its way out.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn up_that_dies_behind_any_write_is_brought_to_the_end_or_taken_down() {
    let project = Project::new(SANDBOXFILE);
    let mut write = 1;
    while dies_behind_write(&project, write, &["up", "-d", "--wait"]) {
        // Bringing it up takes several boots, taking it down none.
        if write % 4 == 0 {
            project.up();
            assert_settled(&project, 2);
        }
        project.down();
        write += 1;
    }
    assert_settled(&project, 2);
    assert!(write > 15, "only {write} writes");
    project.down();
}

#[test]
fn down_that_dies_behind_any_write_is_finished_by_the_next_or_brought_up_again() {
    let project = Project::new(
        r#"
        project "crash"
        sandbox "first" { image "@image"; start "sleep" "1000000"; }
        sandbox "second" { image "@image"; start "sleep" "1000000"; depends-on "first" condition="started" }
        "#,
    );
    let down = ["down", "--timeout", "2s"];
    let mut write = 1;
    project.up();
    while dies_behind_write(&project, write, &down) {
        // To come up again would take over what is left, so whether anything is, only `down` shows.
        project.down();
        project.up();
        if write % 3 == 0 {
            dies_behind_write(&project, write, &down);
            project.up();
            assert_settled(&project, 2);
        }
        write += 1;
    }
    tests::leftovers::assert_none(project.home());
    assert!(write > 6, "only {write} writes");
}

#[test]
fn a_killed_supervisor_leaves_no_machine_and_the_next_up_starts_it() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    let before = project.processes("first");
    before.supervisor.kill();
    // Its machine must not go on without it.
    before.vmm.wait_for_end();
    assert_eq!(project.run(&["plan", "--detailed-exitcode"]).code, 2);
    assert_whole(&project);
    assert_ne!(project.processes("first"), before);

    // Killed, and taken down without an `up` in between.
    project.processes("second").supervisor.kill();
    project.down();
}

#[test]
fn a_killed_machine_is_told_and_the_next_up_starts_it() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    let before = project.processes("first");
    before.vmm.kill();
    // Without a restart policy the sandbox stays ended, and its supervisor goes with it.
    before.supervisor.wait_for_end();
    assert_eq!(project.run(&["plan", "--detailed-exitcode"]).code, 2);
    assert_whole(&project);
    project.down();
}

#[test]
fn a_killed_machine_comes_back_under_its_restart_policy() {
    let project =
        Project::new(&SANDBOXFILE.replace("sandbox \"first\" {", "sandbox \"first\" { restart \"always\";"));
    project.up();
    let before = project.processes("first");
    let boot = project.boot_id("first");
    before.vmm.kill();
    project.ok(&["up", "-d", "--wait"]);
    assert_ne!(project.boot_id("first"), boot);
    let after = project.processes("first");
    assert_eq!(after.supervisor, before.supervisor);
    assert!(Process::find(after.vmm.pid).is_some() && after.vmm != before.vmm);
    project.down();
}
