//! `msb image inspect`.

use super::{VERSION, size};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{escape_controls, print, print_json};
use executor::catalog::Catalog;
use executor::images::{ImagesError, KnownImage, named, users};
use executor_host::home::Home;
use executor_image::{Blobs, ImageConfig, Layer, OciImage, SourceImage, image_config};
use schemas::listing::names;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// Arguments of `msb image inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image, by its reference, digest or path.
    image: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    reference: String,
    platform: String,
    digest: String,
    here: bool,
    used_by: Vec<String>,
    config: ImageConfig,
    layers: Vec<LayerRow>,
    /// Compressed size; not in the JSON.
    #[serde(skip)]
    bytes: Option<u64>,
}

#[derive(schemars::JsonSchema, Serialize)]
struct LayerRow {
    digest: String,
    bytes: u64,
}

/// Shows an image.
pub fn run(Args { image, json }: &Args) -> Result<ExitCode, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let document = match named(&home, &catalog, image) {
        Ok(known) => of_known(&home, &catalog, known)?,
        Err(ImagesError::Unknown { .. }) if is_path(image) => of_path(&home, &catalog, image)?,
        Err(error) => return Err(error.into()),
    };
    if *json {
        print_json(&document);
    } else {
        print(&text(document));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns whether a text looks like a path, or is the path of an existing file.
fn is_path(text: &str) -> bool {
    text.starts_with(['.', '/']) || Path::new(text).exists()
}

fn of_known(home: &Home, catalog: &Catalog, known: KnownImage) -> Result<Document, CliError> {
    let KnownImage { reference, platform, digest, resolved_unix: _, bytes, is_here } = known;
    let blobs = Blobs::open(&home.images())?;
    let _lock = blobs.lock_shared()?;
    let stored =
        executor_image::platform().and_then(|platform| OciImage::load(&blobs, &digest, platform)).ok();
    let config = match &stored {
        Some(image) => image.run_config(&blobs),
        None => image_config(&home.images(), &digest),
    };
    Ok(Document {
        version: VERSION,
        reference,
        platform,
        here: is_here,
        used_by: users(catalog)?.remove(&digest).unwrap_or_default(),
        digest: digest.to_string(),
        config: config?,
        layers: rows(stored.map(|image| image.layers).unwrap_or_default()),
        bytes,
    })
}

fn of_path(home: &Home, catalog: &Catalog, path: &str) -> Result<Document, CliError> {
    let SourceImage { digest, config, layers } =
        executor_image::source_image(Path::new(path), &home.images())?;
    let bytes = (!layers.is_empty()).then(|| layers.iter().map(|layer| layer.size).sum());
    Ok(Document {
        version: VERSION,
        reference: path.to_owned(),
        platform: executor_image::platform()?.to_string(),
        here: true,
        used_by: users(catalog)?.remove(&digest).unwrap_or_default(),
        digest: digest.to_string(),
        config,
        layers: rows(layers),
        bytes,
    })
}

fn rows(layers: Vec<Layer>) -> Vec<LayerRow> {
    let row = |layer: Layer| LayerRow { digest: layer.digest.to_string(), bytes: layer.size };
    layers.into_iter().map(row).collect()
}

fn text(document: Document) -> String {
    let Document { version: _, reference, platform, digest, here, used_by, config, layers, bytes } = document;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<13} {}\n", escape_controls(&value)));
        }
    };
    let words = |words: &[String]| if words.is_empty() { String::new() } else { format!("{words:?}") };
    line("reference", reference);
    line("platform", platform);
    line("digest", digest);
    line("size", bytes.map(size).unwrap_or_default());
    line("here", if here { "yes" } else { "no" }.to_owned());
    line("used by", names(used_by));
    line("entrypoint", words(&config.entrypoint));
    line("cmd", words(&config.cmd));
    for (name, value) in &config.env {
        line("env", format!("{name}={value}"));
    }
    line("user", config.user.unwrap_or_default());
    line("workdir", config.workdir.unwrap_or_default());
    line("stop signal", config.stop_signal.unwrap_or_default());
    line("ports", names(config.exposed_ports));
    line("volumes", names(config.volumes));
    line("healthcheck", config.healthcheck.map(|check| words(&check.exec)).unwrap_or_default());
    for (name, value) in &config.labels {
        line("label", format!("{name}={value}"));
    }
    for LayerRow { digest, bytes } in &layers {
        line("layer", format!("{digest} {}", size(*bytes)));
    }
    text
}
