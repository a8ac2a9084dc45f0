//! The network rules in force, in order and with their origins.

use serde_json::{Value, json};
use tests::{Project, Run};

const SANDBOXFILE: &str = r#"
project "ruled"
sandbox "web" {
    image "@image"
    network {
        deny "10.0.0.0/8"
        allow "*.example.org:tcp:443" \
              "host:tcp:8080"
    }
}
sandbox "closed" {
    like "web"
    network default="deny"
}
"#;

/// The lines of standard output with single spaces.
fn lines(run: &Run) -> Vec<String> {
    run.out().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn rules(sandbox: &Value) -> Vec<(&str, &str, Option<u64>)> {
    let rules = sandbox["network"]["rules"].as_array().expect("a list");
    rules
        .iter()
        .map(|rule| {
            let text = |name: &str| rule[name].as_str().expect("text");
            (text("rule"), text("origin"), rule["line"].as_u64())
        })
        .collect()
}

#[test]
fn rules_are_shown_with_their_origins() {
    let project = Project::without_guest(SANDBOXFILE);
    project.ok(&["up", "--no-start", "--trust"]);
    let inspected = project.inspect("web");
    let own = [
        ("deny@10.0.0.0/8", "sandboxfile", Some(6)),
        ("allow@*.example.org:tcp:443", "sandboxfile", Some(7)),
        ("allow@host:tcp:8080", "sandboxfile", Some(8)),
    ];
    let base =
        [("allow@dns", "base", None), ("allow@public", "base", None), ("allow:ingress@any", "base", None)];
    assert_eq!(rules(&inspected), [own, base].concat());
    let default = json!({ "action": "deny", "word": "public", "origin": "base", "file": null, "line": null });
    assert_eq!(inspected["network"]["default"], default);

    // Its rules come from `like`, its default is its own.
    let inspected = project.inspect("closed");
    assert_eq!(rules(&inspected), own);
    let default = json!({ "action": "deny", "word": "deny", "origin": "sandboxfile", "file": "Sandboxfile", "line": 13 });
    assert_eq!(inspected["network"]["default"], default);

    // The text has the same rules as `net rules`.
    let text = project.ok(&["inspect", "web"]);
    let listed = project.ok(&["net", "rules", "web"]);
    for line in listed.out().lines() {
        assert!(text.out().contains(&format!("//   {line}\n")), "{line}: {}", text.out());
    }
    assert_eq!(
        lines(&listed),
        [
            "# RULE ORIGIN",
            "1 deny@10.0.0.0/8 Sandboxfile:6",
            "2 allow@*.example.org:tcp:443 Sandboxfile:7",
            "3 allow@host:tcp:8080 Sandboxfile:8",
            "4 allow@dns base",
            "5 allow@public base",
            "6 allow:ingress@any base",
            "- deny the rest base (default public)",
        ]
    );
    let why = project.run(&["net", "why", "web", "10.1.2.3:80"]).exits(1);
    assert!(why.out().contains("deny@10.0.0.0/8") && why.out().contains("Sandboxfile:6"), "{}", why.out());

    // The rules in force are shown, not those of the file, and so without lines.
    project.write("Sandboxfile", &SANDBOXFILE.replace("10.0.0.0/8", "11.0.0.0/8"));
    let inspected = project.inspect("web");
    assert_eq!(rules(&inspected)[0], ("deny@10.0.0.0/8", "sandboxfile", None));
    project.down();
}

#[test]
fn rules_of_several_files_have_their_files_and_lines() {
    let project = Project::without_guest("");
    project.own_image();
    project.write(
        "base.kdl",
        "project \"several\"\nsandbox \"web\" {\n    image \"./image\"\n    network default=\"deny\" { allow \"a.example\" }\n}\n",
    );
    project.write("more.kdl", "sandbox \"web\" {\n    network { allow \"b.example\" \"domain=db\" }\n}\n");
    project.write("db.yaml", "sandboxes:\n  db:\n    image: ./image\n    network: { default: deny }\n");
    let files = ["-f", "base.kdl", "-f", "more.kdl", "-f", "db.yaml"];
    project.ok(&[&files[..], &["up", "--no-start"]].concat());
    // By the files, by the project's name and by the full name.
    for words in [&files[..], &["-p", "several"], &[]] {
        let name = if words.is_empty() { "several-web" } else { "web" };
        let listed = project.ok(&[words, &["net", "rules", name]].concat());
        for part in
            ["allow@b.example more.kdl:2", "allow@domain=db more.kdl:2", "(default deny)", "base.kdl:4"]
        {
            assert!(
                lines(&listed).iter().any(|line| line.contains(part)),
                "{words:?} {part}: {}",
                listed.out()
            );
        }
        let why = project.run(&[words, &["net", "why", name, "db:80"]].concat()).exits(1);
        assert!(why.out().contains("more.kdl:2") && why.out().contains("db.yaml:4"), "{}", why.out());
    }
    project.ok(&["-p", "several", "down"]);
}
