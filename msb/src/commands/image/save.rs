//! `msb image save`.

use crate::error::{CliError, Context};
use crate::host::Machine;
use crate::output::file::OutputFile;
use executor::catalog::Catalog;
use executor::images::{KnownImage, named};
use executor_host::home::Home;
use executor_image::{Blobs, ImageError, OciImage};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `msb image save`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The images, by reference or digest.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The archive. Default: standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes images to one archive.
pub fn run(Args { images, output }: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let blobs = Blobs::open(&home.images())?;
    let _lock = blobs.lock_shared()?;
    let images = load(&home, &catalog, &blobs, images)?;
    match output {
        Some(path) => {
            write_file(path, |to| executor_image::save(&blobs, &images, to))
                .map_err(|error| error.hint("no partial file was left"))?;
        }
        None if io::stdout().is_terminal() => {
            return Err(
                CliError::usage("an archive cannot be written to a terminal").hint("name a file with -o")
            );
        }
        None => {
            let mut to = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            executor_image::save(&blobs, &images, &mut to)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Loads each image once, with all of its names on the command line.
fn load(
    home: &Home,
    catalog: &Catalog,
    blobs: &Blobs,
    names: &[String],
) -> Result<Vec<(OciImage, Vec<String>)>, CliError> {
    let platform = executor_image::platform()?;
    let mut images: Vec<(OciImage, Vec<String>)> = Vec::new();
    for name in names {
        let KnownImage { reference, digest, .. } = named(home, catalog, name)?;
        // Archives have no digests as names.
        let tag = (!reference.contains('@')).then_some(reference.clone());
        if let Some((_, tags)) = images.iter_mut().find(|(image, _)| image.manifest == digest) {
            tags.extend(tag);
            continue;
        }
        let image = OciImage::load(blobs, &digest, platform).ok().filter(|image| image.is_whole(blobs));
        let image = image.ok_or_else(|| {
            CliError::new(format!("the layers of {reference} are not on this machine"))
                .hint(format!("`msb image pull {reference}` pulls them"))
        })?;
        images.push((image, tag.into_iter().collect()));
    }
    Ok(images)
}

/// Writes a file atomically.
fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
) -> Result<(), CliError> {
    let failure = format!("cannot write {}", path.display());
    let mut to = BufWriter::with_capacity(1 << 20, OutputFile::create(path).context(&failure)?);
    write(&mut to)?;
    to.into_inner().context(&failure)?.finish().context(failure)
}
