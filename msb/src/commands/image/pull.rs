//! `msb image pull`.

use super::size;
use crate::cli::{Global, JsonResults};
use crate::error::CliError;
use crate::host;
use crate::host::Machine;
use crate::output::results::{Image, Images};
use crate::output::{OutputOptions, print, print_json};
use crate::progress::bar_style;
use crate::project::images::reference_of;
use executor::images::{Fetched, ImageQuery, Pull, ensure_built, observe_image};
use executor_image::Blobs;
use indicatif::ProgressBar;
use schemas::spec::{ImageReference, PinnedImage};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// Arguments of `msb image pull`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The images: `alpine`, `ghcr.io/org/app:1`, `host:5000/app@sha256:…`.
    #[arg(required = true, value_name = "IMAGE")]
    references: Vec<String>,
    #[command(flatten)]
    json: JsonResults,
}

/// Pulls images and prints their digests.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global);
    let references: Vec<ImageReference> =
        arguments.references.iter().map(|text| reference_of(text)).collect::<Result<_, _>>()?;
    let Machine { home, catalog } = Machine::open()?;
    let registries = Arc::new(host::registries(&home)?);
    let blobs = Blobs::open(&home.images())?;
    let _lock = blobs.lock_shared()?;
    let mut pulled = Vec::new();
    for reference in references {
        if let ImageReference::Local { path } = &reference {
            return Err(CliError::usage(format!("{path} is on this machine: there is nothing to pull"))
                .hint("`msb image load` loads images from an archive or a layout"));
        }
        let query =
            ImageQuery { pull: Pull::Always, registries: registries.clone(), ..ImageQuery::default() };
        let observed = observe_image(&home, &catalog, &reference, &query)?;
        let image = PinnedImage { reference: reference.clone(), digest: observed.digest };
        let progress = PullProgress::new(&output, reference.to_string());
        ensure_built(&home, &image, &registries, &|fetched| progress.update(fetched))?;
        progress.end();
        if output.json {
            let (reference, digest) = (reference.to_string(), image.digest.to_string());
            pulled.push(Image { reference, digest });
        } else {
            print(&format!("{reference} {}\n", image.digest));
        }
    }
    if output.json {
        print_json(&Images::new(&pulled));
    }
    Ok(ExitCode::SUCCESS)
}

/// Progress of a pull: a bar on a terminal, else a line after each layer.
struct PullProgress {
    output: OutputOptions,
    name: String,
    bar: Option<ProgressBar>,
    last: Mutex<Option<String>>,
}

impl PullProgress {
    fn new(output: &OutputOptions, name: String) -> Self {
        let bar = output.bars.then(|| ProgressBar::new(0).with_style(bar_style("bytes")));
        Self { output: *output, name, bar, last: Mutex::default() }
    }

    fn update(&self, fetched: Fetched) {
        let (text, done, total) = match fetched {
            Fetched::Pulling { layers, of, done, total } => {
                (format!("{}: layers {layers} of {of} ({})", self.name, size(total)), done, Some(total))
            }
            Fetched::Unpacking { done, total } => (format!("{}: unpacking", self.name), done, total),
        };
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&text) {
            self.output.say(&text);
            *last = Some(text);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
