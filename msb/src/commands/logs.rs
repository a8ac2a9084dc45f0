//! `msb logs`.

use crate::cli::Global;
use crate::error::CliError;
use crate::find::{self, full_name_of, project_at_hand};
use crate::follow::{self, Show, Stream};
use crate::host;
use crate::output::Verbosity;
use executor::observe::{Observation, observe_sandboxes};
use executor_log::Source;
use std::process::ExitCode;

/// Arguments of `msb logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandboxes; all of the project without any.
    names: Vec<String>,
    /// Go on with what comes, until Ctrl-C or until the sandboxes have ended.
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines of each sandbox.
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Only these sources: stdout, stderr, output (terminals), system (msb about the sandbox).
    #[arg(long, value_delimiter = ',', value_name = "SOURCE", value_parser = parse_source)]
    source: Vec<Source>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Show when each line came.
    #[arg(short, long)]
    timestamps: bool,
}

fn parse_source(text: &str) -> Result<Source, String> {
    [Source::Stdout, Source::Stderr, Source::Output, Source::System]
        .into_iter()
        .find(|source| source.to_string() == text)
        .ok_or_else(|| "the sources are stdout, stderr, output and system".to_owned())
}

/// Shows what sandboxes have printed.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let home = host::open_home()?;
    let catalog = host::open_catalog(&home)?;
    let observed: Vec<Observation> = if arguments.names.is_empty() {
        observe_sandboxes(&home, &catalog, project_at_hand(global, &catalog)?.as_ref())?
    } else {
        let found = arguments.names.iter().map(|name| find::sandbox(global, &home, &catalog, name));
        found.collect::<Result<_, _>>()?
    };
    if observed.is_empty() {
        return Err(
            CliError::new("there are no sandboxes").hint("`msb up` brings the Sandboxfile's sandboxes up")
        );
    }
    let streams: Vec<Stream> = observed
        .iter()
        .map(|seen| Stream {
            name: seen.row.name.to_string(),
            log: home.sandbox(&seen.row.id).logs().join(executor_log::EXEC_LOG),
            control: home.sandbox_run(&full_name_of(seen)).control_socket(),
        })
        .collect();
    let default_sources = vec![Source::Stdout, Source::Stderr, Source::Output];
    let show = Show {
        sources: if arguments.source.is_empty() { default_sources } else { arguments.source.clone() },
        tail: arguments.tail,
        since: None,
        json: arguments.json,
        timestamps: arguments.timestamps,
        prefixes: observed.len() > 1,
        color: Verbosity::of(global).color_stdout,
    };
    if arguments.follow { follow::follow(streams, show) } else { follow::show(&streams, &show) }
}
