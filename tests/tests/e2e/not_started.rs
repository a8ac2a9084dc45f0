//! Main processes that cannot be started: every command reports the reason.

use tests::Project;

const SANDBOXFILE: &str = r##"
sandbox "missing" { image "@image"; start "nosuch" "x" }
sandbox "plain" { image "@image"; start "/etc/passwd" }
sandbox "script" { image "@image"; script "serve" raw=#true "#!/bin/nosuch -e\n"; start "serve" }
sandbox "lost" { image "@image"; workdir "/etc/passwd"; start "true" }
sandbox "nobody" { image "@image"; user "ghost"; start "true" }
"##;

/// The sandboxes with exit codes and reasons.
const REASONS: [(&str, i32, &str); 4] = [
    ("missing", 127, r#"exec: "nosuch": not found in $PATH (ENOENT)"#),
    ("plain", 126, r#"exec: "/etc/passwd": permission denied: the file is not executable (EACCES)"#),
    ("script", 127, r#"exec: "serve": its interpreter "/bin/nosuch" was not found (ENOENT)"#),
    ("nobody", 126, "there is no user 'ghost' in the sandbox's /etc/passwd"),
];

#[test]
fn up_logs_events_ps_inspect_and_wait_report_the_reason() {
    let project = Project::new(SANDBOXFILE);
    let up = project.run(&["up", "-d", "--wait"]).exits(1);
    let listed = project.ok(&["ps"]);
    for (name, code, reason) in REASONS {
        let reported = format!("{name} did not start: {reason}");
        if !up.err().contains(&reported) {
            up.fail(&format!("expected {reported:?} in stderr"));
        }
        project.ok(&["logs", name]).prints(&format!("msb: did not start: {reason}\n"));
        project.ok(&["events", name]).prints_some(&format!("did not start: {reason}"));
        let begin: String = reason.chars().take(60).collect();
        if !listed.out().contains(&format!("not started: {begin}")) {
            listed.fail(&format!("expected the reason of {name}"));
        }
        let exit = &project.inspect(name)["last_exit"];
        assert_eq!((&exit["kind"], &exit["code"]), (&"not_started".into(), &code.into()), "{name}");
        assert_eq!(exit["message"], reason, "{name}");
        project.run(&["wait", name]).exits(code).says(reason);
    }
    // The reason of a failed boot.
    let reason = "the guest could not come up: cannot make the working directory '/etc/passwd': File exists";
    if !up.err().contains(&format!("lost: {reason}")) {
        up.fail("expected the reason of lost in stderr");
    }
    project.ok(&["logs", "lost"]).prints_some(&format!("msb: {reason}"));
    project.ok(&["events", "lost"]).prints_some(&format!("failed: {reason}"));
    listed.prints_some("failed: the guest could not come up");
    project.down();
}
