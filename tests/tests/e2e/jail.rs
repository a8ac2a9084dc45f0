//! The jail round the processes of a virtual machine, from inside and from outside.

use serde_json::Value;
use std::fs;
use tests::{Project, installation};

/// The attempts that a probe makes at least.
const ATTEMPTS_MIN: u64 = 45;

/// A process in the jail is refused all that a virtual machine does not need, and can do what it needs.
#[test]
fn attempts_from_inside_are_refused() {
    let project = Project::new("");
    let report = project.ok(&["doctor", "--json"]).json();
    let jail = &report["jail"];
    assert_eq!(jail["problem"], Value::Null, "{jail:#}");
    assert_eq!(jail["unexpected"], serde_json::json!([]), "{jail:#}");
    assert_eq!(jail["holds"], true, "{jail:#}");
    assert!(jail["attempts"].as_u64().unwrap() >= ATTEMPTS_MIN, "{jail:#}");
    assert!(!texts(&jail["in_force"]).is_empty(), "{jail:#}");
}

/// Where namespaces are allowed and mounts are not, the other layers hold, and what is missing is said.
#[test]
fn a_layer_that_the_host_refuses_is_reported() {
    let program = installation::root().join("tests/python/no_mounts.py");
    // Not on the emulated host, which has no Python.
    if !program.exists() {
        return;
    }
    let project = Project::new("");
    let line = format!("python3 {} msb doctor --json", program.display());
    let report = project.shell(&line).run().exits(0).json();
    let jail = &report["jail"];
    assert_eq!(jail["holds"], true, "{jail:#}");
    let (in_force, gaps) = (texts(&jail["in_force"]), texts(&jail["gaps"]));
    assert!(in_force.iter().any(|layer| layer.contains("seccomp")), "{jail:#}");
    assert!(gaps.iter().any(|gap| gap.starts_with("own root directory: ")), "{jail:#}");
}

/// What `inspect` says about a running one is what the kernel says.
#[test]
fn the_kernel_agrees_with_inspect() {
    let project = Project::new(
        r#"
        project "jail"
        sandbox "web" { image "@image"; start "sleep" "1000000"; mount "./src" to="/src" }
        "#,
    );
    fs::create_dir(project.directory().join("src")).unwrap();
    project.up();
    let entry = project.inspect("web");
    let pid = entry["vmm_pid"].as_i64().unwrap();
    let jail = &entry["jail"];
    let namespaces: Vec<&str> =
        jail["namespaces"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
    for (kind, file) in
        [("user", "user"), ("mount", "mnt"), ("pid", "pid"), ("net", "net"), ("ipc", "ipc"), ("uts", "uts")]
    {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
        let is_own = of(&pid.to_string()) != of("self");
        assert_eq!(is_own, namespaces.contains(&kind), "{kind}: {jail:#}");
    }
    assert_eq!(jail["syscalls"]["state"], "in_force", "{jail:#}");
    assert_eq!(jail["capabilities"]["state"], "in_force", "{jail:#}");
    let status = status(pid);
    assert_eq!(field(&status, "Seccomp"), "2", "{status}");
    assert_eq!(field(&status, "NoNewPrivs"), "1", "{status}");
    // libkrun makes and changes files as the users of its guest: capabilities about users and files.
    let expected = if project.driver() == "krun" { "00000000880000df" } else { "0000000000000000" };
    assert_eq!((field(&status, "CapEff"), field(&status, "CapPrm")), (expected, expected), "{status}");
    if jail["root"]["state"] == "in_force" {
        let mut names: Vec<_> = fs::read_dir(format!("/proc/{pid}/root"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        for foreign in ["home", "root", "var", "work"] {
            assert!(!names.iter().any(|name| name == foreign), "{names:?}");
        }
        assert!(names.iter().any(|name| name == "proc"), "{names:?}");
    }
    let server = project.file_server("web");
    let group = has_limits(jail, &[pid, server.pid.into()]);
    // It works with the host's files, and with few system calls.

    let status = self::status(server.pid.into());
    assert_eq!(field(&status, "Seccomp"), "2", "{status}");
    assert_eq!(field(&status, "NoNewPrivs"), "1", "{status}");
    project.ok(&["inspect", "web"]).prints_some("// jail ");
    project.down();
    assert!(group.is_none_or(|folder| !fs::exists(folder).unwrap()));
}

/// Where the host delegates control groups, these processes are in one with limits. Returns its directory.
fn has_limits(jail: &Value, pids: &[i64]) -> Option<String> {
    let group = |pid: i64| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process");
        text.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)).expect("a group")
    };
    let is_own = pids.iter().all(|pid| group(*pid).contains("/msb-"));
    assert_eq!(is_own, jail["limits"]["state"] != "missing", "{jail:#}");
    if !is_own {
        assert!(jail["limits"]["why"].as_str().is_some_and(|why| !why.is_empty()), "{jail:#}");
        return None;
    }
    let folder = format!("/sys/fs/cgroup{}", group(pids[0]));
    let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).expect("a controller");
    let memory: u64 = read("memory.max").trim().parse().expect("a limit");
    assert!((1 << 30..1 << 32).contains(&memory), "{memory}");
    assert_eq!(read("pids.max").trim(), "512");
    Some(folder)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn status(pid: i64) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).expect("a process")
}

/// Returns a field of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map_or("", str::trim)
}
