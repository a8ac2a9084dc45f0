//! Hooks run inside the sandbox: after each start and before an orderly stop.

use tests::Project;
use tests::process::{Signal, signal};

fn file(post_start: &str, pre_stop: &str) -> String {
    format!(
        "project \"shop\"\nsandbox \"web\" {{\n    image \"@image\"\n    user \"1000:1000\"\n    \
         hook \"post-start\" \"sh\" \"-c\" \"{post_start}\"\n    hook \"pre-stop\" \"sh\" \"-c\" \"{pre_stop}\"\n}}\n"
    )
}

#[test]
fn hooks_run_once_per_start_as_the_sandboxs_user() {
    let project = Project::new(&file("id -u; echo x >> /tmp/hooks", "exit 9"));
    project.up();
    project.up();
    assert_eq!(project.exec("web", &["cat", "/tmp/hooks"]), "x");
    project.ok(&["logs", "web"]).prints_some("1000");
    // A failing pre-stop hook is reported and does not prevent the removal.
    project.ok(&["down"]).says("the pre-stop hook of web exited with code 9");
    tests::leftovers::assert_none(project.home());
}

#[test]
fn a_failing_hook_fails_up_and_is_repeated() {
    let project = Project::new(&file("echo no luck >&2; exit 3", "true"));
    for _ in 0..2 {
        let failed = project.run(&["up", "-d", "--wait"]).exits(1);
        failed.says("the post-start hook of web exited with code 3").says("no luck");
    }
    project.down();
}

#[test]
fn a_hanging_hook_does_not_prevent_removal() {
    // A hook that ignores signals.
    let project =
        Project::new(&file("true", "trap '' TERM INT HUP; echo hanging; while true; do sleep 1; done"));
    project.up();
    let reported = project.ok(&["down", "--timeout", "2s"]);
    reported.says("the pre-stop hook of web did not end within 2s").says("hanging").says("removed 1 sandbox");
    tests::leftovers::assert_none(project.home());
}

#[test]
fn a_hung_guest_does_not_prevent_removal() {
    let project = Project::new(&file("true", "echo bye"));
    project.up();
    signal(project.processes("web").vmm.pid, Signal::STOP);
    let reported = project.ok(&["down", "--timeout", "1s"]);
    reported.says("the pre-stop hook of web did not end within 1s").says("removed 1 sandbox");
    tests::leftovers::assert_none(project.home());
}
