//! A soak test: a writer at 100,000 lines per second with forced rotations, and a follower that is killed every second
//! and resumes at its cursor. No line is lost or duplicated, and the order is kept.
//!
//! cargo test --release -p executor-log --test soak -- [--seconds N] [--rate N] [--keep N] [--max-bytes N]
//!
//! The follower is a process of its own, this program again, and is killed with SIGKILL. If less is kept than it needs,
//! it may fall behind; then it must report the gap, and exactly the reported lines must be missing.

use executor_log::{Cursor, LogError, LogStream, LogWatch, Rotation, Source, Start, Writer};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The default rate.
const LINES_PER_SECOND: u64 = 100_000;
/// How long a follower lives.
const LIFE: Duration = Duration::from_secs(1);
/// The last line.
const LAST: &str = "the end";
/// The exit code of a follower that has missed a rotation.
const MISSED: i32 = 9;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let number = |name: &str, default| value(name).map_or(Ok(default), |text| text.parse::<u64>());
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let ended = match value("--follow") {
        Some(folder) => follow(Path::new(&folder), value("--cursor")),
        None => (|| {
            let (seconds, keep) = (number("--seconds", 3)?, number("--keep", 1_000)?);
            let rotation =
                Rotation { max_bytes: number("--max-bytes", 1 << 20)?, keep: u32::try_from(keep)? };
            let rate = number("--rate", LINES_PER_SECOND)?;
            soak((rate, seconds), rotation).map(|()| ExitCode::SUCCESS)
        })(),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("soak: {error}");
        ExitCode::FAILURE
    })
}

/// Prints each line after the cursor that follows it, and `missed` where lines are missing.
fn follow(folder: &Path, cursor: Option<String>) -> Outcome<ExitCode> {
    let start = cursor.map_or(Ok(Start::Beginning), |cursor| cursor.parse::<Cursor>().map(Start::Cursor))?;
    let mut watch = LogWatch::new()?;
    watch.add(folder, 0)?;
    let missed = |error: LogError| match error {
        LogError::MissedRotation { .. } => Ok(ExitCode::from(MISSED as u8)),
        error => Err(error.into()),
    };
    let mut stream = match LogStream::open(folder, &Source::DEFAULT, &start) {
        Ok(stream) => stream,
        Err(error) => return missed(error),
    };
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    loop {
        loop {
            match stream.next() {
                Ok(Some(line)) => {
                    writeln!(stdout, "{} {}", stream.cursor(), String::from_utf8_lossy(&line.data))?;
                }
                Ok(None) => break,
                Err(error) => {
                    stdout.flush()?;
                    return missed(error);
                }
            }
        }
        stdout.flush()?;
        let mut wait = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None)?;
        watch.woken();
        stream.wake();
    }
}

/// The lines that all followers have seen.
#[derive(Default)]
struct Seen {
    cursor: Option<String>,
    /// The next line's number.
    next: u64,
    lines: u64,
    /// Lines may be missing here, as a follower has reported.
    may_jump: bool,
    missing: u64,
    is_over: bool,
}

impl Seen {
    fn line(&mut self, line: &str) -> Outcome<()> {
        let (cursor, text) = line.split_once(' ').ok_or("a line without a cursor")?;
        self.cursor = Some(cursor.to_owned());
        if text == LAST {
            self.is_over = true;
            return Ok(());
        }
        let number: u64 = text.parse().map_err(|_| format!("{text:?} was not written"))?;
        if number < self.next {
            return Err(format!("line {number} again, where {} was due", self.next).into());
        }
        if number > self.next {
            if !std::mem::take(&mut self.may_jump) {
                return Err(
                    format!("line {number}, where {} was due, and not a word of it", self.next).into()
                );
            }
            self.missing += number - self.next;
        }
        self.next = number + 1;
        self.lines += 1;
        Ok(())
    }
}

fn soak(speed: (u64, u64), rotation: Rotation) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    // The first follower needs a log.
    drop(Writer::open(&path, rotation)?);
    let written = Arc::new(AtomicU64::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let writer = {
        let (path, written, stopped) = (path.clone(), Arc::clone(&written), Arc::clone(&stopped));
        std::thread::spawn(move || write(&path, rotation, speed, &written, &stopped))
    };
    let mut seen = Seen::default();
    let (mut lives, mut misses) = (0, 0);
    let result = (|| {
        while !seen.is_over {
            lives += 1;
            if live(&path, &mut seen)? == Some(MISSED) {
                misses += 1;
                (seen.cursor, seen.may_jump) = (None, true);
            }
        }
        Ok::<_, Box<dyn Error>>(())
    })();
    stopped.store(true, Ordering::Relaxed);
    let took = writer.join().map_err(|_| "the writer has panicked")?.map_err(|error| error.to_string())?;
    result?;
    let written = written.load(Ordering::Relaxed);
    let files = std::fs::read_dir(&path)?.count();
    println!(
        "soak: {written} lines in {took:.1?} ({:.0} a second), {} read by {lives} followers, {} missing after {misses} \
         missed rotations, {files} files",
        written as f64 / took.as_secs_f64(),
        seen.lines,
        seen.missing,
    );
    if seen.lines + seen.missing != written || (misses == 0 && seen.missing > 0) {
        return Err("lines are missing at the end".into());
    }
    if misses > 0 && rotation.keep >= 1_000 {
        return Err("all was kept, and rotations were missed".into());
    }
    Ok(())
}

/// Runs one follower; returns its exit code if it was not killed.
fn live(folder: &Path, seen: &mut Seen) -> Outcome<Option<i32>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--follow").arg(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    if let Some(cursor) = &seen.cursor {
        command.args(["--cursor", cursor]);
    }
    let mut child = command.spawn()?;
    let mut lines = BufReader::with_capacity(1 << 20, child.stdout.take().ok_or("no stdout")?);
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        // The child is waited for after this thread has ended, so its pid is not reused.
        if end.recv_timeout(LIFE).is_err() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let mut line = String::new();
    let result = (|| {
        while !seen.is_over {
            line.clear();
            // A line without line feed was cut by the kill.
            if lines.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                break;
            }
            seen.line(line.trim_end_matches('\n'))?;
        }
        Ok(())
    })();
    drop(lines);
    if result.is_err() || seen.is_over {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = ended.send(());
    }
    let _ = killer.join();
    let status = child.wait()?;
    result.map(|()| status.code())
}

/// Writes numbered lines at the given rate, or at full speed; returns the time taken.
fn write(
    folder: &Path,
    rotation: Rotation,
    (rate, seconds): (u64, u64),
    written: &AtomicU64,
    stopped: &AtomicBool,
) -> std::io::Result<Duration> {
    let mut writer = Writer::open(folder, rotation)?;
    let began = Instant::now();
    let mut count = 0;
    while count < seconds * rate && !stopped.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while count < due.min(seconds * rate) {
            writer.output(1, Source::Stdout, format!("{count}\n").as_bytes())?;
            count += 1;
        }
        written.store(count, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed();
    writer.output(1, Source::Stdout, format!("{LAST}\n").as_bytes())?;
    Ok(took)
}
