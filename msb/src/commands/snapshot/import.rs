//! `msb snapshot import`.

use super::{name, report};
use crate::cli::{Global, JsonResults};
use crate::error::{CliError, Context};
use crate::host::Machine;
use crate::output::OutputOptions;
use executor::snapshots;
use schemas::name::SnapshotName;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb snapshot import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; `-` is standard input.
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// The name of the snapshot. Default: the one that it was exported with.
    #[arg(value_name = "NAME", value_parser = name)]
    name: Option<SnapshotName>,
    /// Replace a snapshot of this name.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    json: JsonResults,
}

/// Adds the snapshot in a file.
pub fn run(global: &Global, Args { path, name, replace, json: _ }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let home = Machine::open()?.home;
    let import = |from: &mut dyn io::Read| snapshots::import(&home, from, name.as_ref(), *replace);
    let (name, snapshot) = if path.as_os_str() == "-" {
        import(&mut io::stdin().lock())?
    } else {
        let file = File::open(path).context(format_args!("cannot read {}", path.display()))?;
        import(&mut BufReader::with_capacity(1 << 20, file))
            .map_err(|error| CliError::from(error).because(format!("in {}", path.display())))?
    };
    report(&output, "imported", &name, &snapshot);
    Ok(ExitCode::SUCCESS)
}
