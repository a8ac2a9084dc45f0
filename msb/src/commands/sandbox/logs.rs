//! `msb logs`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::logs::{self, Form, Look, Restarts, Show, Stream};
use crate::output::OutputOptions;
use crate::project;
use crate::project::find::{self, full_name_of};
use executor::catalog::Catalog;
use executor::observe::{Observation, observe_sandboxes};
use executor_host::home::Home;
use executor_log::{Cursor, Source, Start, time};
use regex::bytes::{Regex, RegexBuilder};
use rules::unit::parse_duration;
use schemas::spec::Capture;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

/// A pattern that takes more memory than this is refused, in bytes.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Arguments of `msb logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes; all of the project without any.
    names: Vec<String>,
    /// Go on with what comes, until Ctrl-C or until the sandboxes have ended.
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines of each sandbox, of those that are wanted.
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Only what came at this time or later: RFC 3339, or how long ago (`10m`).
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<SystemTime>,
    /// Only what came before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "follow")]
    until: Option<SystemTime>,
    /// Only these sources: stdout, stderr, output (terminals), which are shown without this, system (msb about the
    /// sandbox), runtime (msb about itself), kernel (the guest's), network (what was refused), events (what became of it).
    #[arg(long, value_delimiter = ',', value_name = "SOURCE", value_parser = parse_source)]
    source: Vec<Source>,
    /// Only lines in which this regular expression is found.
    #[arg(long, value_name = "REGEX", value_parser = parse_pattern)]
    grep: Option<Regex>,
    /// Print one JSON object a line, with what is exact: all bytes, and the cursor behind the line.
    #[arg(long)]
    json: bool,
    /// Print the bytes as they came, escape sequences too.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Show when each line came.
    #[arg(short, long)]
    timestamps: bool,
    /// Go on behind the line that had this cursor; `NAME=CURSOR`, once for each, where there are several sandboxes.
    #[arg(long, value_name = "CURSOR", value_parser = parse_cursor)]
    cursor: Vec<NamedCursor>,
}

/// A cursor and whose it is.
#[derive(Clone, Debug)]
pub(super) struct NamedCursor {
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
    ago.ok_or_else(|| "a time is written 2026-01-02T03:04:05Z, or as how long ago: 30s, 10m, 2h".to_owned())
}

fn parse_pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| error.to_string())
}

pub(super) fn parse_cursor(text: &str) -> Result<NamedCursor, String> {
    let (name, cursor) = match text.split_once('=') {
        Some((name, cursor)) => (Some(name.to_owned()), cursor),
        None => (None, text),
    };
    let cursor = cursor.parse::<Cursor>().map_err(|error| error.to_string())?;
    Ok(NamedCursor { name, cursor })
}

/// Shows what sandboxes have printed.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let observed = observed(global, (&home, &catalog), &arguments.names)?;
    let streams = streams(&home, &observed, &arguments.cursor)?;
    let verbosity = OutputOptions::of(global);
    let show = Show {
        sources: if arguments.source.is_empty() {
            Source::DEFAULT.to_vec()
        } else {
            arguments.source.clone()
        },
        tail: arguments.tail,
        since: arguments.since,
        until: arguments.until,
        grep: arguments.grep.clone(),
        look: Look {
            form: match (arguments.json, arguments.raw) {
                (true, _) => Form::Json,
                (false, true) => Form::Raw,
                (false, false) => Form::Text,
            },
            timestamps: arguments.timestamps,
            prefixes: observed.len() > 1,
            color: verbosity.color_stdout,
        },
        live: false,
    };
    tell_what_is_not_captured(&observed, &show, &verbosity);
    if arguments.follow { logs::follow(streams, show, verbosity) } else { logs::show(&streams, &show) }
}

/// The sandboxes of these names; all of the project without any.
pub(super) fn observed(
    global: &Global,
    (home, catalog): (&Home, &Arc<Catalog>),
    names: &[String],
) -> Result<Vec<Observation>, CliError> {
    let observed: Vec<Observation> = if names.is_empty() {
        observe_sandboxes(home, catalog, project::at_hand(global, catalog)?.as_ref())?
    } else {
        let found = names.iter().map(|name| find::sandbox(global, home, catalog, name));
        found.collect::<Result<_, _>>()?
    };
    if observed.is_empty() {
        return Err(
            CliError::new("there are no sandboxes").hint("`msb up` brings the Sandboxfile's sandboxes up")
        );
    }
    Ok(observed)
}

/// Their logs, each from its beginning or its cursor on.
pub(super) fn streams(
    home: &Home,
    observed: &[Observation],
    cursors: &[NamedCursor],
) -> Result<Vec<Stream>, CliError> {
    let mut streams: Vec<Stream> = observed
        .iter()
        .map(|seen| Stream {
            name: seen.row.name.to_string(),
            logs: home.sandbox(&seen.row.id).logs(),
            control: home.sandbox_run(&full_name_of(seen)).control_socket(),
            start: Start::Beginning,
            restarts: Some(Restarts::of(home, &seen.row.project)),
        })
        .collect();
    place_cursors(&mut streams, cursors)?;
    Ok(streams)
}

/// An empty log of a sandbox that prints is no riddle.
fn tell_what_is_not_captured(observed: &[Observation], show: &Show, verbosity: &OutputOptions) {
    if !show.sources.iter().any(|source| Source::DEFAULT.contains(source)) {
        return;
    }
    let is_off = |seen: &&Observation| seen.row.spec.definition.logs.capture == Capture::Off;
    let names: Vec<_> = observed.iter().filter(is_off).map(|seen| seen.row.name.as_str()).collect();
    if !names.is_empty() {
        let names = schemas::listing::names(names);
        verbosity.say(&format!("capture is off for {names}: what is printed there is not written down"));
    }
}

fn place_cursors(streams: &mut [Stream], cursors: &[NamedCursor]) -> Result<(), CliError> {
    let several = streams.len() > 1;
    for NamedCursor { name, cursor } in cursors {
        let stream = match name {
            Some(name) => streams.iter_mut().find(|stream| stream.name == *name).ok_or_else(|| {
                CliError::usage(format!("--cursor is for {name}, whose logs are not asked for"))
            })?,
            None if several => {
                return Err(CliError::usage("--cursor does not say which sandbox it is of").hint(
                    "write --cursor NAME=CURSOR, once for each sandbox; others begin with their oldest line",
                ));
            }
            None => &mut streams[0],
        };
        stream.start = Start::Cursor(cursor.clone());
    }
    Ok(())
}
