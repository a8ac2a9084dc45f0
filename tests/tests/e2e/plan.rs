//! What is said before anything runs: `plan`, `validate`, `config`, `init`, `doctor`.

use tests::Project;

const SANDBOXFILE: &str = r#"
project "shop"
sandbox "db" { image "@image"; start "sleep" "1000" }
sandbox "api" { image "@image"; depends-on "db"; start "sleep" "1000" }
job "seed" { image "@image"; start "true"; depends-on "db" }
"#;

#[test]
fn a_plan_is_shown_and_changes_nothing() {
    let project = Project::new(SANDBOXFILE);
    project.ok(&["plan"]).prints_some("+ create").prints_some("db").prints_some("seed");
    project.run(&["plan", "--detailed-exitcode"]).exits(2);
    let first = project.ok(&["plan", "--json"]);
    assert_eq!(first.json()["version"], 3);
    let actions: Vec<_> = first.json()["report"]["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| {
            (change["name"].as_str().map(str::to_owned), change["action"].as_str().map(str::to_owned))
        })
        .collect();
    let created = |name: &str| (Some(name.to_owned()), Some("create".to_owned()));
    assert_eq!(actions, [created("api"), created("db"), created("seed")]);
    // Planning twice, or from a file in another order, gives the same bytes.
    project.ok(&["plan", "--json"]).prints(first.out());
    let mut lines: Vec<_> = SANDBOXFILE.lines().collect();
    lines.reverse();
    project.write("Sandboxfile", &lines.join("\n"));
    project.ok(&["plan", "--json"]).prints(first.out());
    // The file may come from standard input, too.
    let text = std::fs::read(project.directory().join("Sandboxfile")).expect("it was just written");
    project.msb(&["-f", "-", "plan", "--json"]).input(text).run().ok().prints(first.out());
    project.ok(&["ps", "-a"]);
    assert_eq!(project.ok(&["ps", "-a", "--json"]).json()["sandboxes"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_graph_is_text_for_graphviz_a_picture_or_json() {
    let project = Project::new(SANDBOXFILE);
    let dot = project.ok(&["graph"]);
    project.ok(&["graph", "--format", "dot"]).prints(dot.out());
    assert!(dot.out().starts_with("digraph \"shop\" {\n") && dot.out().ends_with("}\n"), "{}", dot.out());
    let json = project.ok(&["graph", "--format", "json"]).json();
    assert_eq!((&json["version"], &json["kind"]), (&1.into(), &"plan".into()), "{json:#}");
    let nodes: Vec<_> =
        json["nodes"].as_array().into_iter().flatten().filter_map(|node| node.as_str()).collect();
    let edges: Vec<_> = json["edges"].as_array().into_iter().flatten().collect();
    assert!(nodes.len() > 3 && edges.len() >= 2, "{json:#}");
    // All of them show the same.
    let svg = project.ok(&["graph", "--format", "svg"]);
    assert!(svg.out().starts_with("<?xml") || svg.out().starts_with("<svg"), "{}", svg.out());
    assert!(svg.out().trim_end().ends_with("</svg>"), "{}", svg.out());
    assert_eq!(svg.out().matches("<rect").count(), nodes.len(), "{}", svg.out());
    for node in nodes {
        assert!(dot.out().contains(&format!("  \"{node}\";\n")), "{node}: {}", dot.out());
        assert!(svg.out().contains(&format!(">{node}<")), "{node}: {}", svg.out());
    }
    for edge in edges {
        let (from, to) = (edge["from"].as_str().unwrap_or_default(), edge["to"].as_str().unwrap_or_default());
        assert!(dot.out().contains(&format!("  \"{from}\" -> \"{to}\";\n")), "{edge}: {}", dot.out());
    }
    // Where nothing is to do, it is who depends on whom.
    project.up();
    let json = project.ok(&["graph", "--format", "json"]).json();
    assert_eq!(
        (&json["kind"], &json["nodes"]),
        (&"project".into(), &["api", "db", "seed"][..].into()),
        "{json:#}"
    );
    project.ok(&["graph"]).prints_some("  \"db\" -> \"api\" [label=\"started\"];\n");
    project.down();
}

#[test]
fn the_schema_is_the_one_that_is_checked_in() {
    let path = tests::installation::root().join("schemas/sandboxfile/sandboxfile.schema.json");
    let text = std::fs::read_to_string(path).expect("the schema is checked in");
    Project::new("").ok(&["schema"]).prints(&text);
}

#[test]
fn a_first_sandboxfile_is_valid_once_there_is_an_image() {
    for format in ["kdl", "yaml"] {
        let project = Project::new("");
        std::fs::remove_file(project.directory().join("Sandboxfile")).expect("it was just written");
        project.ok(&["init", "--format", format, "--image", "./image"]);
        project.own_image();
        project.ok(&["validate"]);
        project.ok(&["plan"]).prints_some("+ create");
        // It is never written over.
        project.run(&["init"]).exits(1).says("already");
    }
}

#[test]
fn a_first_sandboxfile_boots_what_every_host_can_pull() {
    for (format, name) in [("kdl", "Sandboxfile"), ("yaml", "Sandboxfile.yaml")] {
        let project = Project::new("");
        std::fs::remove_file(project.directory().join("Sandboxfile")).expect("it was just written");
        project.run(&["init", "--format", format, "--image", "a b"]).exits(64).says("--image");
        project.ok(&["init", "--format", format]);
        let text = std::fs::read_to_string(project.directory().join(name)).expect("it was written");
        assert!(text.contains("alpine") && text.contains("./image"), "{text}");
        // Nothing else has to be there.
        project.ok(&["validate"]);
    }
}

#[test]
fn the_file_is_found_from_below_and_two_of_them_are_told_apart() {
    let project = Project::new(SANDBOXFILE);
    let below = project.directory().join("a/b");
    std::fs::create_dir_all(&below).expect("a folder can be made");
    tests::Msb::new(project.home(), &below, &["validate"]).run().ok();
    project.write("Sandboxfile.yaml", "sandboxes: {}");
    project.run(&["validate"]).exits(1).says("Sandboxfile").says("Sandboxfile.yaml").says("-f");
    let elsewhere = Project::new("");
    std::fs::remove_file(elsewhere.directory().join("Sandboxfile")).expect("it was just written");
    elsewhere.run(&["up", "-d"]).exits(1).says("no Sandboxfile").says("msb init");
}

#[test]
fn doctor_says_what_runs_and_why() {
    let project = Project::new(SANDBOXFILE);
    let report = project.ok(&["doctor", "--json"]).json();
    assert_eq!(report["ok"], true, "{report:#}");
    let chosen = report["host"]["chosen"]["driver"].as_str().unwrap_or_default().to_owned();
    assert!(["krun", "qemu"].contains(&chosen.as_str()), "{report:#}");
    if let Ok(wanted) = std::env::var("MSB_DRIVER") {
        assert_eq!(chosen, wanted);
    }
    project.ok(&["doctor"]).prints_some(&chosen);
    let without = project.msb(&["doctor"]).env("MSB_KERNEL", "/not/there").run().exits(1);
    without.prints_some("missing").prints_some("MSB_KERNEL");
}

#[test]
fn the_command_line_is_helped_with() {
    let project = Project::new(SANDBOXFILE);
    project.ok(&["--help"]).prints_some("Exit codes:").prints_some("doctor");
    project.run(&["valdate"]).exits(64).says("validate");
    project.run(&["up", "--no-such-flag"]).exits(64).says("--no-such-flag");
    project.run(&["up", "-d", "dbb"]).exits(1).says("dbb").says("db");
    project.run(&["--driver", "xen", "plan"]).exits(64).says("krun").says("qemu");
}

#[test]
fn a_shell_learns_the_commands_and_options() {
    let project = Project::new(SANDBOXFILE);
    // What a person sees who presses Tab, asked of a real shell.
    let complete = |words: &str| {
        let line = format!(
            "bash -c 'source <(msb completion bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _msb msb \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; printf \"%s\\n\" \"${{COMPREPLY[@]}}\"'"
        );
        project.shell(&line).run().ok()
    };
    complete("msb va").prints("validate\n");
    complete("msb up --wait-").prints("--wait-timeout\n");
    complete("msb graph --format s").prints("svg\n");
    let hidden = complete("msb v");
    assert!(!hidden.out().contains("vmm"), "{}", hidden.out());
    project.ok(&["completion", "zsh"]).prints_some("#compdef msb").prints_some("validate");
    project.ok(&["completion", "fish"]).prints_some("complete -c msb").prints_some("validate");
    project.run(&["completion", "tcsh"]).exits(64).says("bash").says("fish");
}

#[test]
fn every_image_that_is_missing_is_told_and_what_is_blocked() {
    let project = Project::new(
        "sandbox \"a\" { image \"localhost/a:1\" }\nsandbox \"b\" { image \"localhost/b:1\" }\n\
         sandbox \"c\" { image \"@image\"; mount \"./data\" to=\"/data\" }\n\
         sandbox \"d\" { image \"@image\"; depends-on \"c\" }\n",
    );
    project.write("data", "");
    let told = project.run(&["plan", "--pull", "never"]).exits(1).prints("").says("cannot read 2 images");
    let told = told.says("localhost/a:1: the image").says("localhost/b:1: the image").says("msb image pull");
    told.says("blocked: c: paths of the host cannot be mounted yet").says("blocked: d: c is blocked");
    project.run(&["up", "-d", "--pull", "never"]).exits(1).says("localhost/a:1").says("localhost/b:1");
}
