//! `msb image rm`.

use super::size;
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::OutputOptions;
use executor::images::{named, remove};
use std::process::ExitCode;

/// Arguments of `msb image rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The images, by reference or digest.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes images. A failure does not prevent the others.
pub fn run(global: &Global, Args { images }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let Machine { home, catalog } = Machine::open()?;
    let mut failure = None;
    for name in images {
        match named(&home, &catalog, name).and_then(|image| remove(&home, &catalog, &image)) {
            Ok(removed) => {
                output.say(&format!(
                    "removed {} ({})",
                    schemas::listing::names(&removed.references),
                    size(removed.bytes)
                ));
            }
            Err(error) => {
                let error = CliError::from(error);
                failure = Some(match failure {
                    None => error,
                    Some(earlier) => CliError::because(earlier, error.message),
                });
            }
        }
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}
