//! What a Sandboxfile says about the processes of a sandbox and their surroundings: arguments for the entrypoint, limits,
//! `/dev/shm`, `/etc/hosts`, a read-only root, and how they are stopped.

use serde_json::json;
use std::time::{Duration, Instant};
use tests::layers::TestLayer;
use tests::oci::{Layout, archive, archive_of};
use tests::wait::retry;
use tests::{Project, installation, leftovers};

/// An entry point that prints its arguments, and ends on SIGUSR1 alone.
const ENTRY: &str = "#!/bin/sh
trap '' TERM
trap 'echo usr1 >> /data/ends; exit 0' USR1
echo $$ > /scratch/pid
echo \"args=$*\"
while true; do sleep 0.1; done
";

const FILE: &str = r#"
project "processes"
volume "data"
sandbox "web" {
    image "./layout"
    args "three" "four five"
    ulimits { nofile "1000:2000"; core 0; nproc "unlimited" }
    shm-size "8M"
    hosts { db "10.0.0.5"; db6.example.org "fd00::5" }
    stop-signal "SIGUSR1"
    hostname "web.example.org"
    read-only #true
    mount "data" to="/data"
    tmpfs "/scratch"
}
sandbox "deaf" {
    image "@image"
    start "sh" "-c" "trap '' TERM; echo listens; while :; do sleep 0.1; done"
    stop-timeout "0m1s"
}
"#;

/// More than any stop takes whose timeout is short.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn processes_have_what_the_sandboxfile_says() {
    let project = Project::new(FILE);
    let (base, entry) = (archive_of(&installation::image()), archive(&[("entry", 0o755, ENTRY)]));
    let config = json!({ "Entrypoint": ["/entry"], "Cmd": ["one", "two"] });
    Layout::new(&project.directory().join("layout")).add(
        "latest",
        &[base, entry].map(TestLayer::plain),
        &config,
    );
    project.up();
    project.wait_for_output(&["logs", "web"], "args=three four five");
    let shell = |script: &str| project.exec("web", &["sh", "-c", script]);
    assert_eq!(shell("ulimit -Sn; ulimit -Hn; ulimit -c"), "1000\n2000\n0");
    assert_eq!(shell("grep -c 'Max processes *unlimited *unlimited' /proc/self/limits"), "1");
    // The main process has them too.
    let main = "grep -c 'Max open files *1000 *2000' /proc/$(cat /scratch/pid)/limits";
    assert_eq!(shell(main), "1");
    assert_eq!(shell("df -k /dev/shm | tail -1 | awk '{print $2}'"), "8192");
    assert_eq!(shell("ping -c1 -W1 db | head -1 | cut -d' ' -f3"), "(10.0.0.5):");
    assert_eq!(shell("grep -c 'fd00::5 db6.example.org' /etc/hosts"), "1");
    assert_eq!(shell("hostname"), "web.example.org");
    // Nothing of the root can be written to, as root too; volumes and directories in memory can.
    project.run(&["exec", "web", "--", "touch", "/etc/new"]).exits(1).says("Read-only file system");
    assert_eq!(shell("touch /data/new /scratch/new /dev/shm/new && echo written"), "written");

    // A command without a timeout of its own takes that of the sandbox.
    project.wait_for_output(&["logs", "deaf"], "listens");
    let began = Instant::now();
    project.ok(&["stop", "deaf"]);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < SOON, "{took:?}");
    // SIGTERM is ignored: it ends by its own signal, within far less than the timeout.
    let began = Instant::now();
    project.ok(&["stop", "-t", "10m", "web"]);
    assert!(began.elapsed() < SOON);
    project.ok(&["start", "web"]);
    assert_eq!(shell("cat /data/ends"), "usr1");

    // The plan says what a change takes, and a live one is none.
    let boot = project.boot_id("web");
    let changed = FILE.replace("SIGUSR1", "SIGTERM").replace("\"0m1s\"", "\"2s\"");
    project.write("Sandboxfile", &changed);
    project.ok(&["plan"]).prints_some("stop-signal").prints_some("stop-timeout");
    project.up();
    assert_eq!(project.boot_id("web"), boot);
    project.write("Sandboxfile", &changed.replace("three", "six"));
    project.ok(&["plan"]).prints_some("restart").prints_some("args");
    project.ok(&["stop", "-t", "0s", "web"]);
    project.ok(&["down", "--volumes", "-y"]);
    leftovers::assert_none(project.home());
}

#[test]
fn restarts_are_counted_within_their_window() {
    let project = Project::new(
        r#"
        project "restarts"
        sandbox "ends" { image "@image"; memory "128M"; start "false"; restart "on-failure" max=1 }
        sandbox "goes-on" { image "@image"; memory "128M"; start "false"; restart "on-failure" max=1 window="1ms" }
        "#,
    );
    project.run(&["up", "-d"]);
    let restarts = |name: &str| project.inspect(name)["restarts"].as_u64().expect("a number");
    retry(|| match restarts("goes-on") {
        3.. => Ok(()),
        count => Err(format!("{count} restarts")),
    });
    retry(|| match project.inspect("ends")["state"].as_str() {
        Some("exited") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(restarts("ends"), 1);
    project.down();
}

#[test]
fn copies_are_scaled_for_one_command() {
    let project = Project::new("project \"copies\"\nsandbox \"web\" { image \"@image\"; memory \"128M\" }\n");
    project.ok(&["up", "-d", "--wait", "--scale", "web=2"]);
    for name in ["web-1", "web-2"] {
        assert_eq!(project.exec(name, &["hostname"]), name);
    }
    // The next command without it does what the file says.
    project.run(&["plan", "--detailed-exitcode"]).exits(2).prints_some("web-2");
    project.ok(&["up", "-d", "--wait", "-y"]);
    assert_eq!(project.exec("web", &["hostname"]), "web");
    project.run(&["exec", "web-2", "--", "true"]).exits(6);
    project.down();
}
