//! `msb image load`.

use crate::cli::{Global, JsonResults};
use crate::error::{CliError, Context};
use crate::host::Machine;
use crate::output::results::{Image, Images};
use crate::output::{OutputOptions, print, print_json};
use executor::images::load_archive;
use rules::reference::Reference;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb image load`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive or layout; `-` is standard input.
    path: PathBuf,
    /// New name for the image, if there is only one.
    #[arg(long, value_name = "REFERENCE")]
    name: Option<String>,
    #[command(flatten)]
    json: JsonResults,
}

/// Loads images and prints their names and digests.
pub fn run(global: &Global, Args { path, name, json: _ }: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let name = name.as_deref().map(parse).transpose()?;
    let Machine { home, catalog } = Machine::open()?;
    let mut standard_input = None;
    if path.as_os_str() == "-" {
        let file = tempfile::Builder::new().prefix("load-").tempfile_in(home.images());
        let copied = file.and_then(|mut file| io::copy(&mut io::stdin().lock(), &mut file).map(|_| file));
        standard_input = Some(copied.context("cannot read standard input")?);
    }
    let path = standard_input.as_ref().map_or(path.as_path(), |file| file.path());
    let images = load_archive(&home, &catalog, path, name.as_ref(), &mut |_, _| {})?;
    if name.is_some() && images.len() > 1 {
        output.warn("there is more than one image; --name is ignored");
    }
    if output.json {
        let images: Vec<_> = images
            .iter()
            .map(|(reference, digest)| Image { reference: reference.to_string(), digest: digest.to_string() })
            .collect();
        print_json(&Images::new(&images));
        return Ok(ExitCode::SUCCESS);
    }
    for (reference, digest) in images {
        print(&format!("{reference} {digest}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(text: &str) -> Result<Reference, CliError> {
    text.parse().map_err(|error| CliError::usage(format!("{text:?} cannot be an image's name: {error}")))
}
