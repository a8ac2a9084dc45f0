//! After SIGKILL of any process the next `up` converges, and `down` leaves nothing.

use std::time::Duration;
use tests::wait::retry;
use tests::{Project, process};

const SANDBOXFILE: &str = r#"
project "crash"
sandbox "first" { image "@image"; start "sleep" "1000000"; healthcheck { exec "true" } }
sandbox "second" { image "@image"; start "sleep" "1000000"; depends-on "first" condition="healthy" }
job "once" { image "@image"; start "true" }
"#;

/// The times after its start at which `up` is killed, in ms: from before its first write to after its last.
const MOMENTS_MS: [u64; 8] = [5, 20, 50, 120, 300, 700, 1_500, 3_000];

/// 128 + SIGKILL.
const KILLED: i32 = 137;
/// From one write to the next one that is tried. The executor's tests try every write, without guests.
const STEP: u32 = 2;

/// Brings the project up and asserts that it is complete.
fn assert_up(project: &Project) {
    project.up();
    assert_eq!(project.exec("first", &["hostname"]), "first");
    assert_eq!(project.exec("second", &["hostname"]), "second");
    project.ok(&["up", "-d"]).says("nothing to do");
}

/// Starts `up` and kills it after this time.
fn kill_up(project: &Project, after_ms: u64) {
    let mut child = project.msb(&["up", "-d", "--wait"]).spawn();
    std::thread::sleep(Duration::from_millis(after_ms));
    let _ = child.kill();
    child.wait().expect("a child can be waited for");
}

#[test]
fn up_killed_at_any_time_is_completed_by_the_next_up() {
    let project = Project::new(SANDBOXFILE);
    for after_ms in MOMENTS_MS {
        kill_up(&project, after_ms);
    }
    assert_up(&project);
    project.down();
}

#[test]
fn up_killed_at_any_time_is_undone_by_down() {
    for after_ms in [20, 120, 400, 1_000] {
        let project = Project::new(SANDBOXFILE);
        kill_up(&project, after_ms);
        project.down();
    }
}

/// Runs msb with SIGKILL after its n-th write to the catalog. Returns `false` if it had fewer writes.
fn dies_after_write(project: &Project, write: u32, arguments: &[&str]) -> bool {
    let run = project.msb(arguments).env("MSB_FAILPOINT", format!("journal:{write}")).run();
    match run.code {
        0 => false,
        KILLED => true,
        _ => run.fail("expected its death or its success"),
    }
}

/// Asserts that everything is as declared, with one supervisor and one VM for each running sandbox.
fn assert_settled(project: &Project, running: usize) {
    project.ok(&["plan", "--detailed-exitcode"]);
    // The supervisor of a completed job may be ending.
    retry(|| {
        let processes = process::of_home(project.home());
        let shown: Vec<_> = processes.iter().map(|process| process::describe(process.pid)).collect();
        if shown.len() == 2 * running { Ok(()) } else { Err(format!("{shown:#?}")) }
    });
}

#[test]
fn up_that_dies_after_a_write_is_completed_or_taken_down() {
    let project = Project::new(SANDBOXFILE);
    let mut write = 1;
    while dies_after_write(&project, write, &["up", "-d", "--wait"]) {
        // `up` takes several boots, `down` none.
        if write % 4 == 1 {
            project.up();
            assert_settled(&project, 2);
        }
        project.down();
        write += STEP;
    }
    assert_settled(&project, 2);
    assert!(write > 15, "only {write} writes");
    project.down();
}

#[test]
fn down_that_dies_after_a_write_is_completed_or_brought_up_again() {
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
    while dies_after_write(&project, write, &down) {
        // Only `down` shows whether anything is left: `up` would take it over.
        project.down();
        project.up();
        if write % 3 == 1 {
            dies_after_write(&project, write, &down);
            project.up();
            assert_settled(&project, 2);
        }
        write += STEP;
    }
    tests::leftovers::assert_none(project.home());
    assert!(write > 6, "only {write} writes");
}

#[test]
fn killed_supervisors_and_vmms_are_replaced() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    // A VM does not outlive its supervisor.
    let before = project.processes("first");
    before.supervisor.kill();
    before.vmm.wait_for_end();
    project.run(&["plan", "--detailed-exitcode"]).exits(2);
    assert_up(&project);
    assert_ne!(project.processes("first"), before);

    // Without a restart policy a sandbox whose VM was killed has ended, and its supervisor with it.
    let before = project.processes("first");
    before.vmm.kill();
    before.supervisor.wait_for_end();
    project.run(&["plan", "--detailed-exitcode"]).exits(2);
    assert_up(&project);

    // With a restart policy its supervisor boots another VM.
    project.write("Sandboxfile", &SANDBOXFILE.replace("\"first\" {", "\"first\" { restart \"always\";"));
    project.up();
    let (before, boot) = (project.processes("first"), project.boot_id("first"));
    before.vmm.kill();
    project.up();
    assert_ne!(project.boot_id("first"), boot);
    let after = project.processes("first");
    assert_eq!(after.supervisor, before.supervisor);
    assert_ne!(after.vmm, before.vmm);

    // `down` alone removes a sandbox whose supervisor was killed.
    project.processes("second").supervisor.kill();
    project.down();
}
