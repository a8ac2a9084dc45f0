//! `msb snapshot export`.

use super::name;
use crate::error::{CliError, Context};
use crate::host::Machine;
use crate::output::file::OutputFile;
use executor::snapshots;
use schemas::name::SnapshotName;
use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb snapshot export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The snapshot.
    #[arg(value_name = "NAME", value_parser = name)]
    name: SnapshotName,
    /// The file, which only you may read. Default: standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes a snapshot to a file.
pub fn run(Args { name, output }: &Args) -> Result<ExitCode, CliError> {
    let home = Machine::open()?.home;
    let Some(path) = output else {
        if io::stdout().is_terminal() {
            let refused = CliError::usage("a snapshot cannot be written to a terminal");
            return Err(refused.hint("name a file with -o"));
        }
        snapshots::export(&home, name, &mut BufWriter::with_capacity(1 << 20, io::stdout().lock()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let failure = format!("cannot write {}", path.display());
    // It contains all that was on the disk.
    let mut to = BufWriter::with_capacity(1 << 20, OutputFile::create_private(path).context(&failure)?);
    snapshots::export(&home, name, &mut to)?;
    to.into_inner().context(&failure)?.finish().context(failure)?;
    Ok(ExitCode::SUCCESS)
}
