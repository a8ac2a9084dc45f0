//! Large projects without virtual machines: how long it takes to load, check and plan them, how that grows,
//! and how long `msb` takes from its start to its end when there is nothing to do.
//!
//! Beside it, `docker-compose config` reads the equivalent file in the same run. It loads, interpolates and
//! checks against its schema; it compares with nothing, plans nothing, and knows neither scripts nor jobs.

use super::{Result, walker};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::Msb;
use tests::generate::{Mix, Spelling, project};
use tests::installation;

/// The sizes that are measured, and how often.
const SIZES: [(usize, usize); 3] = [(100, 50), (1_000, 10), (10_000, 3)];
/// The most sandboxes that the peer is asked to read: it takes a minute for ten times as many.
const PEER_MAX: usize = 1_000;
const EXPONENT_MAX: f64 = 1.1;
const PEAK_MIB_MAX: f64 = 250.0;
const LOADED_MS_MAX: [f64; 3] = [f64::INFINITY, 80.0, 800.0];
const NO_OP_UP_MS_MAX: [f64; 3] = [f64::INFINITY, 150.0, f64::INFINITY];
const FIRST_OUTPUT_MS_MAX: f64 = 50.0;
const FIRST_OUTPUT_SIZE: usize = 1_000;
/// The most that a command which reads the whole project may take, by `msb validate` of the same file.
const BY_VALIDATE_MAX: f64 = 2.0;
/// The least sandboxes for such a comparison: below, the start of the process is most of both.
const BY_VALIDATE_MIN: usize = 1_000;
/// The exit code where a Sandboxfile is not trusted.
const NOT_TRUSTED: i32 = 3;

/// Something that was measured, and what is promised.
pub struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    limit: Option<f64>,
}

impl Row {
    /// A value and the most that it may be; infinity when nothing is promised.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str, limit: f64) -> Self {
        Self { what: what.into(), value, unit, limit: limit.is_finite().then_some(limit) }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let Self { what, value, unit, limit } = self;
        json!({ "what": what, "value": value, "unit": unit, "limit": limit,
                "within_limit": limit.map(|limit| *value <= limit) })
    }
}

/// Everything as a table.
pub fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let line = |Row { what, value, unit, limit }: &Row| {
        let verdict = limit.map_or(String::new(), |limit| {
            format!("  at most {limit} {unit} ({})", if *value <= limit { "ok" } else { "too much" })
        });
        format!("{what:<width$}  {:>9} {unit}{verdict}\n", format!("{value:.2}")).replace(" \n", "\n")
    };
    rows.iter().map(line).collect()
}

/// Measures everything.
pub fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (spelling, file) in [(Spelling::Kdl, "Sandboxfile"), (Spelling::Yaml, "Sandboxfile.yaml")] {
        eprintln!("bench: large projects in {file}");
        in_process(&mut rows, spelling, file)?;
    }
    for ((size, runs), limit) in SIZES.into_iter().zip(NO_OP_UP_MS_MAX) {
        eprintln!("bench: msb on {size} completed jobs");
        commands(&mut rows, size, runs, limit)?;
    }
    walker::measure(&mut rows)?;
    peer(&mut rows)?;
    Ok(rows)
}

/// Loading, checking and planning by themselves.
fn in_process(rows: &mut Vec<Row>, spelling: Spelling, file: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut points, mut worked_points) = (Vec::new(), Vec::new());
    for ((size, runs), limit) in SIZES.into_iter().zip(LOADED_MS_MAX) {
        let path = folder.path().join(file);
        std::fs::write(&path, project(size, Mix::Services, spelling))?;
        let mut command = example("measure")?;
        command.arg(&path).arg(runs.to_string());
        let output = command.stderr(Stdio::inherit()).output()?;
        let lines = String::from_utf8(output.stdout)?;
        let samples: Vec<Value> =
            lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
        let ms = |sample: &Value| sample["load_ms"].as_f64().zip(sample["plan_ms"].as_f64());
        let took: Vec<f64> = samples.iter().filter_map(ms).map(|(load, plan)| load + plan).collect();
        let peak = samples.iter().filter_map(|sample| sample["peak_kib"].as_f64()).fold(0.0, f64::max);
        let took = median(took).ok_or("measure said nothing")?;
        // The kernel counts it from time to time only, so one run alone says little.
        let worked: f64 = samples.iter().filter_map(|sample| sample["processor_ms"].as_f64()).sum();
        let worked = worked / samples.len() as f64;
        points.push((size as f64, took));
        worked_points.push((size as f64, worked));
        let what = format!("{file}, {size}: load, check, plan");
        rows.push(Row::new(what.clone(), took, "ms", limit));
        rows.push(Row::new(format!("{what}, on a processor"), worked, "ms", limit));
        rows.push(Row::new(format!("{file}, {size}: peak memory"), peak / 1_024.0, "MiB", PEAK_MIB_MAX));
    }
    for (points, how) in [(points, ""), (worked_points, ", on a processor")] {
        rows.push(Row::new(format!("{file}: growth exponent{how}"), exponent(&points), "", EXPONENT_MAX));
    }
    Ok(())
}

/// `msb` itself, on jobs that have all completed.
fn commands(rows: &mut Vec<Row>, size: usize, runs: usize, up_limit: f64) -> Result<()> {
    // Recording waits for the disk, twice for each job; memory does not keep anybody waiting.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let (folder, home) = (scratch.path().join("project"), scratch.path().join("home"));
    std::fs::create_dir(&folder)?;
    let image = installation::image();
    let text = project(size, Mix::Jobs, Spelling::Kdl).replace("./image", &image.display().to_string());
    let file = folder.join("Sandboxfile");
    std::fs::write(&file, text)?;
    let status = example("record")?.args([&file, &home]).status()?;
    if !status.success() {
        return Err("the jobs could not be recorded".into());
    }
    // Their image lies elsewhere.
    let trusted = Msb::new(&home, &folder, &["trust", "--yes"])
        .into_command()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !trusted.success() {
        return Err("msb does not trust the jobs".into());
    }
    for (arguments, limit) in [
        (&["validate"][..], f64::INFINITY),
        (&["plan", "--detailed-exitcode"], f64::INFINITY),
        (&["up", "-d"], up_limit),
    ] {
        let (mut whole, mut first, mut worked) = (Vec::new(), Vec::new(), 0.0);
        // The first one warms the caches.
        for run in 0..=runs {
            let before = children_ms()?;
            let (output, end) = timed(Msb::new(&home, &folder, arguments).into_command(), Stdio::null(), 0)?;
            if run > 0 {
                worked += children_ms()? - before;
                first.push(output.as_secs_f64() * 1_000.0);
                whole.push(end.as_secs_f64() * 1_000.0);
            }
        }
        let command = arguments[0];
        let whole = median(whole).ok_or("no runs")?;
        let what = format!("msb {command}, {size} jobs, nothing to do");
        rows.push(Row::new(what.clone(), whole, "ms", limit));
        rows.push(Row::new(format!("{what}, on a processor"), worked / runs as f64, "ms", limit));
        if command != "validate" && size == FIRST_OUTPUT_SIZE {
            let first = median(first).ok_or("no runs")?;
            rows.push(Row::new(
                format!("msb {command}, {size}: first output"),
                first,
                "ms",
                FIRST_OUTPUT_MS_MAX,
            ));
        }
    }
    if size >= BY_VALIDATE_MIN { by_validate(rows, scratch.path(), size, runs) } else { Ok(()) }
}

/// Commands that read the whole project to say something of a part of it, each by `msb validate` of the same file.
fn by_validate(rows: &mut Vec<Row>, scratch: &Path, size: usize, runs: usize) -> Result<()> {
    let (folder, home, empty) = (scratch.join("project"), scratch.join("home"), scratch.join("empty-home"));
    let file = folder.join("Sandboxfile");
    for (what, home, arguments, exit_code) in [
        ("inspect NAME", &home, &["inspect", "job-0000-1"][..], 0),
        ("net why", &home, &["net", "why", "job-0000-1", "example.org:443"], 0),
        ("config --explain NAME.env", &home, &["config", "--explain", "job-0000-1.env"], 0),
        ("config --explain", &home, &["config", "--explain"], 0),
        ("plan -f -", &home, &["plan", "-f", "-", "--trust"], 0),
        ("up, refused as it is not trusted", &empty, &["up", "-d"], NOT_TRUSTED),
    ] {
        let (mut took, mut validated) = (Vec::new(), Vec::new());
        for run in 0..=runs {
            // Both in turn, so that what else the machine does slows both.
            let validate = Msb::new(home, &folder, &["validate"]).into_command();
            let (_, reference) = timed(validate, Stdio::null(), 0)?;
            let command = Msb::new(home, &folder, arguments).into_command();
            let (_, measured) = timed(command, std::fs::File::open(&file)?.into(), exit_code)?;
            // The first one warms the caches.
            if run > 0 {
                validated.push(reference.as_secs_f64());
                took.push(measured.as_secs_f64());
            }
        }
        let (took, validated) = median(took).zip(median(validated)).ok_or("no runs")?;
        let what = format!("msb {what}, {size} jobs: {:.0} ms, by msb validate", took * 1_000.0);
        rows.push(Row::new(what, took / validated, "x", BY_VALIDATE_MAX));
    }
    Ok(())
}

/// How long the processes that this one has waited for were on a processor.
pub fn children_ms() -> Result<f64> {
    /// What the kernel counts in, whatever its own clock does.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything; the 16th and 17th field are counted from its end.
    let (_, fields) = text.rsplit_once(')').ok_or("a strange /proc/self/stat")?;
    let ticks = fields.split_ascii_whitespace().skip(13).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<std::result::Result<f64, _>>()? * 1_000.0 / TICKS_A_SECOND)
}

/// The time to the first byte on either output, and to the end.
fn timed(mut command: Command, stdin: Stdio, exit_code: i32) -> Result<(Duration, Duration)> {
    let (mut output, both) = std::io::pipe()?;
    command.stdin(stdin).stdout(both.try_clone()?).stderr(both);
    let began = Instant::now();
    let mut child = command.spawn()?;
    // The command holds the other ends of the pipe; without them it would never end.
    drop(command);
    let mut text = vec![0; 1];
    output.read_exact(&mut text)?;
    let first = began.elapsed();
    output.read_to_end(&mut text)?;
    let status = child.wait()?;
    let end = began.elapsed();
    if status.code() != Some(exit_code) {
        return Err(format!("msb ended with {status}: {}", String::from_utf8_lossy(&text)).into());
    }
    Ok((first, end))
}

/// What docker-compose takes for the equivalent files.
fn peer(rows: &mut Vec<Row>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (size, _) in SIZES.into_iter().filter(|(size, _)| *size <= PEER_MAX) {
        eprintln!("bench: docker-compose on {size} services");
        let path = folder.path().join("docker-compose.yaml");
        std::fs::write(&path, project(size, Mix::Services, Spelling::Compose))?;
        let began = Instant::now();
        let status = Command::new("docker-compose").arg("-f").arg(&path).args(["config", "-q"]).status();
        let Ok(status) = status else {
            eprintln!("bench: docker-compose is not installed, so nothing stands beside these figures");
            return Ok(());
        };
        if !status.success() {
            return Err("docker-compose does not take the equivalent file".into());
        }
        let took = began.elapsed().as_secs_f64() * 1_000.0;
        let what =
            format!("docker-compose config -q, {size} services (loads and checks; no scripts, jobs, plan)");
        rows.push(Row::new(what, took, "ms", f64::INFINITY));
    }
    Ok(())
}

/// A program that is built beside this one.
fn example(name: &str) -> Result<Command> {
    let path = std::env::current_exe()?.with_file_name("examples").join(name);
    if !path.is_file() {
        return Err(format!("{} is missing: make bench builds it", path.display()).into());
    }
    Ok(Command::new(path))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The slope of the line through the logarithms: 1 when twice as many take twice as long.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(size, took)| (size.ln(), took.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let rise: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    rise / logs.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
