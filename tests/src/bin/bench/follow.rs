//! Following a log while it is written, beside `tail -F` on the same file.

use crate::Result;
use crate::figure::{Figure, Samples};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::Project;

/// The number of lines of one run.
const LINES: usize = 200_000;
/// The time that a follower has to begin.
const BEGINNING: Duration = Duration::from_secs(1);

/// Measures both with a running sandbox that prints nothing itself.
pub fn measure(project: &Project, runs: usize) -> Result<Figure> {
    let sandbox = std::fs::read_dir(project.home().join("sandboxes"))?.next().ok_or("no sandbox")??;
    let logs = sandbox.path().join("logs");
    let (mut measured, mut reference) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        eprintln!("bench: logs -f {run} of {runs}");
        let mut tail = Command::new("tail");
        tail.args(["-n", "0", "-F"]).arg(logs.join("exec.log"));
        reference.push(follow(tail, &logs)?);
        measured.push(follow(project.msb(&["logs", "-f", "--tail", "0", "one"]).into_command(), &logs)?);
    }
    let (measured, reference) = (Samples::of_lines(LINES, &measured), Samples::of_lines(LINES, &reference));
    Ok(Figure {
        name: "logs -f",
        what: "msb logs -f, while 200,000 lines are written".into(),
        measured,
        beside: "tail -F",
        reference,
        limit: None,
    })
}

/// Returns the time from the first written line to the last printed one.
fn follow(mut follower: Command, logs: &Path) -> Result<Duration> {
    let mut follower = follower.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut lines = BufReader::with_capacity(1 << 20, follower.stdout.take().ok_or("no stdout")?);
    std::thread::sleep(BEGINNING);
    let feed = std::env::current_exe()?.with_file_name("examples").join("feed");
    let began = Instant::now();
    let mut feeder = Command::new(feed).arg(logs).arg(LINES.to_string()).spawn()?;
    let mut line = Vec::new();
    for _ in 0..LINES {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Err("the follower has ended".into());
        }
    }
    let took = began.elapsed();
    follower.kill()?;
    follower.wait()?;
    if !feeder.wait()?.success() {
        return Err("the lines could not be written".into());
    }
    Ok(took)
}
