//! `msb events`.

use super::logs::Range;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::logs::{LineFormat, LineStyle};
use crate::output::OutputOptions;
use executor_log::Source;
use std::process::ExitCode;

/// Arguments of `msb events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    range: Range,
    /// Print one JSON object per line, with the event as data and as text, and the cursor after it.
    #[arg(long)]
    json: bool,
}

/// Shows the events of sandboxes and the refusals of their networks.
pub fn run(global: &Global, Args { range, json }: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let observed = range.observe(global, &machine)?;
    let output = OutputOptions::of(global);
    let style = LineStyle {
        format: if *json { LineFormat::Json } else { LineFormat::Text },
        timestamps: true,
        prefixes: true,
        color: output.color_stdout,
    };
    let options = range.options(vec![Source::Events, Source::Network], style);
    range.show(&machine.home, &observed, options, output)
}
