//! Large projects without VMs: the time to load, check and plan them, its growth, and `msb` without changes.
//!
//! The reference is `docker-compose config` of the equivalent file in the same run. It loads, interpolates and validates,
//! but plans nothing and knows neither scripts nor jobs.

use super::{Result, walker};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::Msb;
use tests::generate::{Mix, Spelling, project};
use tests::installation;

/// The measured sizes, and the number of runs of each.
const SIZES: [(usize, usize); 3] = [(100, 50), (1_000, 10), (10_000, 3)];
/// The largest size for the reference, which takes a minute for ten times as many sandboxes.
const PEER_MAX: usize = 1_000;
const EXPONENT_MAX: f64 = 1.1;
const PEAK_MIB_MAX: f64 = 250.0;
const LOADED_MS_MAX: [f64; 3] = [f64::INFINITY, 80.0, 800.0];
const NO_OP_UP_MS_MAX: [f64; 3] = [f64::INFINITY, 150.0, f64::INFINITY];
const FIRST_OUTPUT_MS_MAX: f64 = 50.0;
const FIRST_OUTPUT_SIZE: usize = 1_000;
/// The limit for commands that read the whole project, as a multiple of `msb validate`.
const BY_VALIDATE_MAX: f64 = 2.0;
/// The smallest size for that limit: below, process startup dominates.
const BY_VALIDATE_MIN: usize = 1_000;
/// The exit code for a Sandboxfile that is not trusted.
const NOT_TRUSTED: i32 = 3;

/// A measurement and its limit.
pub struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    limit: Option<f64>,
}

impl Row {
    /// A value and its limit; infinity without one.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str, limit: f64) -> Self {
        Self { what: what.into(), value, unit, limit: limit.is_finite().then_some(limit) }
    }

    /// Returns JSON.
    pub fn json(&self) -> Value {
        let Self { what, value, unit, limit } = self;
        json!({ "what": what, "value": value, "unit": unit, "limit": limit,
                "within_limit": limit.map(|limit| *value <= limit) })
    }
}

/// Returns all rows as a table.
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

/// Measures loading, checking and planning without the process.
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
        // The kernel samples it, so a single run is imprecise.
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

/// Measures `msb` on completed jobs.
fn commands(rows: &mut Vec<Row>, size: usize, runs: usize, up_limit: f64) -> Result<()> {
    // Recording jobs syncs the disk twice for each: a tmpfs is faster.
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
    // Their image is outside the project.
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
        // The first run warms the caches.
        for run in 0..=runs {
            let before = children_ms()?;
            let (output, end) =
                timed(Msb::new(&home, &folder, arguments).with_guest().into_command(), Stdio::null(), 0)?;
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

/// Measures commands that read the whole project to print a part of it, beside `msb validate` of the same file.
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
            // In turns, so that other load slows both.
            let validate = Msb::new(home, &folder, &["validate"]).into_command();
            let (_, reference) = timed(validate, Stdio::null(), 0)?;
            let command = Msb::new(home, &folder, arguments).into_command();
            let (_, measured) = timed(command, std::fs::File::open(&file)?.into(), exit_code)?;
            // The first run warms the caches.
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

/// Returns the CPU time of awaited child processes, in ms.
pub fn children_ms() -> Result<f64> {
    /// The unit of /proc: USER_HZ.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may contain spaces; fields are counted from its end.
    let (_, fields) = text.rsplit_once(')').ok_or("a strange /proc/self/stat")?;
    let ticks = fields.split_ascii_whitespace().skip(13).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<std::result::Result<f64, _>>()? * 1_000.0 / TICKS_A_SECOND)
}

/// Returns the times to the first byte of output and to the end.
fn timed(mut command: Command, stdin: Stdio, exit_code: i32) -> Result<(Duration, Duration)> {
    let (mut output, both) = std::io::pipe()?;
    command.stdin(stdin).stdout(both.try_clone()?).stderr(both);
    let began = Instant::now();
    let mut child = command.spawn()?;
    // The command keeps the write ends open, and the reader would never see the end.
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

/// Measures docker-compose on the equivalent files.
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

/// Returns an example program of the same build.
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

/// Returns the exponent of growth: 1 if it is linear.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(size, took)| (size.ln(), took.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let rise: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    rise / logs.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
