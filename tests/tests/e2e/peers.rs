//! Sandboxes of a project reach each other by name if the rules of both allow it. Those of other projects never do.

use tests::{Project, Run};

/// Returns a sandbox that serves `answer` on port 8080.
fn sandbox(name: &str, answer: &str, network: &str) -> String {
    format!(
        r#"
sandbox "{name}" {{
    image "@image"
    memory "128M"
    start "sh" "-c" "mkdir -p /www; echo {answer} >/www/index.html; exec httpd -f -p 8080 -h /www"
    healthcheck {{ exec "wget" "-q" "-O" "/dev/null" "http://127.0.0.1:8080/"; interval "1s" }}
    network {network}
}}
"#
    )
}

/// Runs a script in a sandbox, named by words of the command line: options for its file, then its name.
fn run_in(project: &Project, sandbox: &[&str], script: &str) -> Run {
    let (name, file) = sandbox.split_last().expect("a name");
    project.run(&[file, &["exec", name, "--", "sh", "-c", script]].concat())
}

/// Sends a request to a name and port. Returns whether it was answered, and the output.
pub fn fetch(project: &Project, from: &[&str], name: &str, port: u16) -> (bool, String) {
    let script = format!(
        "address=$(nslookup {name} | sed -n '/^Name:/,$ s/^Address: //p' | grep -v : | head -n 1); \
         [ -n \"$address\" ] || {{ echo no address; exit 1; }}; \
         printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 20 nc $address {port}"
    );
    let run = run_in(project, from, &script);
    assert!(![124, 143].contains(&run.code), "{name} does not answer");
    (run.code == 0, format!("{}{}", run.out(), run.err()))
}

fn address(project: &Project, name: &str, family: &str) -> String {
    let script = format!("ip -o {family} addr show dev eth0 scope global | sed 's/.*inet6* //; s/\\/.*//'");
    project.exec(name, &["sh", "-c", &script])
}

#[test]
fn sandboxes_reach_each_other_if_both_allow_it() {
    let file = format!(
        "project \"near\"\n{}{}{}",
        sandbox("web", "from-web", r#"{ allow "domain=app:tcp:8080" "domain=shy:tcp:8080" }"#),
        sandbox("app", "from-app", "{ }"),
        sandbox("shy", "canary", r#"{ deny "domain=web" direction="ingress" }"#),
    );
    let project = Project::new(&file);
    project.up();

    // Allowed: by both names, over both families.
    let (reached, said) = fetch(&project, &["web"], "app", 8080);
    assert!(reached && said.ends_with("from-app\n"), "{said}");
    let (reached, said) = fetch(&project, &["web"], "app.msb.internal", 8080);
    assert!(reached && said.ends_with("from-app\n"), "{said}");
    let six = address(&project, "app", "-6");
    let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 20 nc {six} 8080");
    let said = project.exec("web", &["sh", "-c", &script]);
    assert!(said.ends_with("from-app"), "{six}: {said}");
    let four = address(&project, "app", "-4");

    // `net why` predicts it.
    let why = |name: &str, target: &str, code: i32| {
        project.run(&["net", "why", name, target]).exits(code).out().to_owned()
    };
    for target in ["app:8080", "app.msb.internal:8080", &format!("{four}:8080"), "localhost:1", "web:8080"] {
        why("web", target, 0);
    }
    let said = why("web", "app:5353", 1);
    assert!(said.contains(r#"allow "domain=app:tcp:5353""#), "{said}");
    why("app", "web:8080", 1);
    let said = why("web", "shy:8080", 1);
    assert!(said.contains("deny:ingress@domain=web") && said.contains("Sandboxfile:"), "{said}");
    why("web", "nobody:8080", 1);

    // Refused: another port, the reverse direction, and by the target's rules.
    let (reached, said) = fetch(&project, &["web"], "app", 5353);
    assert!(!reached && said.contains("refused"), "{said}");
    let (reached, said) = fetch(&project, &["app"], "web", 8080);
    assert!(!reached && said.contains("refused"), "{said}");
    let (reached, said) = fetch(&project, &["web"], "shy", 8080);
    assert!(!reached && said.contains("refused") && !said.contains("canary"), "{said}");
    project.wait_for_log("shy", &["(web) to port 8080: deny:ingress@domain=web"]);

    // Never between projects, even with everything allowed.
    let file = format!("project \"far\"\n{}", sandbox("spy", "from-spy", r#"default="allow""#));
    project.write("far.kdl", &file);
    project.ok(&["-f", "far.kdl", "up", "-d", "--wait", "--trust"]);
    let spy = ["-f", "far.kdl", "spy"];
    let (reached, said) = fetch(&project, &spy, "app", 8080);
    assert!(!reached && said.contains("no address"), "{said}");
    for address in [&four, &six] {
        let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 5 nc {address} 8080");
        let run = run_in(&project, &spy, &script);
        assert!(!run.out().contains("from-app"), "{}", run.out());
    }
    project.ok(&["-f", "far.kdl", "down"]);
    project.ok(&["-f", "Sandboxfile", "down"]);
}
