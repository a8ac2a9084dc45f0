//! Logs that are switched off, or kept smaller than others: what is printed is passed on, and stands in no file.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
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

fn logs(project: &Project) -> PathBuf {
    let folder = fs::read_dir(project.home().join("sandboxes")).expect("there are sandboxes").next();
    folder.expect("there is one").expect("it can be read").path().join("logs")
}

/// All that stands in the files of a log.
fn written(project: &Project, log: &str) -> String {
    let files = fs::read_dir(logs(project)).expect("there are logs").flatten();
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(log));
    files
        .map(|file| String::from_utf8_lossy(&fs::read(file.path()).expect("it can be read")).into_owned())
        .collect()
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_there() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_not_captured_is_passed_on_and_stands_in_no_file() {
    let project = Project::new(&sandboxfile(r#"logs { capture "off" }"#));
    // Who brings it up hears it from its first word on, and goes on hearing it.
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

    // Captured again, and kept small, while it runs.
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
    wait_for("what is captured", || project.ok(&["logs", "web"]).out().contains("goes on with canary-main"));
    project.exec(
        "web",
        &["sh", "-c", "n=0; while [ $n -lt 3000 ]; do echo line number $n, which is long; n=$((n+1)); done"],
    );
    let files = fs::read_dir(logs(&project)).expect("there are logs").flatten();
    let files: Vec<_> =
        files.filter(|file| file.file_name().to_string_lossy().starts_with("exec.log.0")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].metadata().expect("it is there").len() <= 128 * 1024);

    // And off again: a session's lines from before stay, what is printed now does not come.
    project.write("Sandboxfile", &sandboxfile(r#"logs { capture "off" }"#));
    project.up();
    project.exec("web", &["echo", "canary-late"]);
    assert!(!written(&project, "exec.log").contains("canary-late"));

    up.until("line number 2999");
    up.until("canary-late");
    assert_eq!(up.interrupt(), Some(130));
    project.down();
}

#[test]
fn a_sandbox_that_is_not_captured_says_so_of_itself() {
    let project = Project::new(&sandboxfile(r#"logs { capture "off"; keep 1 }"#));
    let config = project.ok(&["config"]);
    assert!(
        config.out().contains("logs {\n        capture \"off\"\n        keep 1\n    }"),
        "{}",
        config.out()
    );
    let model: Value = project.ok(&["config", "--format", "json"]).json();
    let logs = &model["sandboxes"][0]["definition"]["logs"];
    assert_eq!(logs, &serde_json::json!({ "capture": "off", "max_size_bytes": null, "keep": 1 }));
    project.write("Sandboxfile", &sandboxfile(r#"logs { capture "none" }"#));
    project.run(&["validate"]).exits(1).says("`capture` cannot be `none`").says("did you mean `off`?");
}
