//! `msb graph`.

use super::plan::prepare;
use crate::cli::Global;
use crate::error::CliError;
use crate::output::graph;
use crate::output::{print, print_json};
use clap::ValueEnum;
use std::process::ExitCode;

/// Arguments of `msb graph`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    choice: super::plan::Choice,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Dot, value_name = "FORMAT")]
    format: Format,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A picture.
    Svg,
    /// Text that Graphviz draws.
    Dot,
    /// JSON.
    Json,
}

/// Prints the steps of what `up` would do and their order; where that is nothing, who depends on whom.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let prepared = prepare(global, &arguments.choice, &mut None)?;
    let graph = match prepared.plan.is_empty() {
        true => graph::of_project(&prepared.loaded.model),
        false => graph::of_plan(&prepared.plan),
    };
    match arguments.format {
        Format::Dot => print(&graph.dot()),
        Format::Json => print_json(&graph),
        Format::Svg => {
            let hint = "name fewer sandboxes, or draw --format dot with another program";
            print(&graph.svg().map_err(|error| CliError::from_error(&error).hint(hint))?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
