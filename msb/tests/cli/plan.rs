//! Commands that start nothing: `plan`, `graph`, `validate`, `schema`, `init`, `completion`, help.

use tests::Project;

const SANDBOXFILE: &str = r#"
project "shop"
sandbox "db" { image "@image"; start "sleep" "1000" }
sandbox "api" { image "@image"; depends-on "db"; start "sleep" "1000" }
job "seed" { image "@image"; start "true"; depends-on "db" }
"#;

#[test]
fn a_plan_is_shown_and_changes_nothing() {
    let project = Project::without_guest(SANDBOXFILE);
    project.ok(&["plan"]).prints_some("+ create").prints_some("db").prints_some("seed");
    project.run(&["plan", "--detailed-exitcode"]).exits(2);
    let first = project.ok(&["plan", "--json"]);
    assert_eq!(first.json()["version"], 3);
    let document = first.json();
    let changes = document["report"]["changes"].as_array().expect("a list");
    let actions: Vec<_> =
        changes.iter().map(|change| (change["name"].as_str(), change["action"].as_str())).collect();
    assert_eq!(actions, ["api", "db", "seed"].map(|name| (Some(name), Some("create"))));
    // The plan depends neither on an earlier one nor on the order of the file.
    project.ok(&["plan", "--json"]).prints(first.out());
    let mut lines: Vec<_> = SANDBOXFILE.lines().collect();
    lines.reverse();
    project.write("Sandboxfile", &lines.join("\n"));
    project.ok(&["plan", "--json"]).prints(first.out());
    // From standard input it is the same.
    let text = std::fs::read(project.directory().join("Sandboxfile")).expect("it was just written");
    project.msb(&["-f", "-", "plan", "--json"]).input(text).run().ok().prints(first.out());
    project.ok(&["ps", "-a"]);
    assert!(project.list().is_empty());
}

#[test]
fn a_graph_is_printed_as_dot_svg_or_json() {
    let project = Project::without_guest(SANDBOXFILE);
    let dot = project.ok(&["graph"]);
    project.ok(&["graph", "--format", "dot"]).prints(dot.out());
    assert!(dot.out().starts_with("digraph \"shop\" {\n") && dot.out().ends_with("}\n"), "{}", dot.out());
    let json = project.ok(&["graph", "--format", "json"]).json();
    assert_eq!((&json["version"], &json["kind"]), (&1.into(), &"plan".into()), "{json:#}");
    let nodes: Vec<_> =
        json["nodes"].as_array().into_iter().flatten().filter_map(|node| node.as_str()).collect();
    let edges: Vec<_> = json["edges"].as_array().into_iter().flatten().collect();
    assert!(nodes.len() > 3 && edges.len() >= 2, "{json:#}");
    // All formats show the same graph.
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
}

#[test]
fn the_schema_is_the_checked_in_file() {
    let path = tests::installation::root().join("schemas/sandboxfile/sandboxfile.schema.json");
    let text = std::fs::read_to_string(path).expect("the schema is checked in");
    Project::without_guest("").ok(&["schema"]).prints(&text);
}

#[test]
fn an_initial_sandboxfile_is_valid_with_an_image() {
    for format in ["kdl", "yaml"] {
        let project = Project::without_guest("");
        project.remove_sandboxfile();
        project.ok(&["init", "--format", format, "--image", "./image"]);
        project.own_image();
        project.ok(&["validate"]);
        project.ok(&["plan"]).prints_some("+ create");
        // It is never overwritten.
        project.run(&["init"]).exits(1).says("already");
    }
}

#[test]
fn an_initial_sandboxfile_names_a_public_image() {
    for (format, name) in [("kdl", "Sandboxfile"), ("yaml", "Sandboxfile.yaml")] {
        let project = Project::without_guest("");
        project.remove_sandboxfile();
        project.run(&["init", "--format", format, "--image", "a b"]).exits(64).says("--image");
        project.ok(&["init", "--format", format]);
        let text = std::fs::read_to_string(project.directory().join(name)).expect("it was written");
        assert!(text.contains("alpine") && text.contains("./image"), "{text}");
        // It needs nothing else to be valid.
        project.ok(&["validate"]);
    }
}

#[test]
fn the_file_is_found_in_parent_directories_and_must_be_the_only_one() {
    let project = Project::without_guest(SANDBOXFILE);
    let below = project.directory().join("a/b");
    std::fs::create_dir_all(&below).expect("a new directory");
    project.msb_in(&below, &["validate"]).run().ok();
    project.write("Sandboxfile.yaml", "sandboxes: {}");
    project.run(&["validate"]).exits(1).says("Sandboxfile").says("Sandboxfile.yaml").says("-f");
    let elsewhere = Project::without_guest("");
    elsewhere.remove_sandboxfile();
    elsewhere.run(&["up", "-d"]).exits(1).says("no Sandboxfile").says("msb init");
}

#[test]
fn mistyped_command_lines_get_suggestions() {
    let project = Project::without_guest(SANDBOXFILE);
    project.ok(&["--help"]).prints_some("Exit codes:").prints_some("doctor");
    project.run(&["valdate"]).exits(64).says("validate");
    project.run(&["up", "--no-such-flag"]).exits(64).says("--no-such-flag");
    project.run(&["up", "-d", "dbb"]).exits(6).says("dbb").says("db");
    project.run(&["--driver", "xen", "plan"]).exits(64).says("krun").says("qemu");
}

#[test]
fn shells_complete_commands_and_options() {
    let project = Project::without_guest(SANDBOXFILE);
    // The completions of a real bash.
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
fn all_missing_images_and_blocked_sandboxes_are_reported() {
    let project = Project::without_guest(
        "sandbox \"a\" { image \"localhost/a:1\" }\nsandbox \"b\" { image \"localhost/b:1\" }\n\
         sandbox \"c\" { image \"@image\"; secret \"K\" { from env=\"K\"; hosts \"a.example\" } }\n\
         sandbox \"d\" { image \"@image\"; depends-on \"c\" }\n",
    );
    let refused =
        project.run(&["plan", "--trust", "--pull", "never"]).exits(6).prints("").says("cannot read 2 images");
    let refused =
        refused.says("localhost/a:1: the image").says("localhost/b:1: the image").says("msb image pull");
    refused
        .says("blocked: c: the secret K cannot be used: the variable K is not set")
        .says("blocked: d: c is blocked");
    project
        .run(&["up", "-d", "--trust", "--pull", "never"])
        .exits(6)
        .says("localhost/a:1")
        .says("localhost/b:1");
}
