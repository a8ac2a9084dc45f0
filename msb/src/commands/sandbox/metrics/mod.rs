//! `msb metrics` and `msb stats`.

mod listen;
mod prometheus;
pub mod rows;

use crate::cli::{Global, duration};
use crate::error::CliError;
use crate::host::{Machine, open_home};
use crate::output::{self, OutputOptions, print, print_json, print_raw};
use crate::project;
use crate::project::find::{full_name_of, up};
use executor::observe::{Observation, observe_all};
use rows::Row;
use schemas::snapshot::Status;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// The shortest time between two outputs: supervisors measure once a second.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Sets the cursor to the first line and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Arguments of `msb metrics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Running sandboxes (default: all of the current project).
    #[arg(value_name = "SANDBOX")]
    names: Vec<String>,
    /// The sandboxes of all projects.
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    /// Print JSON, with --watch one document per line.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The format.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print again and again, until it is interrupted.
    #[arg(short, long)]
    watch: bool,
    /// The time between two outputs of --watch.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    interval: Duration,
    /// Serve the metrics of all projects to Prometheus at http://ADDRESS/metrics, until it is interrupted.
    #[arg(long, value_name = "ADDRESS", value_parser = listen::address, exclusive = true)]
    listen: Option<SocketAddr>,
}

/// Arguments of `msb stats`, as of `docker compose stats`.
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// Running sandboxes (default: all of the current project).
    #[arg(value_name = "SANDBOX")]
    names: Vec<String>,
    /// The sandboxes of all projects.
    #[arg(short, long, conflicts_with = "names")]
    all: bool,
    /// Print once and exit.
    #[arg(long)]
    no_stream: bool,
    /// The format.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for people.
    Table,
    /// JSON.
    Json,
    /// The text format of Prometheus.
    Prometheus,
}

/// The version of the JSON format.
const VERSION: u32 = 1;

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    sandboxes: Vec<Row>,
    /// The full names of running sandboxes without metrics: none had room for them, or they have just been started.
    missing: Vec<String>,
}

/// Shows how much running sandboxes use.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { names, all, json, format, watch, interval, listen } = arguments;
    if let Some(address) = listen {
        return listen::serve(*address, &open_home()?, OutputOptions::of(global));
    }
    let format = if *json { Format::Json } else { *format };
    show(global, &Wanted { names, all: *all }, format, watch.then_some((*interval).max(INTERVAL_MIN)))
}

/// Shows it again and again, as compose does.
pub fn stats(global: &Global, arguments: &StatsArgs) -> Result<ExitCode, CliError> {
    let StatsArgs { names, all, no_stream, format } = arguments;
    let interval = (!no_stream).then_some(Duration::from_secs(1));
    show(global, &Wanted { names, all: *all }, *format, interval)
}

/// The sandboxes to show.
struct Wanted<'a> {
    names: &'a [String],
    all: bool,
}

fn show(
    global: &Global,
    wanted: &Wanted<'_>,
    format: Format,
    interval: Option<Duration>,
) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let options = OutputOptions::of(global);
    if interval.is_some() {
        output::exit_when_stdout_closes();
    }
    let is_screen = interval.is_some() && format == Format::Table && stdout().is_terminal();
    loop {
        let (document, of_one) = measure(global, wanted, &machine)?;
        match format {
            Format::Json if interval.is_some() => print_raw(&json_line(&document)),
            Format::Json => print_json(&document),
            Format::Prometheus => print_raw(&prometheus::text(&document.sandboxes)),
            Format::Table => {
                if is_screen {
                    print_raw(CLEAR);
                }
                print(&rows::table(&document.sandboxes, of_one));
            }
        }
        if !document.missing.is_empty() && format != Format::Json {
            let names = document.missing.join(", ");
            options.say(&format!(
                "no metrics yet of: {names} (`msb logs --source runtime` says why if that lasts)"
            ));
        }
        match interval {
            Some(interval) => sleep(interval),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn json_line(document: &Document) -> String {
    serde_json::to_string(document).map_or_else(|_| String::new(), |text| format!("{text}\n"))
}

/// Returns the metrics of the wanted sandboxes, and whether all are of one project.
fn measure(
    global: &Global,
    Wanted { names, all }: &Wanted<'_>,
    machine: &Machine,
) -> Result<(Document, bool), CliError> {
    let project = if *all { None } else { project::current(global, &machine.catalog)? };
    let mut found: Vec<Observation> = if names.is_empty() {
        observe_all(&machine.home, &machine.catalog, project.as_ref())?.sandboxes
    } else {
        names.iter().map(|name| up(global, machine, name)).collect::<Result<_, _>>()?
    };
    found.retain(|seen| seen.status.is_up());
    let ids: BTreeSet<&str> = found.iter().map(|seen| seen.row.id.as_str()).collect();
    let mut sandboxes = rows::all(&machine.home)?;
    sandboxes.retain(|row| ids.contains(row.id.as_str()));
    let is_paused = |seen: &&Observation| seen.status == Status::Paused;
    let paused: BTreeSet<&str> = found.iter().filter(is_paused).map(|seen| seen.row.id.as_str()).collect();
    sandboxes.iter_mut().for_each(|row| row.paused = paused.contains(row.id.as_str()));
    let measured: BTreeSet<&str> = sandboxes.iter().map(|row| row.id.as_str()).collect();
    let missing =
        found.iter().filter(|seen| !measured.contains(seen.row.id.as_str())).map(full_name_of).collect();
    Ok((Document { version: VERSION, sandboxes, missing }, project.is_some()))
}
