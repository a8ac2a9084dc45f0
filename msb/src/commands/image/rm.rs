//! `msb image rm`.

use super::size;
use crate::cli::{Global, JsonResults};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::results::{Removed, RemovedImage};
use crate::output::{OutputOptions, print_json};
use executor::images::{named, remove};
use std::process::ExitCode;

/// Arguments of `msb image rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The images, by reference or digest.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    json: JsonResults,
}

/// Removes images. A failure does not prevent the others.
pub fn run(global: &Global, Args { images, json: _ }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let Machine { home, catalog } = Machine::open()?;
    let mut failure = None;
    let mut done = Vec::new();
    for name in images {
        match named(&home, &catalog, name).and_then(|image| remove(&home, &catalog, &image)) {
            Ok(removed) => {
                output.say(&format!(
                    "removed {} ({})",
                    schemas::listing::names(&removed.references),
                    size(removed.bytes)
                ));
                done.push(RemovedImage { references: removed.references, bytes: removed.bytes });
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
    if output.json {
        print_json(&Removed::new(&done));
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}
