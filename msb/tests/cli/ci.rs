//! Reports for CI systems and editors: diagnostics, plans, and texts that steer neither terminal nor runner.

use serde_json::Value;
use std::fs;
use tests::Project;

const TWO: &str = r#"
project "ci"
sandbox "web" { image "@image"; start "sleep" "1000" }
job "check" { image "@image"; depends-on "web"; start "sh" "-c" "exit 0" }
"#;
const INVALID: &str = "sandbox \"wäb\" {\n    image \"@image\"\n}\nsandbox \"web\" {\n    image \"@image\"\n    memory 512\n}\n";

/// A directory name that clears a screen, reverses text and is a command of GitHub's runner.
const HOSTILE: &str = "a\n::stop-commands::x\u{1b}[2J\u{202e}\u{61c}\u{2028}b";

#[test]
fn diagnostics_are_printed_in_every_format() {
    let project = Project::without_guest(INVALID);
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
    let text = fs::read_to_string(project.directory().join("Sandboxfile")).expect("it was just written");
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
    // Its path is relative to the repository.
    let root = project.directory().parent().expect("the project lies in a folder").to_owned();
    let gitlab = project.msb(&["plan", "--report", "gitlab-codequality=q.json"]).env("CI_PROJECT_DIR", &root);
    gitlab.run().exits(1).says("× ");
    let text = fs::read_to_string(project.directory().join("q.json")).expect("it was written");
    let issues: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(issues[0]["location"]["path"], "project/Sandboxfile");

    // On GitHub every command that reads the file prints annotations.
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
fn a_plan_reports_whether_there_are_changes() {
    let project = Project::without_guest(TWO);
    let [summary, output] = ["summary", "output"].map(|name| project.directory().join(name));
    let plan = |arguments: &[&str]| {
        let msb = project.msb(arguments).env("GITHUB_ACTIONS", "true").env("GITHUB_OUTPUT", &output);
        msb.env("GITHUB_STEP_SUMMARY", &summary).run().ok()
    };
    plan(&["plan", "--report", "gitlab-terraform=tf.json", "--report", "github-summary=own.md"]);
    let read = |path: &str| fs::read_to_string(project.directory().join(path)).expect("it was written");
    assert_eq!(read("tf.json"), "{\"create\":2,\"delete\":0,\"update\":0}\n");
    assert!(read("own.md").starts_with("### msb plan: ci\n"), "{}", read("own.md"));
    assert!(read("summary").contains("| create | web |"), "{}", read("summary"));
    assert_eq!(read("output"), "changes=true\ndestroys=false\n");

    // A report that cannot be written is an error before anything is done.
    project.run(&["up", "-d", "--report", "junit=Sandboxfile/x"]).exits(1).says("cannot write the report");
    project.run(&["plan", "--report", "junit=x"]).exits(64).says("gitlab-terraform");
    project.run(&["plan", "--report", "xml=x"]).exits(64).says("junit");
    tests::leftovers::assert_none(project.home());
}

#[test]
fn an_image_path_steers_neither_terminal_nor_runner() {
    let kdl = "project \"p\"\nsandbox \"web\" { image \"./a\\n::stop-commands::x\\u{1b}[2J\\u{202e}\\u{61c}\\u{2028}b\" }\n";
    let yaml = "project: p\nsandboxes:\n  web: { image: \"./a\\n::stop-commands::x\\e[2J\\u202e\\u061c\\u2028b\" }\n";
    for (name, text) in [("Sandboxfile", kdl), ("Sandboxfile.yaml", yaml)] {
        let project = Project::without_guest("");
        project.remove_sandboxfile();
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
        // Without the image.
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
        // With a plan that fails.
        project.write(name, &text.replace("x\\", "y\\"));
        run(&["up", "-d", "--no-start"]).exits(1);
        run(&["down"]).ok();
    }
}
