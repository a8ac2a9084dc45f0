//! `msb snapshot rm`.

use super::name;
use crate::cli::{Global, JsonResults};
use crate::commands::image::size;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::results::Removed;
use crate::output::{OutputOptions, print_json};
use executor::snapshots;
use schemas::name::SnapshotName;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb snapshot rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The snapshots.
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    names: Vec<SnapshotName>,
    /// Remove its name even if sandboxes boot from it. `msb image prune` removes its files once no sandbox has them.
    #[arg(short, long)]
    force: bool,
    // Hides the global option, whose short form `--force` has here.
    #[arg(id = "sandboxfile", long = "file", hide = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    json: JsonResults,
}

/// Removes snapshots. A failure does not prevent the others.
pub fn run(global: &Global, Args { names, force, files: _, json: _ }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let Machine { home, catalog } = Machine::open()?;
    let mut failure: Option<CliError> = None;
    let mut removed = Vec::new();
    for name in names {
        match snapshots::remove(&home, &catalog, name, *force) {
            Ok(bytes) => {
                removed.push(name.as_str());
                output.say(&format!("removed snapshot {name} ({})", size(bytes)));
            }
            Err(error) => {
                let error = CliError::from(error);
                failure = Some(match failure {
                    None => error,
                    Some(earlier) => earlier.because(error.message),
                });
            }
        }
    }
    if output.json {
        print_json(&Removed::new(&removed));
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}
