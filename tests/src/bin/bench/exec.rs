//! What a command in a sandbox costs when many run at once, and how fast its output comes.

use crate::Result;
use crate::figure::{Figure, Samples};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::Project;

/// Commands at once.
const AT_ONCE: usize = 32;
/// What a command prints whose output is measured, in bytes.
const OUTPUT_BYTES: u64 = 64 << 20;
/// With one write so many, in bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// The figures of a sandbox that is up and warm.
pub fn measure(project: &Project, runs: usize) -> Result<Vec<Figure>> {
    Ok(vec![at_once(project, runs)?, output(project, runs)?])
}

/// Each command's own time, from spawning it to its end, while 31 others run.
fn at_once(project: &Project, runs: usize) -> Result<Figure> {
    let (mut measured, mut reference) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let bare = crowd(|| Command::new("true"))?;
        let execs = crowd(|| project.msb(&["exec", "one", "--", "true"]).into_command())?;
        // The first one warms the caches.
        if run > 0 {
            reference.extend(bare);
            measured.extend(execs);
        }
    }
    Ok(Figure {
        name: "exec, 32 at once",
        what: "msb exec one -- true, 32 at once",
        measured: Samples::of_times(&measured),
        beside: "32 bare processes",
        reference: Samples::of_times(&reference),
        limit: None,
    })
}

/// Leaves a supervisor as one that has worked: many clients at once, and much output.
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
    // Each has somebody who waits for it: one after the other they would all take as long as the first.
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

/// Bytes a second of a command's standard output.
fn output(project: &Project, runs: usize) -> Result<Figure> {
    // In pieces that cost a guest little to make: its own `head` takes longer for that than the way out does.
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
        what: "msb exec one -- dd, 64 MiB of output",
        measured: Samples::of_rates(measured),
        beside: "the same, a bare process",
        reference: Samples::of_rates(reference),
        limit: None,
    })
}

/// MiB a second, from spawning a command to the end of its output.
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
