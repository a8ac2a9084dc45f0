//! Logs that are off or limited: output reaches followers, and no file.

use std::fs;
use tests::Project;

fn sandboxfile(logs: &str) -> String {
    format!(
        r#"
project "quiet"
sandbox "web" {{
    image "@image"
    memory "128M"
    script "talk" """
        echo "begins with canary-main"
        echo "complains of canary-main" >&2
        while true; do test -e /tmp/go && echo "goes on with canary-main"; sleep 1; done
        """
    start "talk"
    {logs}
}}
"#
    )
}

/// Returns the contents of the log files whose names have this prefix.
fn written(project: &Project, prefix: &str) -> String {
    let read = |path| String::from_utf8_lossy(&fs::read(path).expect("a log")).into_owned();
    project.log_files("web", prefix).iter().map(read).collect()
}

#[test]
fn output_that_is_not_captured_reaches_followers_only() {
    let project = Project::new(&sandboxfile(r#"logs { capture "off" }"#));
    // `up` prints the output from its beginning.
    let mut up = project.msb(&["up"]).live();
    let mut heard = up.until("begins with canary-main");
    let boot = project.boot_id("web");
    let printed = project.exec("web", &["sh", "-c", "touch /tmp/go; echo canary-exec; echo canary-err >&2"]);
    assert_eq!(printed, "canary-exec");
    heard.extend(up.until("goes on with canary-main"));
    for line in ["web | complains of canary-main", "web | canary-exec", "web | canary-err"] {
        assert!(heard.iter().any(|heard| heard == line), "{line}: {heard:?}");
    }
    let said = project.ok(&["logs", "web"]);
    said.prints("").says("capture is off for web");
    let system = project.ok(&["logs", "web", "--source", "system"]);
    assert!(
        system.out().contains("capture is off") && system.out().contains("guest ready"),
        "{}",
        system.out()
    );
    assert!(!system.err().contains("capture is off"), "{}", system.err());
    assert!(!written(&project, "").contains("canary"), "{}", written(&project, ""));

    // Limited capture, turned on while it runs.
    project.write("Sandboxfile", &sandboxfile(r#"logs { capture "on"; max-size "64K"; keep 0 }"#));
    let plan = project.ok(&["plan", "--json"]).json();
    let fields = plan["report"]["changes"][0]["fields"].as_array().cloned().unwrap_or_default();
    let fields: Vec<_> =
        fields.iter().map(|field| (field["field"].as_str(), field["kind"].as_str())).collect();
    let live = Some("live");
    assert_eq!(
        fields,
        [(Some("logs.capture"), live), (Some("logs.keep"), live), (Some("logs.max-size"), live)]
    );
    project.up();
    assert_eq!(project.boot_id("web"), boot);
    project.wait_for_output(&["logs", "web"], "goes on with canary-main");
    project.exec(
        "web",
        &["sh", "-c", "n=0; while [ $n -lt 3000 ]; do echo line number $n, which is long; n=$((n+1)); done"],
    );
    let files = project.log_files("web", "exec.log.0");
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].metadata().expect("a log").len() <= 128 * 1024);

    // Off again: captured lines stay, new ones are not added.
    project.write("Sandboxfile", &sandboxfile(r#"logs { capture "off" }"#));
    project.up();
    project.exec("web", &["echo", "canary-late"]);
    assert!(!written(&project, "exec.log").contains("canary-late"));

    up.until("line number 2999");
    up.until("canary-late");
    assert_eq!(up.interrupt(), Some(130));
    project.down();
}
