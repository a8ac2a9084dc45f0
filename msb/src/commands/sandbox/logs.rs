//! `msb logs`, and the arguments that it shares with `msb events`.

use super::jobs;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::logs::{self, LineFormat, LineStyle, LogOptions, Stream};
use crate::output::OutputOptions;
use crate::project::{self, find};
use executor::observe::{Observation, observe_sandboxes};
use executor_host::home::Home;
use executor_log::{Cursor, Source, Start, time};
use regex::bytes::{Regex, RegexBuilder};
use rules::unit::parse_duration;
use schemas::spec::Capture;
use std::process::ExitCode;
use std::time::SystemTime;

/// Maximum memory of a compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The selection of log entries.
#[derive(Debug, clap::Args)]
pub struct Range {
    /// The sandboxes. Default: all of the project.
    names: Vec<String>,
    /// Follow new entries until Ctrl-C or until the sandboxes have ended.
    #[arg(short, long)]
    follow: bool,
    /// Show only the last N matching entries of each sandbox.
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Show only entries since this time: RFC 3339, or an age such as `10m`.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<SystemTime>,
    /// Show only entries before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "follow")]
    until: Option<SystemTime>,
    /// Continue after the entry with this cursor. For several sandboxes: `NAME=CURSOR`, once for each.
    #[arg(long, value_name = "CURSOR", value_parser = parse_cursor)]
    cursor: Vec<NamedCursor>,
}

/// Arguments of `msb logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    range: Range,
    /// Show only these sources: stdout, stderr and output (terminals), which are the default, system (msb about the
    /// sandbox), runtime (msb about itself), kernel (of the guest), network (refused connections), flows (allowed
    /// connections), events (of the sandbox).
    #[arg(long, value_delimiter = ',', value_name = "SOURCE", value_parser = parse_source)]
    source: Vec<Source>,
    /// Show only lines that match this regular expression.
    #[arg(long, value_name = "REGEX", value_parser = parse_pattern)]
    grep: Option<Regex>,
    /// Show only the output of this job of one sandbox, as `msb jobs` lists it.
    #[arg(long, value_name = "ID", requires = "names")]
    job: Option<u64>,
    /// Print one JSON object per line, with all bytes and the cursor after the line.
    #[arg(long)]
    json: bool,
    /// Print unchanged bytes, escape sequences included.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Show the time of each line.
    #[arg(short, long)]
    timestamps: bool,
}

/// A cursor, and the sandbox that it belongs to.
#[derive(Clone, Debug)]
struct NamedCursor {
    name: Option<String>,
    cursor: Cursor,
}

fn parse_source(text: &str) -> Result<Source, String> {
    Source::ALL.into_iter().find(|source| source.name() == text).ok_or_else(|| {
        let names: Vec<_> = Source::ALL.iter().map(|source| source.name()).collect();
        format!("the sources are {}", names.join(", "))
    })
}

pub(super) fn parse_moment(text: &str) -> Result<SystemTime, String> {
    if let Some(moment) = time::parse(text) {
        return Ok(moment);
    }
    let ago = parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    ago.ok_or_else(|| {
        "expected a time such as 2026-01-02T03:04:05Z, or an age such as 30s, 10m or 2h".to_owned()
    })
}

fn parse_pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| error.to_string())
}

fn parse_cursor(text: &str) -> Result<NamedCursor, String> {
    let (name, cursor) = match text.split_once('=') {
        Some((name, cursor)) => (Some(name.to_owned()), cursor),
        None => (None, text),
    };
    let cursor = cursor.parse::<Cursor>().map_err(|error| error.to_string())?;
    Ok(NamedCursor { name, cursor })
}

/// Shows the output of sandboxes.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { range, source, grep, job, json, raw, timestamps } = arguments;
    if job.is_some() {
        jobs::only(&range.names)?;
    }
    let machine = Machine::open()?;
    let observed = range.observe(global, &machine)?;
    let output = OutputOptions::of(global);
    let style = LineStyle {
        format: match (json, raw) {
            (true, _) => LineFormat::Json,
            (false, true) => LineFormat::Raw,
            (false, false) => LineFormat::Text,
        },
        timestamps: *timestamps,
        prefixes: observed.len() > 1,
        color: output.color_stdout,
    };
    let sources = if source.is_empty() { Source::DEFAULT.to_vec() } else { source.clone() };
    let options = LogOptions { grep: grep.clone(), job: *job, ..range.options(sources, style) };
    warn_about_capture(&observed, &options, &output);
    range.show(&machine.home, &observed, options, output)
}

impl Range {
    /// Observes the selected sandboxes.
    ///
    /// # Errors
    ///
    /// If there are none, or one is unknown.
    pub fn observe(&self, global: &Global, machine: &Machine) -> Result<Vec<Observation>, CliError> {
        let Machine { home, catalog } = machine;
        let observed: Vec<Observation> = if self.names.is_empty() {
            observe_sandboxes(home, catalog, project::current(global, catalog)?.as_ref())?
        } else {
            let found = self.names.iter().map(|name| find::sandbox(global, machine, name));
            found.collect::<Result<_, _>>()?
        };
        if observed.is_empty() {
            return Err(CliError::new("there are no sandboxes")
                .hint("`msb up` creates the sandboxes of the Sandboxfile"));
        }
        Ok(observed)
    }

    /// Returns the options for entries of these sources.
    pub fn options(&self, sources: Vec<Source>, style: LineStyle) -> LogOptions {
        let Self { names: _, follow: _, tail, since, until, cursor: _ } = *self;
        LogOptions { sources, tail, since, until, grep: None, job: None, style, live: false }
    }

    /// Shows or follows the entries.
    ///
    /// # Errors
    ///
    /// If a cursor does not fit the sandboxes, or a log cannot be read.
    pub fn show(
        &self,
        home: &Home,
        observed: &[Observation],
        options: LogOptions,
        output: OutputOptions,
    ) -> Result<ExitCode, CliError> {
        let mut streams: Vec<Stream> = observed.iter().map(|seen| Stream::of(home, seen)).collect();
        place_cursors(&mut streams, &self.cursor)?;
        if self.follow { logs::follow(streams, options, output) } else { logs::show(&streams, &options) }
    }
}

/// Explains why logs of sandboxes without capture are empty.
fn warn_about_capture(observed: &[Observation], options: &LogOptions, output: &OutputOptions) {
    if !options.sources.iter().any(|source| Source::DEFAULT.contains(source)) {
        return;
    }
    let is_off = |seen: &&Observation| seen.row.spec.definition.logs.capture == Capture::Off;
    let names: Vec<_> = observed.iter().filter(is_off).map(|seen| seen.row.name.as_str()).collect();
    if !names.is_empty() {
        let names = schemas::listing::names(names);
        output.say(&format!("capture is off for {names}: output is not recorded"));
    }
}

fn place_cursors(streams: &mut [Stream], cursors: &[NamedCursor]) -> Result<(), CliError> {
    let several = streams.len() > 1;
    for NamedCursor { name, cursor } in cursors {
        let stream = match name {
            Some(name) => streams
                .iter_mut()
                .find(|stream| stream.name == *name)
                .ok_or_else(|| CliError::usage(format!("--cursor is for {name}, which is not selected")))?,
            None if several => {
                return Err(CliError::usage("--cursor does not name its sandbox").hint(
                    "write --cursor NAME=CURSOR, once for each sandbox; others start at their oldest line",
                ));
            }
            None => &mut streams[0],
        };
        stream.start = Start::Cursor(cursor.clone());
    }
    Ok(())
}
