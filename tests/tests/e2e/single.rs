//! Commands on existing sandboxes: start, stop, restart, kill, rm, wait, inspect.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::{Project, leftovers};

const SANDBOXFILE: &str = r#"
project "solo"
sandbox "web" { image "@image"; start "sleep" "1000000"; labels { tier "front" }; restart "always" }
sandbox "idle" { image "@image"; env { API_TOKEN_FILE "/run/token" } }
job "sum" { image "@image"; start "sh" "-c" "exit 7" }
"#;

/// The lines of standard output.
fn lines(run: &tests::Run) -> Vec<String> {
    run.out().lines().map(str::to_owned).collect()
}

#[test]
fn sandboxes_are_started_awaited_stopped_and_removed_one_by_one() {
    let project = Project::new(SANDBOXFILE);
    project.run(&["up", "-d", "web", "idle", "sum"]);
    project.run(&["wait", "sum"]).exits(7);
    project.ok(&["rm", "sum"]);
    project.run(&["wait", "sum"]).exits(6).says("there is no sandbox");
    let state = |name: &str| project.inspect(name)["state"].take();

    // Sandboxes keep their files, with an invalid Sandboxfile too. Names are the project's or full ones.
    project.exec("idle", &["sh", "-c", "echo kept >/root/mark"]);
    project.write("Sandboxfile", "nonsense {");
    let waiting = project.msb(&["wait", "idle"]).start();
    let stopped = project.ok(&["stop", "idle", "solo-web"]);
    waiting.finish().exits(9).says("was stopped");
    assert_eq!(lines(&stopped), ["idle: stopped", "solo-web: stopped"]);
    assert_eq!((state("idle"), state("web")), ("stopped".into(), "stopped".into()));
    project.run(&["exec", "idle", "--", "true"]).exits(9).says("is not running").says("msb start idle");
    assert_eq!(lines(&project.ok(&["stop", "idle"])), ["idle: not running"]);

    // A missing sandbox does not prevent the others from starting.
    let started =
        project.run(&["start", "idle", "nobody", "web"]).exits(6).says("error: nobody: there is no");
    assert_eq!(lines(&started), ["idle: started", "web: started"]);
    assert_eq!(lines(&project.ok(&["start", "idle"])), ["idle: already running"]);
    assert_eq!(project.exec("idle", &["cat", "/root/mark"]), "kept");

    let (boot, processes) = (project.boot_id("web"), project.processes("web"));
    assert_eq!(lines(&project.ok(&["restart", "-t", "5s", "web"])), ["web: restarted"]);
    assert_ne!((project.boot_id("web"), project.processes("web")), (boot, processes));

    // `kill` overrides the restart policy and removes the sockets.
    let socket = project.inspect("web")["agent_socket"].take();
    let socket = std::path::PathBuf::from(socket.as_str().expect("a path"));
    assert!(socket.exists());
    assert_eq!(lines(&project.ok(&["kill", "web"])), ["web: killed"]);
    assert!(!socket.exists());
    assert_eq!(state("web"), "stopped");

    inspect(&project);
    project.run(&["rm", "idle"]).exits(8).says("it is running").says("-f");
    assert_eq!(lines(&project.ok(&["rm", "-f", "idle", "web"])), ["idle: removed", "web: removed"]);
    project.run(&["inspect", "idle"]).exits(6).says("there is no sandbox");
    leftovers::assert_none(project.home());
}

fn inspect(project: &Project) {
    let document = project.ok(&["inspect", "--json", "idle", "web"]).json();
    assert_eq!(document["version"], 1);
    let (idle, web) = (&document["sandboxes"][0], &document["sandboxes"][1]);
    assert_eq!((idle["name"].as_str(), idle["full_name"].as_str()), (Some("idle"), Some("solo-idle")));
    assert_eq!((idle["state"].as_str(), idle["health"].as_str()), (Some("running"), Some("unchecked")));
    let boot_time = idle["boot"]["boot_time_ns"].as_u64().map(Duration::from_nanos).unwrap_or_default();
    assert!(boot_time > Duration::ZERO, "{idle:#}");
    assert_clock_is_synchronized(project, boot_time);
    assert!(idle["spec"]["image"]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    for path in ["agent_socket", "control_socket", "logs", "disk"] {
        assert!(std::path::Path::new(idle[path].as_str().expect("a path")).exists(), "{path}: {idle:#}");
    }
    assert_eq!(web["supervisor_pid"], serde_json::Value::Null);
    assert_eq!(web["spec"]["definition"]["labels"]["tier"], "front");
    project.ok(&["inspect", "web"]).prints_some("solo-web: stopped").prints_some("tier \"front\"");
}

/// The guest's clock does not lag behind by the time of its boot: a fresh token would be invalid there.
fn assert_clock_is_synchronized(project: &Project, boot_time: Duration) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let guest = || {
        let said = project.exec("idle", &["busybox", "adjtimex"]);
        let field = |name: &str| -> u64 {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(name)).expect(name);
            line.trim().parse().expect(name)
        };
        Duration::from_secs(field("time.tv_sec:")) + Duration::from_micros(field("time.tv_usec:"))
    };
    for _ in 0..3 {
        let (before, guest, after) = (now(), guest(), now());
        assert!(guest + boot_time / 2 > before, "{:?} behind, booted in {boot_time:?}", before - guest);
        assert!(guest < after + boot_time / 2, "{:?} ahead, booted in {boot_time:?}", guest - after);
    }
}
