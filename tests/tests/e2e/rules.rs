//! The rules in force are shown in their order, with who wrote each.

use serde_json::{Value, json};
use tests::Project;

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

fn rules(run: &Value) -> Vec<(&str, &str, Option<u64>)> {
    let rules = run["sandboxes"][0]["network"]["rules"].as_array().expect("a list");
    rules
        .iter()
        .map(|rule| {
            let text = |name: &str| rule[name].as_str().expect("text");
            (text("rule"), text("origin"), rule["line"].as_u64())
        })
        .collect()
}

#[test]
fn rules_in_force_are_shown_with_who_wrote_each() {
    let project = Project::new(SANDBOXFILE);
    project.ok(&["up", "--no-start", "--trust"]);
    let inspected = project.ok(&["inspect", "--json", "web"]).json();
    let own = [
        ("deny@10.0.0.0/8", "sandboxfile", Some(6)),
        ("allow@*.example.org:tcp:443", "sandboxfile", Some(7)),
        ("allow@host:tcp:8080", "sandboxfile", Some(8)),
    ];
    let base =
        [("allow@dns", "base", None), ("allow@public", "base", None), ("allow:ingress@any", "base", None)];
    assert_eq!(rules(&inspected), [own, base].concat());
    let default = json!({ "action": "deny", "word": "public", "origin": "base", "file": null, "line": null });
    assert_eq!(inspected["sandboxes"][0]["network"]["default"], default);

    // What it is like has lent its rules, and the default is its own.
    let inspected = project.ok(&["inspect", "--json", "closed"]).json();
    assert_eq!(rules(&inspected), own);
    let default = json!({ "action": "deny", "word": "deny", "origin": "sandboxfile", "file": "Sandboxfile", "line": 13 });
    assert_eq!(inspected["sandboxes"][0]["network"]["default"], default);

    // In text, from any folder, and the same as `net rules`.
    let text = project.ok(&["inspect", "web"]);
    let listed = project.ok(&["net", "rules", "web"]);
    for line in listed.out().lines() {
        assert!(text.out().contains(&format!("//   {line}\n")), "{line}: {}", text.out());
    }
    let lines: Vec<String> =
        listed.out().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "# RULE ORIGIN",
            "1 deny@10.0.0.0/8 Sandboxfile:6",
            "2 allow@*.example.org:tcp:443 Sandboxfile:7",
            "3 allow@host:tcp:8080 Sandboxfile:8",
            "4 allow@dns base",
            "5 allow@public base",
            "6 allow:ingress@any base",
            "- deny what is left base (default public)",
        ]
    );
    let why = project.run(&["net", "why", "web", "10.1.2.3:80"]).exits(1);
    assert!(why.out().contains("deny@10.0.0.0/8") && why.out().contains("Sandboxfile:6"), "{}", why.out());

    // What is in force counts, not what the file says by now: then there are no lines to name.
    project.write("Sandboxfile", &SANDBOXFILE.replace("10.0.0.0/8", "11.0.0.0/8"));
    let inspected = project.ok(&["inspect", "--json", "web"]).json();
    assert_eq!(rules(&inspected)[0], ("deny@10.0.0.0/8", "sandboxfile", None));
    project.down();
}

#[test]
fn rules_from_flags_are_called_so() {
    let project = Project::new(SANDBOXFILE);
    project.own_image();
    let rule = "allow@host:tcp:8080";
    project.ok(&["create", "./image", "--name", "alone", "--no-net", "--net-rule", rule]);
    let inspected = project.ok(&["inspect", "--json", "alone"]).json();
    assert_eq!(rules(&inspected), [(rule, "flag", None)]);
    assert_eq!(inspected["sandboxes"][0]["network"]["default"]["origin"], "flag");
    let text = project.ok(&["inspect", "alone"]);
    for part in ["--net-rule", "--net-default (default deny)"] {
        assert!(text.out().contains(part), "{part}: {}", text.out());
    }
    project.ok(&["rm", "-f", "alone"]);
}

#[test]
fn rules_of_several_files_have_their_file_and_line() {
    let project = Project::new("");
    project.own_image();
    project.write(
        "base.kdl",
        "project \"several\"\nsandbox \"web\" {\n    image \"./image\"\n    network default=\"deny\" { allow \"a.example\" }\n}\n",
    );
    project.write("more.kdl", "sandbox \"web\" {\n    network { allow \"b.example\" \"domain=db\" }\n}\n");
    project.write("db.yaml", "sandboxes:\n  db:\n    image: ./image\n    network: { default: deny }\n");
    let files = ["-f", "base.kdl", "-f", "more.kdl", "-f", "db.yaml"];
    project.ok(&[&files[..], &["up", "--no-start"]].concat());
    // With the files, by the project's name, and from anywhere by the full name.
    for words in [&files[..], &["-p", "several"], &[]] {
        let name = if words.is_empty() { "several-web" } else { "web" };
        let listed = project.ok(&[words, &["net", "rules", name]].concat());
        for part in
            ["allow@b.example more.kdl:2", "allow@domain=db more.kdl:2", "(default deny)", "base.kdl:4"]
        {
            let lines: Vec<String> = listed
                .out()
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            assert!(lines.iter().any(|line| line.contains(part)), "{words:?} {part}: {}", listed.out());
        }
        let why = project.run(&[words, &["net", "why", name, "db:80"]].concat()).exits(1);
        assert!(why.out().contains("more.kdl:2") && why.out().contains("db.yaml:4"), "{}", why.out());
    }
    project.ok(&["-p", "several", "down"]);
}
