//! Logs of one or several sandboxes, merged by time: showing and following.

mod live;
mod print;

pub use live::Followers;
pub use print::{JsonLine, LineFormat, LineStyle, LineWriter};

use crate::apply::interrupts;
use crate::error::{CliError, Context};
use crate::output::{OutputOptions, print_bytes};
use crate::project::find::full_name_of;
use executor::catalog::Catalog;
use executor::observe::{Observation, observe_sandboxes};
use executor_host::home::Home;
use executor_log::{Cursor, LogError, LogLine, ReadLogs, ReadOptions, Source, Start, read_logs};
use regex::bytes::Regex;
use schemas::name::{ProjectName, SandboxName};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Size of a buffer that is printed at once, in bytes.
const PRINT_BYTES: usize = 64 * 1024;

/// One sandbox's logs.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The prefix of its lines.
    pub name: String,
    /// The folder of its logs.
    pub logs: PathBuf,
    /// Its supervisor's socket, which closes after the last line.
    pub control: PathBuf,
    /// The position of the first line.
    pub start: Start,
    /// How to find it after a restart; `None` follows it only until it ends.
    pub restarts: Option<Restarts>,
}

impl Stream {
    /// The logs of a sandbox from their beginning, followed across restarts.
    pub fn of(home: &Home, seen: &Observation) -> Self {
        Self {
            name: seen.row.name.to_string(),
            logs: home.sandbox(&seen.row.id).logs(),
            control: home.sandbox_run(&full_name_of(seen)).control_socket(),
            start: Start::Beginning,
            restarts: Some(Restarts { home: home.clone(), lock: home.project_lock(&seen.row.project) }),
        }
    }
}

/// How to find a restarted sandbox.
#[derive(Clone, Debug)]
pub struct Restarts {
    /// The home.
    pub home: Home,
    /// The project's lock file.
    pub lock: PathBuf,
}

/// Filters and style of shown lines.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The sources.
    pub sources: Vec<Source>,
    /// Maximum number of existing lines per sandbox.
    pub tail: Option<usize>,
    /// The earliest time, inclusive.
    pub since: Option<SystemTime>,
    /// The latest time, exclusive.
    pub until: Option<SystemTime>,
    /// The pattern of lines.
    pub grep: Option<Regex>,
    /// The number of the session; `None` for all.
    pub job: Option<u64>,
    /// The style.
    pub style: LineStyle,
    /// Whether new output is shown that no log captures.
    pub live: bool,
}

impl LogOptions {
    /// The options of `up`.
    pub fn of_project(since: SystemTime, output: &OutputOptions) -> Self {
        let style = LineStyle {
            format: LineFormat::Text,
            timestamps: false,
            prefixes: true,
            color: output.color_stdout,
        };
        let sources = Source::DEFAULT.to_vec();
        Self {
            sources,
            tail: None,
            since: Some(since),
            until: None,
            grep: None,
            job: None,
            style,
            live: true,
        }
    }

    fn wants(&self, line: &LogLine) -> bool {
        // Logs have a resolution of milliseconds; a line of the same millisecond counts as later.
        let millisecond = Duration::from_millis(1);
        self.since.is_none_or(|since| line.time + millisecond > since)
            && self.until.is_none_or(|until| line.time < until)
            && self.finds(line)
    }

    fn finds(&self, line: &LogLine) -> bool {
        let is_found = || self.grep.as_ref().is_none_or(|grep| grep.is_match(&print::text_of(line)));
        line.note || (self.job.is_none_or(|job| line.session == Some(job)) && is_found())
    }
}

/// Returns the logs of a project's sandboxes, of all if `names` is empty.
///
/// # Errors
///
/// If the sandboxes cannot be observed.
pub fn streams(
    home: &Home,
    project: &ProjectName,
    names: &BTreeSet<SandboxName>,
) -> Result<Vec<Stream>, CliError> {
    let catalog = Catalog::open(&home.catalog())?;
    let observed = observe_sandboxes(home, &catalog, Some(project))?;
    let selected = observed.iter().filter(|seen| names.is_empty() || names.contains(&seen.row.name));
    Ok(selected.map(|seen| Stream::of(home, seen)).collect())
}

/// A log reader with one line of look-ahead.
struct Lookahead<'a> {
    read: ReadLogs<'a>,
    next: Option<Result<LogLine, LogError>>,
    /// The position after that line.
    cursor: Cursor,
    /// The latest time so far.
    time: SystemTime,
}

impl Lookahead<'_> {
    fn advance(&mut self) -> Option<Result<LogLine, LogError>> {
        let next = self.read.next();
        if let Some(Ok(line)) = &next {
            self.time = self.time.max(line.time);
        }
        std::mem::replace(&mut self.next, next)
    }
}

/// Shows existing lines.
///
/// # Errors
///
/// If a log cannot be read.
pub fn show(streams: &[Stream], options: &LogOptions) -> Result<ExitCode, CliError> {
    let mut writer = LineWriter::new(options.style);
    let finds = |line: &LogLine| options.finds(line);
    let mut logs = Vec::new();
    for stream in streams {
        writer.index_of(&stream.name);
        let LogOptions { sources, tail, since, until, .. } = options.clone();
        let read_options = ReadOptions { sources, start: stream.start.clone(), since, until, tail };
        let read = read_logs(&stream.logs, &read_options, &finds)
            .map_err(|error| cannot_read(&stream.name, &error))?;
        let cursor = read.cursor();
        let mut log = Lookahead { read, next: None, cursor, time: SystemTime::UNIX_EPOCH };
        log.advance();
        logs.push(log);
    }
    // Buffered, because a log may have millions of lines.
    let mut text = Vec::new();
    let failed = loop {
        let waiting = logs.iter().enumerate().filter(|(_, log)| log.next.is_some());
        let Some((index, _)) = waiting.min_by_key(|(_, log)| log.time) else { break None };
        // The reader is still at the end of the next line.
        if options.style.format == LineFormat::Json {
            logs[index].cursor = logs[index].read.cursor();
        }
        match logs[index].advance() {
            Some(Ok(line)) => writer.write(&mut text, index, &line, || logs[index].cursor.clone()),
            Some(Err(error)) => break Some(cannot_read(&streams[index].name, &error)),
            None => {}
        }
        if text.len() >= PRINT_BYTES {
            print_bytes(&std::mem::take(&mut text));
        }
    };
    writer.end(&mut text);
    print_bytes(&text);
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Shows existing lines, then new ones, until Ctrl-C or until every sandbox has ended.
///
/// # Errors
///
/// If signals or files cannot be watched.
pub fn follow(
    streams: Vec<Stream>,
    options: LogOptions,
    output: OutputOptions,
) -> Result<ExitCode, CliError> {
    crate::output::exit_when_stdout_closes();
    crate::commands::event_loop()?.block_on(async {
        let mut signals = interrupts::subscribe()?;
        let (followers, all_printed) =
            Followers::new(options, output, Box::new(|_, _| ())).context("cannot follow logs")?;
        let (add, added) = mpsc::unbounded_channel();
        for stream in streams {
            let _ = add.send(stream);
        }
        drop(add);
        let followed = LocalSet::new();
        let followed = followed.run_until(async {
            let all_readable = followers.run(added).await;
            let _ = all_printed.await;
            all_readable
        });
        tokio::select! {
            biased;
            Some(exit) = signals.recv() => Ok(exit.into()),
            all_readable = followed => Ok(if all_readable { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        }
    })
}

fn cannot_read(name: &str, error: &LogError) -> CliError {
    let mut failure = CliError::from_error(error).maybe_hint(error.hint());
    failure.message = format!("{name}: {}", failure.message);
    failure
}
