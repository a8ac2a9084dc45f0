//! `msb graph`.

use super::plan::prepare;
use crate::cli::Global;
use crate::error::CliError;
use crate::output::graph;
use crate::output::{print, print_json};
use crate::project::targets::Selection;
use clap::ValueEnum;
use std::process::ExitCode;

/// Arguments of `msb graph`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// The output format.
    #[arg(long, value_enum, default_value_t = Format::Dot, value_name = "FORMAT")]
    format: Format,
}

/// The formats of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Drawing.
    Svg,
    /// Text for Graphviz.
    Dot,
    /// JSON.
    Json,
}

/// Prints the graph of the steps that `up` would take, or of the project's dependencies if there are none.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let prepared = prepare(global, &arguments.selection, &mut None)?;
    let graph = if prepared.plan.is_empty() {
        graph::of_project(&prepared.loaded.model)
    } else {
        graph::of_plan(&prepared.plan)
    };
    match arguments.format {
        Format::Dot => print(&graph.dot()),
        Format::Json => print_json(&graph),
        Format::Svg => print(&graph.svg()?),
    }
    Ok(ExitCode::SUCCESS)
}
