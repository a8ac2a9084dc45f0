//! A client, nginx and an app in Python, which reach only what their rules allow.

use std::fs;
use tests::outside::Outside;
use tests::process::Process;
use tests::wait::retry;
use tests::{Project, leftovers};

/// Returns the number of a process's descriptors and its memory in KiB.
fn usage(process: Process) -> (usize, u64) {
    let folder = format!("/proc/{}", process.pid);
    let descriptors = fs::read_dir(format!("{folder}/fd")).expect("it lives").count();
    let status = fs::read_to_string(format!("{folder}/status")).expect("it lives");
    let memory = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok());
    (descriptors, memory.expect("the kernel says"))
}

fn get(outside: &Outside, project: &Project, url: &str) -> String {
    outside.beside(project.processes("proxy").supervisor, &["curl", "-s", "--max-time", "20", url])
}

#[test]
fn the_webstack_reaches_one_name_outside_and_no_other() {
    let project = Project::example("webstack");
    let scratch = tempfile::tempdir().expect("a scratch folder can be made");
    let outside = Outside::up(&project, scratch.path().join("outside"));
    assert_eq!(project.exec("client", &["curl", "-s", "http://proxy/status"]), "outside 93.184.216.12 80");
    let out = project.exec("client", &["curl", "-s", "http://proxy/"]);
    assert_eq!(out, "hello from the app");
    // Neither other names nor addresses nor ports.
    for (who, url, code) in [
        ("client", "http://app:8000/", 6),
        ("client", "http://status.example.org/", 6),
        ("client", "http://93.184.216.12/", 7),
        ("client", "http://proxy:8000/", 7),
    ] {
        project.run(&["exec", who, "--", "curl", "-s", "--max-time", "20", url]).exits(code);
    }
    for (who, address) in [("proxy", "93.184.216.12"), ("app", "93.184.216.11"), ("proxy", "10.1.2.3")] {
        let script = format!("nc {address} 80 </dev/null");
        let run = project.run(&["exec", who, "--", "sh", "-c", &script]);
        assert!(run.code != 0 && run.err().contains("refused"), "{who} {address}: {}", run.err());
    }
    outside.never_saw("tcp 93.184.216.11");
    outside.never_saw("tcp 10.1.2.3");

    // Many connections from the host, at the same time and in a row, leave neither descriptors nor memory in use.
    assert_eq!(get(&outside, &project, "http://127.0.0.1:8088/"), "hello from the app\n");
    let supervisor = project.processes("proxy").supervisor;
    let load = |arguments: &[&str]| {
        let url = ["http://127.0.0.1:8088/static"];
        let said = outside.beside(supervisor, &[&["ab", "-q", "-s", "60"], arguments, &url].concat());
        assert!(said.contains("Failed requests:        0") && !said.contains("Non-2xx"), "{said}");
        eprintln!("{}", said.lines().filter(|line| line.contains("per second")).collect::<String>());
    };
    load(&["-k", "-n", "4000", "-c", "64"]);
    load(&["-n", "500", "-c", "8"]);
    let before = usage(supervisor);
    load(&["-n", "2000", "-c", "8"]);
    let after = retry(|| {
        let after = usage(supervisor);
        if after.0 <= before.0 { Ok(after) } else { Err(format!("descriptors: {before:?}, then {after:?}")) }
    });
    assert!(after.1 <= before.1 + 4 * 1024, "memory in KiB: {before:?}, then {after:?}");

    let asked: Vec<_> = outside.seen().into_iter().filter(|line| line.starts_with("name ")).collect();
    assert!(!asked.is_empty() && asked.iter().all(|line| line == "name status.example.org"), "{asked:?}");
    project.down();
    leftovers::assert_none(project.home());
}
