//! Results for CI systems: event streams and reports.

use serde_json::Value;
use tests::Project;

const TWO: &str = r#"
project "ci"
sandbox "web" { image "@image"; start "sleep" "1000" }
job "check" { image "@image"; depends-on "web"; start "sh" "-c" "exit 0" }
"#;
const FAILS: &str = r#"
project "ci"
sandbox "web" { image "@image"; start "sleep" "1000" }
job "check" { image "@image"; depends-on "web"; start "sh" "-c" "echo '::error::<broken> & gone'; exit 3" }
sandbox "late" { image "@image"; depends-on "check" condition="completed" }
"#;

/// Parses an event stream and checks the fields common to all events.
fn events(stdout: &str) -> Vec<Value> {
    let lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    for line in &lines {
        assert_eq!(line["version"], 2, "{line}");
        let time = line["time"].as_str().unwrap_or_default();
        assert!(time.contains('T') && time.ends_with('Z'), "{line}");
    }
    lines
}

/// Returns each event's kind and step.
fn kinds(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| (text(&event["event"]), text(&event["step"]))).collect()
}

#[test]
fn up_and_down_print_event_streams() {
    let project = Project::new(TWO);
    let up = ["up", "--json", "--wait", "--progress", "plain", "--heartbeat", "20ms"];
    let run = project.ok(&up).says("web started").says("… not yet: ");
    assert!(run.err().contains("web started ("), "{}", run.err());
    let stream = events(run.out());
    let kinds = kinds(&stream);
    let at = |kind: &str, step: &str| {
        let found = kinds.iter().position(|(a, b)| a == kind && b == step);
        found.unwrap_or_else(|| panic!("no {kind} {step} in {kinds:?}"))
    };
    assert_eq!(at("plan", ""), 0);
    assert!(at("step_began", "start/web") < at("step_succeeded", "start/web"));
    assert!(at("step_succeeded", "start/web") < at("step_began", "start/check"));
    assert_eq!(at("finished", ""), kinds.len() - 1);
    let step =
        stream[0]["steps"].as_array().and_then(|steps| steps.iter().find(|step| step["step"] == "start/web"));
    assert_eq!(step.expect("the plan names its steps")["title"], "web started");
    let last = stream.last().expect("there is a last line");
    assert_eq!((&last["ok"], &last["exit_code"], &last["changes"]), (&true.into(), &0.into(), &true.into()));
    assert_eq!(last["steps"]["failed"], 0);
    assert_eq!(last["report"]["changes"].as_array().map(Vec::len), Some(2));

    // Without changes it is a single event; with `--progress json` nothing else is printed.
    let again = project.ok(&["up", "--progress", "json"]);
    assert_eq!(again.err(), "");
    let stream = events(again.out());
    assert_eq!((stream.len(), &stream[0]["changes"]), (1, &false.into()));

    let outputs = project.directory().join("outputs");
    project.msb(&["plan"]).env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", &outputs).run().ok();
    let outputs = std::fs::read_to_string(outputs).expect("it was written");
    assert_eq!(outputs, "changes=false\ndestroys=false\n");

    let down = events(project.ok(&["down", "--json", "--heartbeat", "0s"]).out());
    assert_eq!(down.last().expect("there is a last line")["command"], "down");
    assert!(down.iter().any(|event| event["event"] == "step_succeeded"));
    project.down();
}

#[test]
fn a_failure_is_in_every_report() {
    let project = Project::new(FAILS);
    let [summary, output] = ["summary", "output"].map(|name| project.directory().join(name));
    let run = project
        .msb(&[
            "up",
            "--json",
            "--wait",
            "--report",
            "junit=out/junit.xml",
            "--report",
            "gitlab-terraform=tf.json",
        ])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .env("GITHUB_OUTPUT", &output)
        .run()
        .exits(1);
    let stream = events(run.out());
    let failed = stream.iter().find(|event| event["event"] == "step_failed").expect("a step has failed");
    assert_eq!(failed["step"], "wait/check/completed", "{failed}");
    let skipped = stream.iter().find(|event| event["event"] == "step_skipped").expect("a step is skipped");
    assert_eq!(skipped["because"], failed["step"]);
    let last = stream.last().expect("there is a last line");
    assert_eq!(
        (&last["event"], &last["ok"], &last["exit_code"]),
        (&"finished".into(), &false.into(), &1.into())
    );

    let read = |path: &str| std::fs::read_to_string(project.directory().join(path)).expect("it was written");
    let junit = read("out/junit.xml");
    assert!(junit.contains("<testcase classname=\"ci.web\" name=\"web started\" time="), "{junit}");
    assert!(
        junit.contains("name=\"check completed\"") && junit.contains("&lt;broken&gt; &amp; gone"),
        "{junit}"
    );
    assert!(junit.contains("<skipped message=\"because of check completed\"/>"), "{junit}");
    assert_eq!(read("tf.json"), "{\"create\":3,\"delete\":0,\"update\":0}\n");
    let summary = read("summary");
    assert!(
        summary.contains("| create | web |") && summary.contains("| check completed | ❌ failed |"),
        "{summary}"
    );
    assert_eq!(read("output"), "changes=true\ndestroys=false\n");
    // The job's output must not become a command of the runner.
    let commands: Vec<_> = run.err().lines().filter(|line| line.trim_start().starts_with("::")).collect();
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert!(commands[0].starts_with("::error title=check completed::"), "{commands:?}");
    project.down();
}
