//! Limits of the time that a sandbox runs, and the states of those that failed.

use tests::Project;

#[test]
fn limits_of_time_end_sandboxes_for_good() {
    let project = Project::new(
        r#"
        project "limits"
        sandbox "idle" { image "@image"; start "sleep" "1000000"; restart "always"; idle-timeout "3s" }
        sandbox "used" { image "@image"; start "sleep" "1000000"; idle-timeout "3s"; max-duration "1h" }
        job "slow" { image "@image"; start "sleep" "1000000"; restart "on-failure"; max-duration "3s" }
        "#,
    );
    project.ok(&["up", "-d"]);
    let using = project.msb(&["exec", "used", "--", "sleep", "1000000"]).start();
    project.run(&["wait", "slow"]).exits(124).says("its max-duration of 3s is over");
    project.run(&["wait", "idle"]).exits(124).says("it was idle for 3s");
    project.wait_for_output(&["ps"], "stopped (idle for 3s)");
    project.ok(&["ps"]).prints_some("stopped (max-duration of 3s is over)");
    project.ok(&["events", "idle"]).prints_some("was stopped: it was idle for 3s");
    let exit = &project.inspect("slow")["exit"];
    assert_eq!(
        (&exit["kind"], &exit["limit"], &exit["ms"]),
        (&"limit".into(), &"max_duration".into(), &3000.into())
    );
    // What is used is not idle, and a change is followed.
    let boot = project.boot_id("used");
    project.write(
        "Sandboxfile",
        "project \"limits\"\nsandbox \"used\" { image \"@image\"; start \"sleep\" \"1000000\"; max-duration \"1h\" }\n",
    );
    project.ok(&["plan"]).prints_some("idle-timeout").prints_some("(live)");
    project.up_yes();
    assert_eq!(project.boot_id("used"), boot);
    project.ok(&["kill", "used"]);
    using.finish().exits(1);
    project.down();
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    let project = Project::new("");
    project.own_image();
    project
        .run(&["run", "--max-duration", "3s", "./image", "--", "sleep", "1000000"])
        .exits(124)
        .says("max-duration of 3s");
}

#[test]
fn failures_are_told_apart() {
    let project = Project::new(
        r#"
        project "failures"
        sandbox "panic" { image "@image"; start "sh" "-c" "sleep 1; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 1000000" }
        sandbox "greedy" { image "@image"; memory "128M"; start "sh" "-c" "exec tail /dev/zero" }
        sandbox "crash" { image "@image"; start "sleep" "1000000" }
        "#,
    );
    project.ok(&["up", "-d"]);
    project.processes("crash").vmm.kill();
    project.wait_for_output(&["ps"], "failed (the VM's process crashed)");
    project.wait_for_output(&["ps"], "failed (its kernel panicked)");
    project.wait_for_output(&["ps"], "exited (137, out of memory)");
    assert_eq!(project.inspect("panic")["exit"]["cause"], "guest_panic");
    assert_eq!(project.inspect("crash")["exit"]["cause"], "vm_crash");
    assert_eq!(project.inspect("greedy")["oom_killed"], true);
    project.ok(&["inspect", "panic"]).prints_some("sysrq triggered crash");
    project.down();
}
