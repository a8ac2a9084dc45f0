//! Throughput, requests and lookups, beside the same VM on QEMU's user network and on passt.
//!
//! Each contender has a network namespace of its own ([`Outside`]) with its own ports and name server.

mod machine;

use crate::Result;
use crate::figure::{Figure, Limit, Samples};
use machine::{Machine, Wiring};
use serde_json::Value;
use std::fs;
use std::time::Duration;
use tests::outside::Outside;
use tests::process::Process;
use tests::{Project, installation};

/// The duration of one transfer, in seconds.
const FLOW_SECONDS: &str = "3";
/// The number of attempts to start a transfer, and the pause between them.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(200);
/// Requests of one run on persistent connections.
const REQUESTS: &str = "5000";
/// Persistent connections at the same time: QEMU's user network loses some of many.
const CONNECTIONS: &str = "8";
/// Sequential requests of one run with a connection each.
const SINGLE_REQUESTS: &str = "500";
/// Sequential lookups of one run. No name is repeated, as the cache is not measured.
const NAMES: &str = "100";
/// The least ratios to the throughput of QEMU's user network and of passt.
const OF_USER: f64 = 2.0;
const OF_PASST: f64 = 1.0;

const SANDBOXFILE: &str = r#"
project "bench"
sandbox "one" {
    image "./image"
    memory "256M"
    port "5201:5201"
    port "8080:80"
    script "serve" "iperf3 -s -D; exec nginx -c /nginx.conf"
    start "serve"
}
"#;

/// A network under test.
struct Contender {
    outside: Outside,
    process: Process,
    guest: Guest,
}

enum Guest {
    Msb(Project),
    Machine(Machine),
}

impl Contender {
    /// Returns the output of a command on its host.
    fn beside(&self, command: &[&str]) -> String {
        self.outside.beside(self.process, command)
    }

    fn name(&self) -> &'static str {
        match &self.guest {
            Guest::Msb(_) => "msb",
            Guest::Machine(machine) => machine.wiring().name(),
        }
    }

    /// Measures everything once.
    fn run(&mut self, run: usize, reached: &mut Reached) -> Result<()> {
        reached.into.push(self.throughput(false)?);
        reached.out.push(self.throughput(true)?);
        reached.requests.push(self.requests()?);
        reached.request.push(self.request()?);
        reached.names.extend(self.names(run)?);
        Ok(())
    }

    /// Measures MiB per second into the guest or out of it.
    fn throughput(&self, outward: bool) -> Result<f64> {
        let command = ["iperf3", "--json", "--client", "127.0.0.1", "--time", FLOW_SECONDS, "--omit", "1"];
        let command = [&command[..], if outward { &["--reverse"] } else { &[] }].concat();
        let mut error = Value::Null;
        // The server stops listening for a moment after each client.
        for _ in 0..TRIES {
            let report: Value = serde_json::from_str(&self.beside(&command))?;
            if let Some(bits) = report["end"]["sum_received"]["bits_per_second"].as_f64() {
                return Ok(bits / 8.0 / 1_048_576.0);
            }
            error = report["error"].clone();
            std::thread::sleep(PAUSE);
        }
        Err(format!("iperf3: {error}").into())
    }

    /// Measures requests per second through the published port.
    fn requests(&self) -> Result<f64> {
        self.ab(&["-k", "-n", REQUESTS, "-c", CONNECTIONS], "Requests per second:")
    }

    /// Measures the time from the start of a connection to the end of its answer.
    fn request(&self) -> Result<Duration> {
        let ms = self.ab(&["-n", SINGLE_REQUESTS, "-c", "1"], "Time per request:")?;
        Ok(Duration::from_secs_f64(ms / 1_000.0))
    }

    fn ab(&self, arguments: &[&str], line: &str) -> Result<f64> {
        let said = self.beside(&[&["ab", "-q"], arguments, &["http://127.0.0.1:8080/"]].concat());
        if !said.contains("Failed requests:        0") || said.contains("Non-2xx") {
            return Err(format!("requests failed: {said}").into());
        }
        let value = said.lines().find_map(|said| said.strip_prefix(line)?.split_ascii_whitespace().next());
        Ok(value.ok_or("ab says no figure")?.parse()?)
    }

    /// Measures the time of each lookup.
    fn names(&mut self, run: usize) -> Result<Vec<Duration>> {
        let prefix = format!("run-{run}-");
        let said = match &mut self.guest {
            Guest::Msb(project) => project.ok(&["exec", "one", "--", "ask", NAMES, &prefix]).out().to_owned(),
            Guest::Machine(machine) => machine.ask(NAMES, &prefix)?,
        };
        let times = said.lines().map(|line| Ok(Duration::from_micros(line.trim().parse()?)));
        times.collect()
    }
}

/// The results of a contender.
#[derive(Default)]
struct Reached {
    into: Vec<f64>,
    out: Vec<f64>,
    requests: Vec<f64>,
    request: Vec<Duration>,
    names: Vec<Duration>,
}

/// Measures all figures.
pub fn measure(runs: usize) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let project = Project::new(SANDBOXFILE);
    let image = project.directory().join("image");
    machine::make_image(&project.image_of("webstack", "proxy"), &image)?;
    let outside = Outside::up(&project, folder.path().join("msb"));
    // No health check: the other guests have none either.
    while project.run(&["exec", "one", "--", "serves"]).code != 0 {
        std::thread::sleep(PAUSE);
    }
    let process = project.processes("one").supervisor;
    let vmm = project.processes("one").vmm;
    let mut contenders = vec![Contender { outside, process, guest: Guest::Msb(project) }];
    let initramfs = machine::initramfs(&image, folder.path())?;
    let [(_, kernel), _] = installation::guest();
    for wiring in [Wiring::User, Wiring::Passt] {
        let world = folder.path().join(wiring.name());
        fs::create_dir(&world)?;
        let outside = Outside::at(world.clone());
        let machine = Machine::start(vmm, wiring, &kernel, &initramfs, &world)?;
        let process = machine.process();
        contenders.push(Contender { outside, process, guest: Guest::Machine(machine) });
    }
    let mut reached: Vec<Reached> = contenders.iter().map(|_| Reached::default()).collect();
    // In turns, so that other load slows all of them.
    for run in 1..=runs {
        eprintln!("bench: network {run} of {runs}");
        for (contender, reached) in contenders.iter_mut().zip(&mut reached) {
            contender.run(run, reached).map_err(|error| format!("{}: {error}", contender.name()))?;
        }
    }
    for contender in contenders {
        if let Guest::Msb(project) = contender.guest {
            project.down();
        }
    }
    let [ours, user, passt] = <[Reached; 3]>::try_from(reached).map_err(|_| "there are three")?;
    Ok([("QEMU's user network", user, OF_USER), ("passt", passt, OF_PASST)]
        .into_iter()
        .flat_map(|(beside, theirs, share)| figures(&ours, beside, &theirs, share))
        .collect())
}

fn figures(ours: &Reached, beside: &'static str, theirs: &Reached, share: f64) -> [Figure; 5] {
    let figure = |name, what: &'static str, measured, reference, limit| Figure {
        name,
        what: what.into(),
        measured,
        beside,
        reference,
        limit,
    };
    let rates = |values: &[f64]| Samples::of_rates(values.to_vec());
    let throughput = Some(Limit::AtLeast(share));
    [
        figure("into the guest", "iperf3, host to guest", rates(&ours.into), rates(&theirs.into), throughput),
        figure("out of the guest", "iperf3, guest to host", rates(&ours.out), rates(&theirs.out), throughput),
        figure(
            "requests",
            "nginx, 8 kept connections",
            Samples::of_requests(ours.requests.clone()),
            Samples::of_requests(theirs.requests.clone()),
            None,
        ),
        figure(
            "request",
            "nginx, a connection each",
            Samples::of_times(&ours.request),
            Samples::of_times(&theirs.request),
            None,
        ),
        figure(
            "name",
            "a name looked up",
            Samples::of_times(&ours.names),
            Samples::of_times(&theirs.names),
            None,
        ),
    ]
}
