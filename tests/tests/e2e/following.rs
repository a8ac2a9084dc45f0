//! Followers continue after a restart or a replacement of the sandbox.

use tests::Project;

const SANDBOXFILE: &str = r#"
project "follow"
sandbox "w" {
    image "@image"
    env { LIFE "first" }
    start "sh" "-c" "echo $$LIFE life; exec sleep 1000000"
}
"#;

#[test]
fn up_and_logs_continue_after_a_restart() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    let mut up = project.msb(&["up"]).live();
    // It prints no earlier output.
    up.until("following the logs");
    let mut logs = project.msb(&["logs", "-f", "w"]).live();
    logs.until("first life");
    project.ok(&["restart", "w"]);
    up.until("first life");
    logs.until("first life");
    let file = project.directory().join("Sandboxfile");
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, text.replace("first", "second")).expect("it can be written");
    project.up();
    up.until("second life");
    logs.until("second life");
    project.ok(&["stop", "w"]);
    for follower in [up, logs] {
        assert_eq!(follower.wait(), Some(0), "it ends with the sandbox");
    }
    project.down();
}

#[test]
fn logs_continue_after_a_replacement() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    let mut logs = project.msb(&["logs", "-f", "w"]).live();
    logs.until("first life");
    let file = project.directory().join("test-image/etc/replaced");
    std::fs::write(file, "another image").expect("it can be written");
    project.up_yes();
    logs.until("first life");
    assert_eq!(logs.interrupt(), Some(130));
    project.down();
}
