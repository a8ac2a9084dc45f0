//! The memory of a supervisor whose guest or peers fill every buffer.

use super::Result;
use super::large::Row;
use std::fs;
use std::time::Duration;
use tests::outside::Outside;
use tests::process::Process;
use tests::{Project, installation};

/// The limit of a supervisor's memory, in MiB.
const PEAK_MIB_MAX: f64 = 300.0;
/// How long the loud health check is repeated.
const PROBED: Duration = Duration::from_secs(60);
/// A server that sends without end and reads nothing.
const FULL: [&str; 2] = ["93.184.216.10", "19"];
const SANDBOXFILE: &str = r#"
project "hostile"
sandbox "one" {
    image "./app"
    memory "1G"
    port "7000:7000" "7000:7000/udp"
    start "python3" "/hoard.py" "listen" "7000"
}
"#;
/// A health check that prints more than is kept, in characters that take six bytes each in JSON.
const LOUD_CHECK: &str = r#"    healthcheck {
        exec "sh" "-c" "head -c 20000000 /dev/zero | tr '\\0' '\\1'; exit 1"
        interval "1s"
        timeout "20s"
    }
}
"#;
/// Connects from the host: CONNECTIONS times over TCP, with filled buffers, or with a flood of packets for SECONDS.
const VISIT: &str = r"
import socket, sys, time
what, count = sys.argv[1], int(sys.argv[2])
if what == 'packets':
    end, client, sent = time.monotonic() + count, socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0
    while time.monotonic() < end:
        for _ in range(1000):
            client.sendto(bytes(1400), ('127.0.0.1', 7000))
        sent += 1000
    print(sent, 'packets')
else:
    import resource
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kept, written = [], 0
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(('127.0.0.1', 7000))
        kept.append(client)
        time.sleep(0.002)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for client in kept[:]:
            try:
                written += client.send(bytes(65536))
            except BlockingIOError:
                pass
            except OSError:
                kept.remove(client)
        time.sleep(0.1)
    print(len(kept), 'connections hold', written, 'bytes')
";

/// A supervisor and its peak memory.
struct Watched {
    supervisor: Process,
    rows: Vec<Row>,
}

impl Watched {
    /// Runs a scenario and records the peak memory.
    fn during(&mut self, what: &str, scenario: impl FnOnce() -> String) -> Result<()> {
        let folder = format!("/proc/{}", self.supervisor.pid);
        // 5 resets the peak.
        fs::write(format!("{folder}/clear_refs"), "5")?;
        eprintln!("bench: {what}");
        let said = scenario();
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak of memory")?;
        let kib: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        let what = format!("supervisor's peak of memory, {what}: {}", said.trim());
        self.rows.push(Row::new(what, kib / 1024.0, "MiB", PEAK_MIB_MAX));
        Ok(())
    }
}

/// Measures the peak memory in each scenario.
pub fn measure() -> Result<Vec<Row>> {
    let project = Project::new(SANDBOXFILE);
    let image = project.image_of("webstack", "app");
    fs::copy(installation::root().join("tests/guest/hoard.py"), image.join("hoard.py"))?;
    let outside = Outside::up(&project, project.directory().join("outside"));
    let supervisor = project.processes("one").supervisor;
    let mut watched = Watched { supervisor, rows: Vec::new() };
    let hoard = |words: &[&str]| project.exec("one", &[&["python3", "/hoard.py"], words].concat());
    let visit = |what: &str, count: &str| outside.beside(supervisor, &["python3", "-c", VISIT, what, count]);

    watched.during("names of one address", || hoard(&["names", "20000"]))?;
    watched.during("connections to it", || hoard(&["connections", "4096", FULL[0], FULL[1]]))?;
    watched.during("answers of thousands of addresses", || hoard(&["answers", "300"]))?;
    watched.during("connections to a published port", || visit("connections", "4096"))?;
    watched.during("packets to a published port", || visit("packets", "10"))?;
    project.write("Sandboxfile", &SANDBOXFILE.replace("}\n", LOUD_CHECK));
    watched.during("health checks that print 20 MB each", || {
        project.ok(&["up", "-d"]);
        std::thread::sleep(PROBED);
        let ps = project.ok(&["ps"]);
        // The start is included: failing probes are kept from the first one on.
        ["not healthy yet", "unhealthy"]
            .into_iter()
            .find(|word| ps.out().contains(word))
            .unwrap_or("never run")
            .into()
    })?;
    project.down();
    Ok(watched.rows)
}
