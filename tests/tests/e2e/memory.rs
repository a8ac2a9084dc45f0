//! Memory that a guest has freed goes back to the host.

use std::fs;
use tests::Project;
use tests::wait::retry;

/// The size of the file in memory that the guest creates and removes, in MiB.
const FILLED_MIB: u64 = 200;

/// With a mount, the guest's memory is shared with the file server.
#[test]
fn freed_memory_goes_back_to_the_host() {
    let project = Project::new(
        r#"
        project "memory"
        sandbox "plain" { image "@image"; memory "384M"; start "sleep" "1000000"; tmpfs "/memory" size="256M" }
        sandbox "mounts" { image "@image"; memory "384M"; start "sleep" "1000000"; tmpfs "/memory" size="256M"; mount "./src" to="/src" }
        "#,
    );
    fs::create_dir(project.directory().join("src")).expect("a folder can be created");
    project.up();
    for sandbox in ["plain", "mounts"] {
        let pid = project.processes(sandbox).vmm.pid;
        let before = resident_mib(pid);
        project.exec(
            sandbox,
            &["dd", "if=/dev/zero", "of=/memory/file", "bs=1M", &format!("count={FILLED_MIB}")],
        );
        let filled = resident_mib(pid);
        assert!(filled >= before + FILLED_MIB * 3 / 4, "{sandbox}: {before}, then {filled} MiB");
        project.exec(sandbox, &["rm", "/memory/file"]);
        // The guest's kernel waits for two seconds before it reports.
        retry(|| match resident_mib(pid) {
            now if now <= filled - FILLED_MIB / 2 => Ok(()),
            now => Err(format!("{sandbox}: {before}, then {filled}, now {now} MiB")),
        });
    }
    project.down();
}

/// Returns the memory of a process that is in use on the host.
fn resident_mib(pid: i32) -> u64 {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a running process");
    let line = smaps.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_else(|| panic!("{smaps}"));
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
}
