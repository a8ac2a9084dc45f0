//! `msb events`.

use super::logs::{NamedCursor, observed, parse_cursor, parse_moment, streams};
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::logs::{self, Form, Look, Show};
use crate::output::OutputOptions;
use executor_log::Source;
use std::process::ExitCode;
use std::time::SystemTime;

/// Arguments of `msb events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes; all of the project without any.
    names: Vec<String>,
    /// Go on with what happens, until Ctrl-C or until the sandboxes have ended.
    #[arg(short, long)]
    follow: bool,
    /// Only the last events of each sandbox.
    #[arg(long, value_name = "EVENTS")]
    tail: Option<usize>,
    /// Only what happened at this time or later: RFC 3339, or how long ago (`10m`).
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<SystemTime>,
    /// Only what happened before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "follow")]
    until: Option<SystemTime>,
    /// Print one JSON object a line: the event in words and in its parts, and the cursor behind it.
    #[arg(long)]
    json: bool,
    /// Go on behind the event that had this cursor; `NAME=CURSOR`, once for each, where there are several sandboxes.
    #[arg(long, value_name = "CURSOR", value_parser = parse_cursor)]
    cursor: Vec<NamedCursor>,
}

/// Shows what has happened to sandboxes, and what their networks have refused.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let observed = observed(global, (&home, &catalog), &arguments.names)?;
    let streams = streams(&home, &observed, &arguments.cursor)?;
    let verbosity = OutputOptions::of(global);
    let show = Show {
        sources: vec![Source::Events, Source::Network],
        tail: arguments.tail,
        since: arguments.since,
        until: arguments.until,
        grep: None,
        look: Look {
            form: if arguments.json { Form::Json } else { Form::Text },
            timestamps: true,
            prefixes: true,
            color: verbosity.color_stdout,
        },
        live: false,
    };
    if arguments.follow { logs::follow(streams, show, verbosity) } else { logs::show(&streams, &show) }
}
