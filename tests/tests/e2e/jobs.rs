//! Jobs: detached commands that are listed, attached to, waited for and signalled.

use std::process::Stdio;
use tests::process::{self, Signal};
use tests::wait::retry;
use tests::{Project, python};

const SANDBOXFILE: &str = r#"
sandbox "box" { image "@image" }
sandbox "main" {
    image "@image"
    start "sh" "-c" "trap 'echo interrupted; exit 4' INT; echo started; while :; do sleep 0.1; done"
}
"#;

/// How often a job prints, and how much, in bytes: more than a client's window and what is kept for it.
const TURNS: usize = 30;
const TURN_BYTES: usize = 64 * 1024;

#[test]
fn jobs_outlive_their_clients() {
    let project = Project::new(SANDBOXFILE);
    project.up();

    listed_and_waited_for(&project);
    signals(&project);
    terminal(&project);
    input(&project);
    clients_that_end(&project);
    slow_clients(&project);
    start_command(&project);
    mistakes(&project);
    end_of_the_sandbox(&project);

    project.down();
}

/// Starts a job; returns its ID.
fn start(project: &Project, options: &[&str], script: &str) -> String {
    let arguments: Vec<_> =
        ["exec", "-d"].iter().chain(options).chain(&["box", "--", "sh", "-c", script]).copied().collect();
    project.ok(&arguments).out().trim().to_owned()
}

/// Returns the job of this ID in `msb jobs --json`.
fn job(project: &Project, id: &str) -> serde_json::Value {
    let listed = project.ok(&["jobs", "--json", "box"]).json();
    assert_eq!(listed["version"], 1);
    let jobs = listed["jobs"].as_array().expect("a list").clone();
    let id: u64 = id.parse().expect("an ID");
    jobs.into_iter().find(|job| job["id"] == id).expect("the job is listed")
}

fn wait_for_clients(project: &Project, id: &str, clients: u64) {
    retry(|| {
        let job = job(project, id);
        if job["attached"] == clients { Ok(()) } else { Err(job.to_string()) }
    });
}

fn listed_and_waited_for(project: &Project) {
    let id = start(project, &[], "echo out; echo err >&2; until [ -e /tmp/go ]; do sleep 0.1; done; exit 3");
    let other = start(project, &[], "echo other");
    project.run(&["wait", "box", "--job", &other]).exits(0);
    let listed = job(project, &id);
    assert_eq!(
        (&listed["state"], &listed["main"], &listed["tty"]),
        (&"running".into(), &false.into(), &false.into())
    );
    assert_eq!(listed["command"][0], "sh");
    let table = project.ok(&["jobs", "box"]);
    assert!(
        table.out().lines().any(|line| line.starts_with(&id) && line.contains("running")),
        "{}",
        table.out()
    );
    let waiting = project.msb(&["wait", "box", "--job", &id]).start();
    project.exec("box", &["touch", "/tmp/go"]);
    waiting.finish().exits(3);
    // The result is kept.
    project.run(&["wait", "box", "--job", &id]).exits(3);
    let listed = job(project, &id);
    assert_eq!((&listed["state"], &listed["code"]), (&"exited".into(), &3.into()));
    let logged = project.ok(&["logs", "box", "--job", &id]);
    let mut lines: Vec<_> = logged.out().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    project.ok(&["logs", "box", "--job", &other]).prints("other\n");
    project.run(&["attach", "box", &id]).exits(1).says("has ended with code 3");
}

fn signals(project: &Project) {
    let id = start(project, &[], "sleep 1000002 & wait");
    project.ok(&["kill", "box", "--job", &id]);
    project.run(&["wait", "box", "--job", &id]).exits(143);
    let listed = job(project, &id);
    assert_eq!((&listed["state"], &listed["signal"]), (&"signalled".into(), &15.into()));
    project.run(&["kill", "box", "--job", &id]).exits(1).says("has ended");
    let id = start(project, &[], "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done");
    project.wait_for_output(&["logs", "box", "--job", &id], "ready");
    project.ok(&["kill", "box", "--job", &id, "-s", "usr1"]);
    project.run(&["wait", "box", "--job", &id]).exits(9);
    // A job that exits with a code like that of a signal has not been killed.
    let id = start(project, &[], "exit 143");
    project.run(&["wait", "box", "--job", &id]).exits(143);
    assert_eq!(job(project, &id)["state"], "exited");
}

fn terminal(project: &Project) {
    let arguments = ["exec", "-d", "-t", "box", "--", "sh"];
    let id = project.ok(&arguments).out().trim().to_owned();
    let listed = job(project, &id);
    assert_eq!((&listed["tty"], &listed["stdin"]), (&true.into(), &true.into()));
    let folder = project.directory().to_str().expect("UTF-8");
    let expected = "detached 0\nkilled -9\nother keys 0\nexited 7\n";
    python::run(project.home(), "attach.py", &[folder, "box", &id]).ok().prints(expected);
    project.run(&["wait", "box", "--job", &id]).exits(7);
}

/// The input of a job is empty, unless it is left open; it then ends with that of a client.
fn input(project: &Project) {
    let id = start(project, &[], "cat; echo end");
    project.run(&["wait", "box", "--job", &id]).exits(0);
    project.ok(&["logs", "box", "--job", &id]).prints("end\n");

    let id = start(project, &["-i"], "echo begun; cat; echo end; exit 6");
    project.wait_for_output(&["logs", "box", "--job", &id], "begun");
    // A client without input leaves that of the job open.
    let watcher = project.msb(&["attach", "-n", "box", &id]).start();
    wait_for_clients(project, &id, 1);
    project.msb(&["attach", "box", &id]).input("typed\n").run().exits(6).prints("begun\ntyped\nend\n");
    watcher.finish().exits(6).prints("begun\ntyped\nend\n");
}

/// The end of a client, however it ends, is not the end of the job.
fn clients_that_end(project: &Project) {
    let id = start(project, &[], "trap 'echo heard; exit 8' INT; while :; do sleep 0.1; done");
    for (signal, code) in [(Signal::KILL, None), (Signal::TERM, Some(143)), (Signal::HUP, Some(129))] {
        let mut command = project.msb(&["attach", "box", &id]).into_command();
        let mut client = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("msb can be run");
        wait_for_clients(project, &id, 1);
        process::signal(client.id().cast_signed(), signal);
        assert_eq!(client.wait().expect("it can be waited for").code(), code, "{signal:?}");
        wait_for_clients(project, &id, 0);
        assert_eq!(job(project, &id)["state"], "running");
    }
    let mut command = project.msb(&["attach", "--sig-proxy=false", "box", &id]).into_command();
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("msb can be run");
    wait_for_clients(project, &id, 1);
    process::signal(client.id().cast_signed(), Signal::INT);
    assert_eq!(client.wait().expect("it can be waited for").code(), Some(130));
    assert_eq!(job(project, &id)["state"], "running");
    // Ctrl-C goes to the job.
    let client = project.msb(&["attach", "box", &id]).start();
    wait_for_clients(project, &id, 1);
    process::signal(client.pid(), Signal::INT);
    client.finish().exits(8).prints("heard\n");
}

/// A client that never reads delays neither the job nor another client.
fn slow_clients(project: &Project) {
    let (turns, bytes) = (TURNS.to_string(), TURN_BYTES.to_string());
    let print = format!("head -c {bytes} /dev/zero | tr '\\0' x");
    let id = start(project, &["-i"], &format!("while read -r line; do {print}; done; exit 5"));
    let socket = project.inspect("box")["agent_socket"].as_str().expect("a path").to_owned();
    let run = python::run(project.home(), "slow_client.py", &[&socket, &id, &turns, &bytes]);
    run.ok().prints("skipped some\n");
    project.run(&["wait", "box", "--job", &id]).exits(5);
}

/// Without an ID, a client attaches to the start command, or to the only job.
fn start_command(project: &Project) {
    project.ok(&["jobs", "main"]).prints_some("start  running");
    project.wait_for_output(&["logs", "main"], "started");
    let client = project.msb(&["attach", "main"]).start();
    project.wait_for_output(&["jobs", "--json", "main"], "\"attached\": 1");
    process::signal(client.pid(), Signal::INT);
    client.finish().exits(4).prints("started\ninterrupted\n");
    project.run(&["wait", "main"]).exits(4);

    let only = start(project, &["-i"], "cat; exit 2");
    project.msb(&["attach", "box"]).input("x").run().exits(2).prints("x");
    project.run(&["wait", "box", "--job", &only]).exits(2);
    let jobs = [start(project, &[], "sleep 1000003"), start(project, &[], "sleep 1000003")];
    project
        .run(&["attach", "box"])
        .exits(1)
        .says("box runs 2 jobs")
        .says(&format!("msb attach box {}", jobs[0]));
    for id in &jobs {
        project.ok(&["kill", "box", "--job", id, "-s", "9"]);
        project.run(&["wait", "box", "--job", id]).exits(137);
    }
    project.run(&["attach", "box"]).exits(1).says("box runs no job");
}

fn mistakes(project: &Project) {
    for command in
        [&["attach", "box", "4000"][..], &["wait", "box", "--job", "4000"], &["kill", "box", "--job", "4000"]]
    {
        project.run(command).exits(1).says("no job 4000").says("msb jobs box");
    }
    project.run(&["kill", "box", "-s", "TERM"]).exits(64).says("--job");
    project.run(&["kill", "box", "--job", "1", "-s", "NOTHING"]).exits(64).says("expected a signal");
    project.run(&["kill", "box", "main", "--job", "1"]).exits(64).says("one sandbox");
    project.run(&["logs", "--job", "1"]).exits(64);
    project.run(&["attach", "box", "1", "--detach-keys", "ctrl-"]).exits(64).says("ctrl-p,ctrl-q");
    project.run(&["exec", "-d", "-n", "box", "--", "true"]).exits(64);
    project.run(&["exec", "-d", "box", "--", "not-there"]).exits(127).says("not-there");
}

fn end_of_the_sandbox(project: &Project) {
    let id = start(project, &["-t"], "echo up; exec sleep 1000004");
    let client = project.msb(&["attach", "-n", "box", &id]).start();
    let waiting = project.msb(&["wait", "box", "--job", &id]).start();
    wait_for_clients(project, &id, 1);
    project.ok(&["stop", "box"]);
    waiting.finish().exits(143);
    client.finish().exits(143).prints("up\r\n");
    project.run(&["jobs", "box"]).exits(9).says("not running");
    project.ok(&["start", "box"]);
    project.ok(&["jobs", "box"]).prints("ID  KIND  STATE  TIME  PID  CLIENTS  COMMAND\n");
    // The IDs go on, and the log has the output.
    project.ok(&["logs", "box", "--job", &id]).prints("up\n");
    let next = start(project, &[], "true");
    assert!(next.parse::<u64>().expect("a number") > id.parse::<u64>().expect("a number"));
    // A killed sandbox ends a wait, too.
    let id = start(project, &[], "sleep 1000005");
    let waiting = project.msb(&["wait", "box", "--job", &id]).start();
    project.ok(&["kill", "box"]);
    waiting.finish().exits(1);
}
