//! `make bench`: the costs of msb, each beside a reference of the same run.
//!
//!   bench [--json] [--runs N] [--only binary|hostile|large|machines|mounts|network|pull|reload|tls|unpack]

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::Project;
use tests::installation;

mod binary;
mod exec;
mod figure;
mod follow;
mod hostile;
mod large;
mod mounts;
mod network;
mod pull;
mod reload;
mod tls;
mod unpack;
mod walker;

use figure::{Figure, Limit, Samples};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: bench [--json] [--runs N] [--only binary|hostile|large|machines|mounts|network|pull|reload|tls|unpack]";
/// The version of the JSON.
const JSON_VERSION: u32 = 2;
const ONE_SANDBOX: &str = "project \"bench\"\nsandbox \"one\" {\n    image \"@image\"\n}\n";
/// Two sandboxes: memory that they share is not counted.
const TWO_SANDBOXES: &str =
    "project \"bench\"\nsandbox \"one\" { image \"@image\" }\nsandbox \"two\" { image \"@image\" }\n";
/// The defaults of a sandbox, also used for the bare VM.
const MEMORY_MIB: &str = "256";
/// A chain of three sandboxes, and an independent one.
const CHAIN: &str = r#"
project "bench"
sandbox "db" { image "@image"; healthcheck { exec "true" } }
sandbox "api" { image "@image"; healthcheck { exec "true" }; depends-on "db" condition="healthy" }
job "check" { image "@image"; start "true"; depends-on "api" condition="healthy" }
sandbox "aside" { image "@image" }
"#;
/// The most that an `up` may exceed its critical path by.
const CRITICAL_PATH_MAX: f64 = 1.1;
/// The output of the bare VM's init.
const INIT_SAYS: &str = "init runs";
const INIT_SOURCE: &str = r#"
#include <unistd.h>
int main(void) { write(1, "init runs\n", 10); for (;;) pause(); }
"#;

fn main() -> Result<()> {
    let mut json = false;
    let mut runs = 5;
    let mut only = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => json = true,
            "--runs" => runs = words.next().ok_or("--runs needs a number")?.parse()?,
            "--only" => only = words.next(),
            _ => {
                return Err(USAGE.into());
            }
        }
    }
    let wants = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut rows = if wants("large") { large::measure()? } else { Vec::new() };
    let (driver, mut figures) = if wants("machines") { machines(runs)? } else { (String::new(), Vec::new()) };
    if wants("binary") {
        let (more, sizes) = binary::measure()?;
        figures.extend(more);
        rows.extend(sizes);
    }
    let mut mounts = None;
    if wants("mounts") {
        let (report, more) = mounts::measure(runs)?;
        mounts = Some(report);
        rows.extend(more);
    }
    if wants("network") {
        figures.extend(network::measure(runs)?);
    }
    if wants("pull") {
        figures.push(pull::measure(runs)?);
    }
    if wants("reload") {
        figures.push(reload::measure(runs * 4)?);
    }
    if wants("tls") {
        figures.extend(tls::measure(runs)?);
    }
    if wants("unpack") {
        let (figure, more) = unpack::measure(runs)?;
        figures.push(figure);
        rows.extend(more);
    }
    if wants("machines") {
        rows.push(critical_path()?);
    }
    if wants("hostile") {
        rows.extend(hostile::measure()?);
    }
    match json {
        true => {
            let figures: Vec<_> = figures.iter().map(Figure::json).collect();
            let rows: Vec<_> = rows.iter().map(large::Row::json).collect();
            let mounts = mounts.as_ref().map(mounts::Report::json);
            println!(
                "{:#}",
                serde_json::json!({ "version": JSON_VERSION, "driver": driver, "figures": figures, "large": rows,
                    "mounts": mounts })
            );
        }
        false => {
            print!("{}", large::table(&rows));
            if wants("machines") {
                print!("\ndriver: {driver}\n");
            }
            if !figures.is_empty() {
                print!("\n{}", figure::table(&figures));
            }
            if let Some(mounts) = &mounts {
                print!("\n{}", mounts.table());
            }
        }
    }
    Ok(())
}

/// Measures VMs and names their driver.
fn machines(runs: usize) -> Result<(String, Vec<Figure>)> {
    let project = Project::new(ONE_SANDBOX);
    let driver = project.driver();
    let mut figures = vec![cold_start(&project, &driver, runs)?];
    project.up();
    figures.extend(warm(&project, runs * 20)?);
    figures.extend(exec::measure(&project, runs)?);
    figures.push(follow::measure(&project, runs)?);
    project.down();
    figures.push(memory()?);
    Ok((driver, figures))
}

/// Measures an `up` of several VMs, from process start to end, beside the sum of the steps on its critical path.
fn critical_path() -> Result<large::Row> {
    let project = Project::new(CHAIN);
    // Builds the image first.
    project.up();
    project.down();
    eprintln!("bench: the critical path");
    let began = Instant::now();
    // Without --wait, which checks the sandboxes once more after a pause.
    let up = project.ok(&["up", "-d"]);
    let took = began.elapsed().as_secs_f64();
    let chain = up.err().lines().find_map(|line| line.strip_prefix("critical chain: "));
    let mut steps = 0.0;
    for link in chain.ok_or("up tells no critical chain")?.split(" → ") {
        // `db 0.9s`, or `db 52 ms`.
        let time = link.split_once(' ').ok_or("a strange link of the critical chain")?.1;
        steps += match time.strip_suffix(" ms") {
            Some(ms) => ms.parse::<f64>()? / 1_000.0,
            None => time.trim_end_matches('s').parse()?,
        };
    }
    project.down();
    let what = format!("up of four machines in {took:.1} s, by its critical path of {steps:.1} s");
    Ok(large::Row::new(what, took / steps, "x", CRITICAL_PATH_MAX))
}

/// Measures the time from `up -d` to the first byte of a command's output, beside a bare VMM with the same kernel.
fn cold_start(project: &Project, driver: &str, runs: usize) -> Result<Figure> {
    let bare = BareMachine::new(driver)?;
    // Builds the image and warms the host's cache.
    project.up();
    project.down();
    bare.boot()?;
    let (mut cold, mut alone) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        eprintln!("bench: cold start {run} of {runs}");
        alone.push(bare.boot()?);
        let began = Instant::now();
        project.ok(&["up", "-d"]);
        let mut exec = project.msb(&["exec", "one", "--", "echo", "x"]).into_command();
        let mut child = exec.stdout(Stdio::piped()).spawn()?;
        child.stdout.take().ok_or("no stdout")?.read_exact(&mut [0])?;
        cold.push(began.elapsed());
        child.wait()?;
        project.down();
    }
    Ok(Figure {
        name: "cold start",
        what: "msb up -d, to the first byte of an exec".into(),
        measured: Samples::of_times(&cold),
        beside: "the VMM alone, to /init",
        reference: Samples::of_times(&alone),
        limit: Some(Limit::More(500.0)),
    })
}

/// Measures commands on a running sandbox, beside a bare process.
fn warm(project: &Project, runs: usize) -> Result<Vec<Figure>> {
    let bare = |runs| repeated("true", runs, || Command::new("true"));
    let mut figures = Vec::new();
    for (name, what, arguments, more) in [
        ("exec", "msb exec one -- true", &["exec", "one", "--", "true"][..], Some(30.0)),
        ("no-op up", "msb up -d, nothing to do", &["up", "-d"], Some(150.0)),
        ("ps", "msb ps", &["ps"], None),
    ] {
        let reference = bare(runs)?;
        let measured = repeated(name, runs, || project.msb(arguments).into_command())?;
        let limit = more.map(Limit::More);
        figures.push(Figure {
            name,
            what: what.into(),
            measured,
            beside: "a bare process",
            reference,
            limit,
        });
    }
    Ok(figures)
}

/// Measures runs of a command, from its spawn to its end.
fn repeated(name: &str, runs: usize, command: impl Fn() -> Command) -> Result<Samples> {
    let mut times = Vec::with_capacity(runs);
    // The first run warms the caches.
    for run in 0..=runs {
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let status = command.status()?;
        let took = began.elapsed();
        if !status.success() {
            return Err(format!("{name} failed: {status}").into());
        }
        if run > 0 {
            times.push(took);
        }
    }
    Ok(Samples::of_times(&times))
}

/// Measures a supervisor's private memory after many clients and much output, beside an idle process. The program's pages are
/// shared, as two supervisors run.
fn memory() -> Result<Figure> {
    let project = Project::new(TWO_SANDBOXES);
    project.up();
    for sandbox in ["one", "two"] {
        exec::wear(&project, sandbox)?;
    }
    let mut idle = Command::new("sleep").arg("1000").spawn()?;
    std::thread::sleep(Duration::from_millis(50));
    let reference = private_kib(idle.id());
    idle.kill()?;
    idle.wait()?;
    let supervisor = project.processes("one").supervisor;
    let measured = Samples::of_kib(private_kib(u32::try_from(supervisor.pid)?)?);
    project.down();
    Ok(Figure {
        name: "memory",
        what: "a supervisor's private memory".into(),
        measured,
        beside: "an idle sleep",
        reference: Samples::of_kib(reference?),
        limit: Some(Limit::More(10.0 * 1024.0)),
    })
}

/// Returns a process's private memory, in KiB.
fn private_kib(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let of = |line: &str| line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    let private = |line: &&str| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:");
    Ok(text.lines().filter(private).filter_map(of).sum())
}

/// A bare VMM with the sandboxes' kernel, as many devices, and an init that prints a word.
struct BareMachine {
    program: PathBuf,
    driver: String,
    kernel: PathBuf,
    initramfs: PathBuf,
    disk: PathBuf,
    _folder: tempfile::TempDir,
}

impl BareMachine {
    fn new(driver: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [(_, kernel), _] = installation::guest();
        let disk = folder.path().join("disk");
        std::fs::File::create(&disk)?.set_len(64 << 20)?;
        let program = std::env::current_exe()?.with_file_name("examples").join("boot");
        let initramfs = initramfs(folder.path())?;
        Ok(Self { program, driver: driver.to_owned(), kernel, initramfs, disk, _folder: folder })
    }

    /// Returns the time from its spawn to the output of its init.
    fn boot(&self) -> Result<Duration> {
        let disk = |name: &str| format!("{name}={}", self.disk.display());
        let began = Instant::now();
        let mut child = Command::new(&self.program)
            .args([
                "--driver",
                &self.driver,
                "--memory",
                MEMORY_MIB,
                "--port",
                "--kill",
                "--until",
                INIT_SAYS,
            ])
            .args(["--disk", &format!("{}:ro", disk("base")), "--disk", &disk("writable")])
            .args([&self.kernel, &self.initramfs])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut seen = Vec::new();
        let mut stdout = child.stdout.take().ok_or("no stdout")?;
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(INIT_SAYS) {
            match stdout.read(&mut buffer)? {
                0 => return Err("the bare machine ended without a word of its init".into()),
                length => seen.extend_from_slice(&buffer[..length]),
            }
        }
        let took = began.elapsed();
        std::io::copy(&mut stdout, &mut std::io::sink())?;
        child.wait()?;
        Ok(took)
    }
}

/// Creates an initramfs with only a static init.
fn initramfs(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    std::fs::create_dir(&root)?;
    std::fs::write(folder.join("init.c"), INIT_SOURCE)?;
    let script = "cc -static -Os -s -o root/init init.c && cd root && echo init | cpio -o -H newc --quiet >../initramfs";
    let status = Command::new("sh").args(["-c", script]).current_dir(folder).status()?;
    if !status.success() {
        return Err("cannot build the bare machine's init: cc and cpio are needed".into());
    }
    Ok(folder.join("initramfs"))
}
