//! `msb metrics` and `msb stats`: what running sandboxes use, in every format; nothing is written for it but the registry.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use tests::wait::retry;
use tests::{Project, leftovers, ports};

const SANDBOXFILE: &str = r#"
project "measured"
sandbox "web" {
    image "@image"
    memory "128M"
    network { deny "refused.example.org" }
    start "sleep" "1000000"
}
sandbox "idle" {
    image "@image"
    memory "96M"
    start "sleep" "1000000"
}
"#;

/// Returns the metrics of a sandbox, once they meet a condition.
fn metrics(project: &Project, sandbox: &str, is_met: impl Fn(&Value) -> bool) -> Value {
    retry(|| {
        let document = project.ok(&["metrics", sandbox, "--json"]).json();
        let rows = document["sandboxes"].as_array().expect("a list");
        match &rows[..] {
            [row] if is_met(row) => Ok(row.clone()),
            _ => Err(format!("{document:#}")),
        }
    })
}

/// Requests a path of the endpoint, and returns the whole answer.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the endpoint");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
        .expect("a socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn running_sandboxes_have_metrics() {
    let project = Project::new(SANDBOXFILE);
    project.run(&["metrics", "web"]).exits(6).says("there is no sandbox");
    project.up();
    let first = metrics(&project, "web", |row| row["memory_bytes"].as_u64() > Some(16 << 20));
    assert_eq!(first["full_name"], "measured-web");
    assert_eq!(first["memory_limit_bytes"], 128_u64 << 20);
    assert!(first["memory_bytes"].as_u64() < Some(256 << 20), "{first:#}");
    assert_eq!((&first["restarts"], &first["refusals"]), (&0.into(), &0.into()));
    let listed = project.list();
    assert!(
        listed
            .iter()
            .any(|row| row["id"] == first["id"] && row["uptime_ms"].as_u64() >= first["uptime_ms"].as_u64())
    );

    // Work, data to the disk, and refusals.
    let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done
        dd if=/dev/urandom of=/big bs=1M count=4 conv=fsync
        nslookup refused.example.org; nc 10.1.2.3 80 </dev/null; true";
    project.exec("web", &["sh", "-c", work]);
    let number = |row: &Value, name: &str| row[name].as_u64().expect("a number");
    let grown = |row: &Value, name: &str, by: u64| number(row, name) >= number(&first, name) + by;
    metrics(&project, "web", |row| {
        grown(row, "cpu_ms", 10)
            && grown(row, "disk_written_bytes", 4 << 20)
            && grown(row, "refusals", 2)
            && grown(row, "net_sent_bytes", 100)
            && grown(row, "net_received_bytes", 60)
    });
    let idle = metrics(&project, "idle", |row| row["refusals"].is_u64());
    assert_eq!(idle["refusals"], 0, "each sandbox has its own");

    let table = project.ok(&["metrics"]);
    assert!(table.out().lines().next().is_some_and(|line| line.starts_with("NAME")), "{}", table.out());
    assert_eq!(table.out().lines().count(), 3, "{}", table.out());
    let all = project.msb_in(std::path::Path::new("/"), &["stats", "--no-stream", "--all"]).run().ok();
    assert!(all.out().contains("measured-idle") && all.out().contains("measured-web"), "{}", all.out());

    // Prometheus, on stdout and over HTTP.
    let text = project.ok(&["metrics", "--format", "prometheus"]);
    let line = format!(
        "msb_sandbox_memory_limit_bytes{{project=\"measured\",sandbox=\"web\",id={}}} 134217728",
        first["id"]
    );
    assert!(text.out().lines().any(|found| found == line), "{line}\n{}", text.out());
    let port = ports::free();
    let endpoint = project.msb(&["metrics", "--listen", &port.to_string()]).start();
    retry(|| TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string()));
    let answer = get(port, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&line), "{answer}");
    assert!(get(port, "/other").starts_with("HTTP/1.1 404"));
    let status = Command::new("kill").arg(endpoint.pid().to_string()).status().expect("kill");
    assert!(status.success());
    endpoint.finish().ok();

    // One document per line, until the reader goes away.
    let watched =
        project.shell("timeout 60 msb metrics --watch --interval 200ms --json | head -n 3").run().ok();
    let documents: Vec<Value> =
        watched.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(
        documents.len() == 3
            && documents
                .iter()
                .all(|document| document["sandboxes"].as_array().is_some_and(|rows| rows.len() == 2))
    );

    // Without a terminal there is nothing to draw on.
    project.run(&["top"]).exits(1).says("needs a terminal");

    // A restart begins anew.
    project.ok(&["restart", "idle"]);
    let again = metrics(&project, "idle", |row| row["uptime_ms"].is_u64());
    assert!(again["started_unix_ms"].as_u64() > idle["started_unix_ms"].as_u64());
    project.down();
    leftovers::assert_none(project.home());
}

/// The registry of a home is the only file that supervisors write while nothing happens.
#[test]
fn the_steady_state_writes_to_the_registry_only() {
    let project = Project::new(SANDBOXFILE);
    project.ok(&["up", "-d", "--wait", "idle"]);
    metrics(&project, "idle", |row| row["memory_bytes"].is_u64());
    let supervisor = project.processes("idle").supervisor.pid;
    let seen = Command::new("timeout")
        .args([
            "--signal=INT",
            "8",
            "strace",
            "-f",
            "-y",
            "-e",
            "trace=write,pwrite64,writev,rename,unlink,fsync,openat",
        ])
        .args(["-p", &supervisor.to_string()])
        .output()
        .expect("strace runs");
    let seen = String::from_utf8_lossy(&seen.stderr);
    let is_file = |line: &&str| {
        let is_write = ["write(", "pwrite64(", "writev(", "rename(", "unlink(", "fsync("]
            .iter()
            .any(|call| line.contains(call));
        is_write && !["anon_inode:", "socket:", "pipe:"].iter().any(|kind| line.contains(kind))
    };
    let (registry, others): (Vec<&str>, Vec<&str>) =
        seen.lines().filter(is_file).partition(|line| line.contains("</dev/shm/msb-met-"));
    assert!(registry.len() >= 6, "{seen}");
    assert!(others.is_empty(), "{others:#?}");
    project.down();
}
