//! Shows logs of one or several sandboxes, merged by time, and follows them.

mod live;
mod print;

pub use live::{Followers, follow};
pub use print::{Form, LineWriter, Look};

use crate::error::CliError;
use crate::output::{OutputOptions, print_bytes};
use executor::catalog::Catalog;
use executor::observe::observe_sandboxes;
use executor_host::home::Home;
use executor_log::{Cursor, LogError, LogLine, ReadLogs, ReadOptions, Source, Start, read_logs};
use regex::bytes::Regex;
use schemas::name::{ProjectName, SandboxName, full_name};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// How much is printed at once where nobody waits for a line, in bytes.
const PRINT_BYTES: usize = 64 * 1024;

/// One sandbox's logs.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The name before its lines.
    pub name: String,
    /// The folder of its logs.
    pub logs: PathBuf,
    /// Its supervisor's socket: when that closes, no more comes.
    pub control: PathBuf,
    /// Where to begin.
    pub start: Start,
    /// How it is found again when somebody starts it again; without, it is followed to its end.
    pub restarts: Option<Restarts>,
}

/// Where to look for a sandbox that somebody may start again.
#[derive(Clone, Debug)]
pub struct Restarts {
    /// The home that it is in.
    pub home: Home,
    /// Its project's lock file.
    pub lock: PathBuf,
}

impl Restarts {
    /// Those of a project.
    pub fn of(home: &Home, project: &ProjectName) -> Self {
        Self { home: home.clone(), lock: home.project_lock(project) }
    }
}

/// What is shown, and how.
#[derive(Clone, Debug)]
pub struct Show {
    /// Only these.
    pub sources: Vec<Source>,
    /// Only so many of the lines that are there already, of each sandbox.
    pub tail: Option<usize>,
    /// Only what came at this moment or later.
    pub since: Option<SystemTime>,
    /// Only what came before this moment.
    pub until: Option<SystemTime>,
    /// Only lines in which this is found.
    pub grep: Option<Regex>,
    /// How it is printed.
    pub look: Look,
    /// What is printed while it is shown and stands in no log is shown as well.
    pub live: bool,
}

impl Show {
    /// What `up` shows of a project.
    pub fn of_project(since: SystemTime, verbosity: &OutputOptions) -> Self {
        let look =
            Look { form: Form::Text, timestamps: false, prefixes: true, color: verbosity.color_stdout };
        let sources = Source::DEFAULT.to_vec();
        Self { sources, tail: None, since: Some(since), until: None, grep: None, look, live: true }
    }

    fn wants(&self, line: &LogLine) -> bool {
        // Logs know milliseconds only: what came within the same one counts as later.
        let millisecond = Duration::from_millis(1);
        self.since.is_none_or(|since| line.time + millisecond > since)
            && self.until.is_none_or(|until| line.time < until)
            && self.finds(line)
    }

    fn finds(&self, line: &LogLine) -> bool {
        line.note || self.grep.as_ref().is_none_or(|grep| grep.is_match(&print::words_of(line)))
    }
}

/// Follows sandboxes of a project, all without any names, as `up` does.
pub fn project(
    home: &Home,
    project: &ProjectName,
    names: &BTreeSet<SandboxName>,
    since: SystemTime,
    verbosity: &OutputOptions,
) -> Result<ExitCode, CliError> {
    follow(streams(home, project, names)?, Show::of_project(since, verbosity), *verbosity)
}

/// The logs of a project's sandboxes, all without any names.
pub fn streams(
    home: &Home,
    project: &ProjectName,
    names: &BTreeSet<SandboxName>,
) -> Result<Vec<Stream>, CliError> {
    let catalog = Catalog::open(&home.catalog())?;
    let streams = observe_sandboxes(home, &catalog, Some(project))?;
    Ok(streams
        .iter()
        .filter(|seen| names.is_empty() || names.contains(&seen.row.name))
        .map(|seen| Stream {
            name: seen.row.name.to_string(),
            logs: home.sandbox(&seen.row.id).logs(),
            control: home.sandbox_run(&full_name(project, &seen.row.name)).control_socket(),
            start: Start::Beginning,
            restarts: Some(Restarts::of(home, project)),
        })
        .collect())
}

/// A log reader with one line of look-ahead.
struct Waiting<'a> {
    read: ReadLogs<'a>,
    next: Option<Result<LogLine, LogError>>,
    /// Behind that line.
    cursor: Cursor,
    /// The latest time so far.
    time: SystemTime,
}

impl Waiting<'_> {
    fn advance(&mut self) -> Option<Result<LogLine, LogError>> {
        let next = self.read.next();
        if let Some(Ok(line)) = &next {
            self.time = self.time.max(line.time);
        }
        std::mem::replace(&mut self.next, next)
    }
}

/// Shows what is there.
pub fn show(streams: &[Stream], show: &Show) -> Result<ExitCode, CliError> {
    let mut writer = LineWriter::new(show.look);
    let finds = |line: &LogLine| show.finds(line);
    let mut logs = Vec::new();
    for stream in streams {
        writer.place_of(&stream.name);
        let Show { sources, tail, since, until, grep: _, look: _, live: _ } = show.clone();
        let options = ReadOptions { sources, start: stream.start.clone(), since, until, tail };
        let read =
            read_logs(&stream.logs, &options, &finds).map_err(|error| cannot_read(&stream.name, &error))?;
        let cursor = read.cursor();
        let mut log = Waiting { read, next: None, cursor, time: SystemTime::UNIX_EPOCH };
        log.advance();
        logs.push(log);
    }
    // Written many lines at once: a log may have millions.
    let mut text = Vec::new();
    let failed = loop {
        let waiting = logs.iter().enumerate().filter(|(_, log)| log.next.is_some());
        let Some((index, _)) = waiting.min_by_key(|(_, log)| log.time) else { break None };
        // The reader has not gone further than behind the line that is next.
        if show.look.form == Form::Json {
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

fn cannot_read(name: &str, error: &LogError) -> CliError {
    let mut failure = CliError::from_error(error);
    failure.message = format!("{name}: {}", failure.message);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
