//! Commands in a sandbox: the latency of many at the same time, and the rate of output.

use crate::Result;
use crate::figure::{Figure, Samples};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::Project;

/// The number of commands at the same time.
const AT_ONCE: usize = 32;
/// The size of the measured output, in bytes.
const OUTPUT_BYTES: u64 = 64 << 20;
/// The size of one write, in bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// Measures a running sandbox with warm caches.
pub fn measure(project: &Project, runs: usize) -> Result<Vec<Figure>> {
    Ok(vec![at_once(project, runs)?, output(project, runs)?])
}

/// Measures each command's time, from its spawn to its end, while 31 others run.
fn at_once(project: &Project, runs: usize) -> Result<Figure> {
    let (mut measured, mut reference) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let bare = crowd(|| Command::new("true"))?;
        let execs = crowd(|| project.msb(&["exec", "one", "--", "true"]).into_command())?;
        // The first run warms the caches.
        if run > 0 {
            reference.extend(bare);
            measured.extend(execs);
        }
    }
    Ok(Figure {
        name: "exec, 32 at once",
        what: "msb exec one -- true, 32 at once".into(),
        measured: Samples::of_times(&measured),
        beside: "32 bare processes",
        reference: Samples::of_times(&reference),
        limit: None,
    })
}

/// Gives a supervisor many clients at the same time and much output.
pub fn wear(project: &Project, sandbox: &str) -> Result<()> {
    crowd(|| project.msb(&["exec", sandbox, "--", "true"]).into_command())?;
    let size = format!("bs={PIECE_BYTES}");
    let words = ["exec", sandbox, "--", "dd", "if=/dev/zero", &size, "count=128"];
    project.ok(&words);
    Ok(())
}

fn crowd(command: impl Fn() -> Command) -> Result<Vec<Duration>> {
    let spawn = || -> Result<(Instant, Child)> {
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok((Instant::now(), command.spawn()?))
    };
    let children = (0..AT_ONCE).map(|_| spawn()).collect::<Result<Vec<_>>>()?;
    // A thread waits for each: waiting one after the other would charge the first one's time to all.
    let waiting: Vec<_> = children
        .into_iter()
        .map(|(began, mut child)| {
            std::thread::spawn(move || child.wait().map(|status| (began.elapsed(), status.success())))
        })
        .collect();
    let mut times = Vec::with_capacity(AT_ONCE);
    for waiter in waiting {
        match waiter.join().map_err(|_| "a thread panicked")?? {
            (took, true) => times.push(took),
            (_, false) => return Err("a command of many failed".into()),
        }
    }
    Ok(times)
}

/// Measures the rate of a command's standard output.
fn output(project: &Project, runs: usize) -> Result<Figure> {
    // In large pieces: `head` in the guest is slower than the transfer.
    let count = format!("count={}", OUTPUT_BYTES / PIECE_BYTES);
    let size = format!("bs={PIECE_BYTES}");
    let words = ["dd", "if=/dev/zero", &size, &count];
    let arguments: Vec<_> = ["exec", "one", "--"].into_iter().chain(words).collect();
    let (mut measured, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let mut bare = Command::new(words[0]);
        bare.args(&words[1..]);
        reference.push(rate(bare)?);
        measured.push(rate(project.msb(&arguments).into_command())?);
    }
    Ok(Figure {
        name: "exec output",
        what: "msb exec one -- dd, 64 MiB of output".into(),
        measured: Samples::of_rates(measured),
        beside: "the same, a bare process",
        reference: Samples::of_rates(reference),
        limit: None,
    })
}

/// Returns the MiB per second from a command's spawn to the end of its output.
fn rate(mut command: Command) -> Result<f64> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut stdout = child.stdout.take().ok_or("no stdout")?;
    let copied = std::io::copy(&mut stdout, &mut std::io::sink())?;
    let took = began.elapsed();
    child.wait()?;
    if copied != OUTPUT_BYTES {
        return Err(format!("{copied} of {OUTPUT_BYTES} bytes came").into());
    }
    Ok(copied as f64 / 1_048_576.0 / took.as_secs_f64())
}
