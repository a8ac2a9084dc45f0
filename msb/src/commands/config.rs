//! `msb config`.

use crate::cli::Global;
use crate::error::CliError;
use crate::load;
use crate::output::print;
use clap::ValueEnum;
use schemas::sandboxfile::print as spelling;
use std::process::ExitCode;

/// Arguments of `msb config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The spelling.
    #[arg(long, value_enum, default_value_t = Format::Kdl, value_name = "SPELLING")]
    format: Format,
}

/// A spelling of a Sandboxfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// KDL 2.
    Kdl,
    /// YAML.
    Yaml,
    /// JSON, for programs.
    Json,
}

/// Prints the resolved model.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let model = load::load(global)?.model;
    print(&match arguments.format {
        Format::Kdl => spelling::kdl(&model),
        Format::Yaml => spelling::yaml(&model),
        Format::Json => spelling::json(&model),
    });
    Ok(ExitCode::SUCCESS)
}
