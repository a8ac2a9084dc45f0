//! `allow "project"`: all sandboxes of a project reach each other, and nothing else is opened.

use crate::peers::fetch;
use tests::Project;

const FILE: &str = r#"
project "open"
sandbox "web" {
    image "@image"
    memory "128M"
    start "sh" "-c" "mkdir -p /www; echo from-web >/www/index.html; exec httpd -f -p 8080 -h /www"
    network default="deny" { allow "project" direction="any" }
    depends-on "db" "gone" required=#false
}
sandbox "db" {
    image "@image"
    memory "128M"
    env-file "./db.env"
    env-file "./none.env" required=#false
    env { HOST_SIDE; NOT_SET; FROM_FILE "mine" }
    start "sh" "-c" "mkdir -p /www; echo from-db >/www/index.html; exec httpd -f -p 5432 -h /www"
    network default="deny" { allow "project" direction="any" }
}
sandbox "alone" {
    image "@image"
    memory "128M"
    start "sh" "-c" "mkdir -p /www; echo canary >/www/index.html; exec httpd -f -p 8080 -h /www"
    network default="deny"
}
"#;

#[test]
fn sandboxes_of_the_project_reach_each_other_and_nothing_else() {
    let project = Project::new(FILE);
    project.write("db.env", "# of the database\nA=one\nB=\"two $A\"\nFROM_FILE=theirs\n");
    project.msb(&["up", "-d", "--wait"]).env("HOST_SIDE", "passed on").run().ok();
    for (from, name, port, answer) in
        [("web", "db", 5432, "from-db\n"), ("db", "web.msb.internal", 8080, "from-web\n")]
    {
        let (reached, said) = fetch(&project, &[from], name, port);
        assert!(reached && said.ends_with(answer), "{from} to {name}: {said}");
    }
    // Neither into nor out of a sandbox without the rule, nor to the host or the rest of the world.
    for (from, name, port) in [
        ("web", "alone", 8080),
        ("alone", "web", 8080),
        ("web", "host.msb.internal", 8080),
        ("web", "example.org", 80),
    ] {
        let (reached, said) = fetch(&project, &[from], name, port);
        assert!(!reached && !said.contains("canary"), "{from} reached {name}: {said}");
    }
    // `net why` predicts it.
    project.ok(&["net", "why", "web", "db:5432"]).prints_some("allow:any@project");
    project.run(&["net", "why", "web", "alone:8080"]).exits(1);
    // The event names the line to write, which opens that and no more.
    let events = project.ok(&["events", "alone"]);
    assert!(
        events.out().contains("refused to look up web: ") && events.out().contains("allow@domain=web"),
        "{}",
        events.out()
    );
    let opened =
        FILE.replace("network default=\"deny\"\n", "network default=\"deny\" { allow \"domain=web\" }\n");
    project.write("Sandboxfile", &opened);
    project.msb(&["up", "-d", "--wait"]).env("HOST_SIDE", "passed on").run().ok();
    let (reached, said) = fetch(&project, &["alone"], "web", 8080);
    assert!(reached && said.ends_with("from-web\n"), "{said}");
    let (reached, said) = fetch(&project, &["alone"], "db", 5432);
    assert!(!reached && !said.contains("from-db"), "{said}");
    // Variables of files, of which those of `env` take precedence; a host's variable that is not set is absent.
    let variables = "echo \"$A|$B|$FROM_FILE|$HOST_SIDE|${NOT_SET-absent}\"";
    assert_eq!(project.exec("db", &["sh", "-c", variables]), "one|two one|mine|passed on|absent");
    project.down();
}
