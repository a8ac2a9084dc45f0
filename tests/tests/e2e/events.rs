//! `msb events`: the life of sandboxes in order, and refusals of their networks, with repeats as counts.

use serde_json::{Value, json};
use std::time::Instant;
use tests::Project;
use tests::wait::retry;

const SANDBOXFILE: &str = r#"
project "reported"
sandbox "web" {
    image "@image"
    memory "128M"
    network { deny "refused.example.org" }
    healthcheck { exec "true" }
}
sandbox "flaky" {
    image "@image"
    memory "128M"
    start "sh" "-c" "if test -e /ran; then exec sleep 1000000; fi; touch /ran; exit 7"
    restart "on-failure" max=1
    healthcheck { exec "test" "-e" "/ran" }
}
"#;

/// Returns the events of a sandbox.
fn events(project: &Project, sandbox: &str) -> Vec<Value> {
    let run = project.ok(&["events", "--json", sandbox]);
    run.out().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// Counts the refusals of a kind: lines and refusals.
fn refused(events: &[Value], of: impl Fn(&Value) -> bool) -> (usize, u64) {
    let found =
        events.iter().map(|line| &line["event"]).filter(|event| event["kind"] == "refused" && of(event));
    let counts: Vec<u64> = found.map(|event| event["count"].as_u64().expect("a number")).collect();
    (counts.len(), counts.iter().sum())
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|line| line["event"]["kind"].as_str().expect("a word")).collect()
}

#[test]
fn repeated_refusals_are_counted() {
    let project = Project::new(SANDBOXFILE);
    let began = Instant::now();
    project.ok(&["up", "-d", "--wait", "web"]);
    let mut follower = project.msb(&["events", "-f", "web"]).live();
    follower.until("ready after");
    let tries = "n=0; while [ $n -lt 300 ]; do
        nc 10.1.2.3 80 </dev/null
        nslookup refused.example.org
        n=$((n+1))
    done >/dev/null 2>&1";
    project.exec("web", &["sh", "-c", tries]);
    let first = follower.until("refused to look up");
    let line = "refused tcp to 10.1.2.3:80: no rule allows it; to allow it: allow@10.1.2.3:tcp:80";
    assert!(
        first.iter().any(|reported| reported.starts_with("web | ") && reported.ends_with(line)),
        "{first:?}"
    );
    assert!(
        first
            .last()
            .is_some_and(|reported| reported.ends_with("refused.example.org: deny@refused.example.org"))
    );
    let counted = follower.until(" times)");
    assert!(counted.iter().any(|reported| reported.contains("refused ")), "{counted:?}");
    assert_eq!(follower.interrupt(), Some(130));

    let to_address = |event: &Value| event["address"] == "10.1.2.3";
    let of_name = |event: &Value| event["name"] == "refused.example.org";
    let reported = retry(|| {
        let reported = events(&project, "web");
        // Each lookup asks for addresses of both families.
        let is_complete = refused(&reported, to_address).1 == 300 && refused(&reported, of_name).1 == 600;
        if is_complete { Ok(reported) } else { Err(format!("{reported:#?}")) }
    });
    // The first refusal has a line of its own, and so have ten seconds of repeats.
    let lines_max = 2 + usize::try_from(began.elapsed().as_secs() / 10).expect("it is small");
    for (lines, count) in [refused(&reported, to_address), refused(&reported, of_name)] {
        assert!((2..=lines_max).contains(&lines), "{lines} lines for {count} refusals: {reported:#?}");
    }
    let first = reported.iter().find(|line| of_name(&line["event"])).expect("it is reported");
    assert_eq!(
        first["event"],
        json!({
            "kind": "refused", "direction": "egress", "protocol": "dns", "name": "refused.example.org",
            "reason": "deny@refused.example.org", "rule": "deny@refused.example.org", "origin": "sandboxfile",
            "count": 1,
        })
    );
    assert_eq!((&first["name"], &first["s"]), (&"web".into(), &"network".into()));
    let first = reported.iter().find(|line| to_address(&line["event"])).expect("it is reported");
    assert_eq!(
        first["event"],
        json!({
            "kind": "refused", "direction": "egress", "protocol": "tcp", "address": "10.1.2.3", "port": 80,
            "reason": "no rule allows it", "origin": "default", "allow": "allow@10.1.2.3:tcp:80", "count": 1,
        })
    );

    // By source, and from a cursor on.
    let network = project.ok(&["logs", "--source", "network", "web"]);
    assert!(network.out().starts_with("refused ") && network.out().contains("times)"), "{}", network.out());
    assert!(!network.out().contains("ready"), "{}", network.out());
    project.ok(&["logs", "--source", "network", "--grep", "^refused udp", "web"]).prints("");
    let cursor = reported.last().expect("there are some")["cursor"].as_str().expect("text");
    project.ok(&["events", "web", "--cursor", cursor]).prints("");
    project.ok(&["events", "--since", "2090-01-01T00:00:00Z"]).prints("");
    project.down();
}

#[test]
fn the_life_of_sandboxes_is_reported_in_order() {
    let project = Project::new(SANDBOXFILE);
    project.up();
    let expected = ["started", "ready", "exited", "restarting", "started", "ready", "healthy"];
    retry(|| {
        let reported = events(&project, "flaky");
        let mut kinds = kinds(&reported);
        // Its check may pass before it ends for the first time.
        if kinds.get(2) == Some(&"healthy") {
            kinds.remove(2);
        }
        assert!(expected.starts_with(&kinds), "{kinds:?}");
        if kinds == expected { Ok(()) } else { Err(format!("{kinds:?}")) }
    });
    let exited = events(&project, "flaky");
    let exited = exited.iter().find(|line| line["event"]["kind"] == "exited").expect("it has ended");
    assert_eq!(exited["event"]["exit"], json!({ "kind": "code", "code": 7 }));

    // A live change, an out-of-memory kill, and a stop.
    project.write("Sandboxfile", &SANDBOXFILE.replace("refused.example.org", "other.example.org"));
    project.up();
    let hog = "BEGIN { s = \"xxxxxxxx\"; while (1) s = s s }";
    project.run(&["exec", "web", "--", "awk", hog]).exits(137);
    project.wait_for_output(&["events", "--json", "web"], "\"oom\"");
    project.ok(&["stop", "web"]);
    let reported = events(&project, "web");
    assert_eq!(kinds(&reported), ["started", "ready", "healthy", "changed", "oom", "stopped"]);
    assert_eq!(reported[4]["event"]["process"], "awk");
    // Pending counts are written before the stop.
    project.exec("flaky", &["sh", "-c", "for n in 1 2 3; do nc 10.1.2.3 80 </dev/null; done; true"]);
    project.ok(&["stop", "flaky"]);
    let reported = events(&project, "flaky");
    assert_eq!(refused(&reported, |event| event["address"] == "10.1.2.3"), (2, 3), "{reported:#?}");
    assert_eq!(kinds(&reported)[reported.len() - 3..], ["refused", "refused", "stopped"]);
    // All sandboxes of the project, in order of time.
    let all = project.ok(&["events"]);
    let times: Vec<&str> =
        all.out().lines().map(|line| line.split(" | ").nth(1).expect("a name in front")).collect();
    assert!(times.len() > 10 && times.is_sorted_by_key(|line| line.split(' ').next()), "{}", all.out());
    assert!(
        all.out().lines().any(|line| line.starts_with("web   | 20") && line.ends_with("Z stopped")),
        "{}",
        all.out()
    );
    project.down();
}
