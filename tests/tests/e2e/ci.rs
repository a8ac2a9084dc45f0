//! Where nobody watches: what is asked elsewhere needs `--yes`, and what is told is told to machines.

use serde_json::Value;
use std::fs;
use tests::Project;

const ONE: &str = "project \"ci\"\nsandbox \"web\" { image \"./image\" }\n";

#[test]
fn data_is_destroyed_only_where_that_was_said() {
    let project = Project::new(ONE);
    let image = project.own_image();
    // Nothing is lost by what is made anew.
    project.up();
    project.exec("web", &["sh", "-c", "echo here >/var/log/mark"]);

    std::fs::write(image.join("etc/motd"), "changed\n").expect("the image can be written to");
    let refused = project.run(&["up", "-d"]).exits(1).prints("");
    refused.says("this destroys data").says("the writable disk of web (image changed)").says("--yes");
    assert_eq!(project.exec("web", &["cat", "/var/log/mark"]), "here");
    project.ok(&["up", "-d", "-y"]);
    project.run(&["exec", "web", "--", "test", "-e", "/var/log/mark"]).exits(1);

    // What left the file is lost as well, unless it is kept.
    project.write("Sandboxfile", &ONE.replace("web", "other"));
    project.run(&["up", "-d"]).exits(1).says("the writable disk of web (no longer in the Sandboxfile)");
    assert_eq!(project.exec("web", &["cat", "/etc/motd"]), "changed");
    project.ok(&["up", "-d", "--keep-orphans"]);
    project.ok(&["up", "-d", "--yes"]);
    project.run(&["exec", "web", "--", "true"]).exits(1);
    // Whoever says `down` means it.
    project.down();
}

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
const WRONG: &str = "sandbox \"wäb\" {\n    image \"@image\"\n}\nsandbox \"web\" {\n    image \"@image\"\n    memory 512\n}\n";

/// The lines of an event stream; each is JSON, with what every one of them has.
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

/// Which event, and of which step.
fn kinds(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events.iter().map(|event| (text(&event["event"]), text(&event["step"]))).collect()
}

#[test]
fn what_happens_is_a_stream_of_events() {
    let project = Project::new(TWO);
    let run = project.ok(&["up", "--json", "--wait", "--progress", "plain"]).says("web started");
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

    // Nothing to do is one line; as progress it takes the place of all talk.
    let again = project.ok(&["up", "--progress", "json"]);
    assert_eq!(again.err(), "");
    let stream = events(again.out());
    assert_eq!((stream.len(), &stream[0]["changes"]), (1, &false.into()));

    let down = events(project.ok(&["down", "--json"]).out());
    assert_eq!(down.last().expect("there is a last line")["command"], "down");
    assert!(down.iter().any(|event| event["event"] == "step_succeeded"));
    project.down();
}

#[test]
fn a_failure_is_told_to_every_machine() {
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
    // What the job printed must not become a command of the runner.
    let commands: Vec<_> = run.err().lines().filter(|line| line.trim_start().starts_with("::")).collect();
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert!(commands[0].starts_with("::error title=check completed::"), "{commands:?}");
    project.down();
}

#[test]
fn what_is_wrong_with_a_file_is_told_in_every_format() {
    let project = Project::new(WRONG);
    let document = project.run(&["validate", "--format", "json"]).exits(1).json();
    assert_eq!((&document["version"], &document["valid"]), (&1.into(), &false.into()));
    let found = document["diagnostics"].as_array().cloned().unwrap_or_default();
    assert_eq!(found.len(), 2, "{document:#}");
    let memory = &found[1];
    assert_eq!(memory["file"], "Sandboxfile");
    let label = &memory["labels"][0];
    let place =
        ["line", "column", "end_line", "end_column"].map(|key| label[key].as_u64().unwrap_or_default());
    assert_eq!(place, [6, 12, 6, 15]);
    let text = std::fs::read_to_string(project.directory().join("Sandboxfile")).expect("it was just written");
    let bytes = [0, 1].map(|end| label["bytes"][end].as_u64().and_then(|at| usize::try_from(at).ok()));
    assert_eq!(&text[bytes[0].expect("a number")..bytes[1].expect("a number")], "512");
    assert!(memory["help"].as_str().is_some_and(|help| help.contains("512M")), "{memory}");

    let github = project.run(&["validate", "--format", "github"]).exits(1);
    let lines: Vec<_> = github.out().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[1].starts_with("::error file=Sandboxfile,line=6,endLine=6,col=12,endColumn=14,title=msb%3A%3A")
    );

    let gitlab = project.run(&["validate", "--format", "gitlab"]).exits(1).json();
    assert_eq!(gitlab[1]["location"]["lines"]["begin"], 6);
    // The path is the repository's.
    let root = project.directory().parent().expect("the project lies in a folder").to_owned();
    let gitlab = project.msb(&["plan", "--report", "gitlab-codequality=q.json"]).env("CI_PROJECT_DIR", &root);
    gitlab.run().exits(1).says("× ");
    let text = std::fs::read_to_string(project.directory().join("q.json")).expect("it was written");
    let issues: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(issues[0]["location"]["path"], "project/Sandboxfile");

    // On GitHub, every command that reads the file tells of it there.
    for command in ["config", "plan", "validate"] {
        let run = project.msb(&[command]).env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", &root).run();
        run.exits(1).says("::error file=project/Sandboxfile,line=1,").says("× ");
    }

    project.write("Sandboxfile", TWO);
    let document = project.ok(&["validate", "--format", "json"]).json();
    assert_eq!((&document["valid"], &document["project"]), (&true.into(), &"ci".into()));
    assert_eq!(project.ok(&["validate", "--json"]).json(), document);
    assert_eq!(project.ok(&["validate", "--format", "gitlab"]).json(), serde_json::json!([]));
    project.ok(&["validate", "--format", "github"]).prints("");
}

#[test]
fn a_plan_says_whether_there_are_changes() {
    let project = Project::new(TWO);
    let [summary, output] = ["summary", "output"].map(|name| project.directory().join(name));
    let plan = |arguments: &[&str]| {
        let msb = project.msb(arguments).env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", &output);
        msb.env("GITHUB_STEP_SUMMARY", &summary).run().ok()
    };
    plan(&["plan", "--report", "gitlab-terraform=tf.json", "--report", "github-summary=own.md"]);
    let read = |path: &str| std::fs::read_to_string(project.directory().join(path)).expect("it was written");
    assert_eq!(read("tf.json"), "{\"create\":2,\"delete\":0,\"update\":0}\n");
    assert!(read("own.md").starts_with("### msb plan: ci\n"), "{}", read("own.md"));
    assert!(read("summary").contains("| create | web |"), "{}", read("summary"));
    project.write(
        "Sandboxfile",
        "project \"ci\"\nsandbox \"web\" { image \"@image\"; start \"sleep\" \"1000\" }\n",
    );
    project.up();
    plan(&["plan"]);
    assert_eq!(read("output"), "changes=true\ndestroys=false\nchanges=false\ndestroys=false\n");
    project.down();

    // What cannot be written is told before anything is done.
    project.run(&["up", "-d", "--report", "junit=Sandboxfile/x"]).exits(1).says("cannot write the report");
    project.run(&["plan", "--report", "junit=x"]).exits(64).says("gitlab-terraform");
    project.run(&["plan", "--report", "xml=x"]).exits(64).says("junit");
    tests::leftovers::assert_none(project.home());
}

#[test]
fn a_long_step_gives_a_sign_of_life() {
    let project = Project::new(TWO);
    let run = project.ok(&["up", "-d", "--wait", "--heartbeat", "20ms"]).says("… not yet: ");
    assert!(run.err().contains("web started ("), "{}", run.err());
    project.ok(&["down", "--heartbeat", "0s"]);
    project.down();
}

/// A name of a folder that clears a screen, turns text around and is a command to GitHub's runner.
const HOSTILE: &str = "a\n::stop-commands::x\u{1b}[2J\u{202e}\u{61c}\u{2028}b";

#[test]
fn the_path_of_an_image_steers_neither_terminal_nor_runner() {
    let kdl = "project \"p\"\nsandbox \"web\" { image \"./a\\n::stop-commands::x\\u{1b}[2J\\u{202e}\\u{61c}\\u{2028}b\" }\n";
    let yaml = "project: p\nsandboxes:\n  web: { image: \"./a\\n::stop-commands::x\\e[2J\\u202e\\u061c\\u2028b\" }\n";
    for (name, text) in [("Sandboxfile", kdl), ("Sandboxfile.yaml", yaml)] {
        let project = Project::new("");
        fs::remove_file(project.directory().join("Sandboxfile")).expect("it is there");
        project.write(name, text);
        let run = |arguments: &[&str]| {
            let run = project.msb(arguments).env("GITHUB_ACTIONS", "true").run();
            for shown in [run.out(), run.err()] {
                let steers = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{61c}\u{2028}".contains(c);
                assert!(!shown.contains(steers), "{arguments:?}: {shown:?}");
                let commands: Vec<_> =
                    shown.lines().filter(|line| line.trim_start().starts_with("::")).collect();
                let own = |line: &&str| line.starts_with("::error ") || line.starts_with("::warning ");
                assert!(commands.iter().all(own), "{arguments:?}: {commands:?}");
            }
            run
        };
        // There is no such image.
        run(&["validate"]).exits(1);
        run(&["plan"]).exits(1);
        run(&["image", "inspect", &format!("./{HOSTILE}")]).exits(1);
        let image = project.own_image();
        fs::rename(image, project.directory().join(HOSTILE)).expect("it can be renamed");
        run(&["plan"]).ok();
        run(&["up", "-d", "--no-start"]).ok().says("image");
        run(&["ps", "-a"]).ok().prints_some("::stop-commands::x");
        run(&["inspect", "web"]).ok();
        run(&["config", "--explain", "web.image"]).ok().prints_some("::stop-commands::x");
        run(&["image", "inspect", &format!("./{HOSTILE}")]).ok();
        // It fails in the middle of a plan, too.
        project.write(name, &text.replace("x\\", "y\\"));
        run(&["up", "-d"]).exits(1);
        run(&["down"]).ok();
    }
}
