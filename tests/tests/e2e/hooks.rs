//! Hooks run inside the sandbox: once behind each start, and before an orderly stop.

use rustix::process::{Pid, Signal, kill_process};
use tests::Project;

fn file(post_start: &str, pre_stop: &str) -> String {
    format!(
        "project \"shop\"\nsandbox \"web\" {{\n    image \"@image\"\n    user \"1000:1000\"\n    \
         hook \"post-start\" \"sh\" \"-c\" \"{post_start}\"\n    hook \"pre-stop\" \"sh\" \"-c\" \"{pre_stop}\"\n}}\n"
    )
}

#[test]
fn a_hook_runs_once_a_start_as_the_sandboxs_user() {
    let project = Project::new(&file("id -u; echo x >> /tmp/hooks", "exit 9"));
    project.up();
    project.up();
    assert_eq!(project.exec("web", &["cat", "/tmp/hooks"]), "x");
    project.ok(&["logs", "web"]).prints_some("1000");
    // A failing pre-stop hook is told and keeps nothing from being removed.
    project.ok(&["down"]).says("the pre-stop hook of web exited with code 9");
    tests::leftovers::assert_none(project.home());
}

#[test]
fn a_failing_hook_fails_up_and_is_due_again() {
    let project = Project::new(&file("echo no luck >&2; exit 3", "true"));
    let failed = project.run(&["up", "-d", "--wait"]);
    assert_eq!(failed.code, 1);
    let failed = failed.says("the post-start hook of web exited with code 3").says("no luck");
    assert_eq!(project.run(&["up", "-d", "--wait"]).code, failed.code);
    project.down();
}

#[test]
fn a_hook_that_hangs_does_not_keep_a_sandbox_from_going() {
    // Nothing that it could be asked politely makes it end.
    let project =
        Project::new(&file("true", "trap '' TERM INT HUP; echo hanging; while true; do sleep 1; done"));
    project.up();
    let told = project.ok(&["down", "--timeout", "2s"]);
    told.says("the pre-stop hook of web did not end within 2s").says("hanging").says("removed 1 sandbox");
    tests::leftovers::assert_none(project.home());
}

#[test]
fn a_guest_that_hangs_does_not_keep_a_sandbox_from_going() {
    let project = Project::new(&file("true", "echo bye"));
    project.up();
    let machine = Pid::from_raw(project.processes("web").vmm.pid).expect("a pid is not 0");
    kill_process(machine, Signal::STOP).expect("it runs");
    let told = project.ok(&["down", "--timeout", "1s"]);
    told.says("the pre-stop hook of web did not end within 1s").says("removed 1 sandbox");
    tests::leftovers::assert_none(project.home());
}
