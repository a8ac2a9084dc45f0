//! `msb image inspect`.

use super::{VERSION, size};
use crate::error::CliError;
use crate::host;
use crate::output::{escape_controls, print, print_json};
use executor::images::{KnownImage, named, users};
use executor_image::{Blobs, ImageConfig, OciImage, image_config};
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb image inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image, by its reference or digest.
    image: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    version: u32,
    reference: String,
    platform: String,
    digest: String,
    here: bool,
    used_by: Vec<String>,
    config: ImageConfig,
    layers: Vec<LayerRow>,
}

#[derive(Serialize)]
struct LayerRow {
    digest: String,
    bytes: u64,
}

/// Shows it.
pub fn run(Args { image, json }: &Args) -> Result<ExitCode, CliError> {
    let home = host::open_home()?;
    let catalog = host::open_catalog(&home)?;
    let KnownImage { reference, platform, digest, resolved_unix: _, bytes, is_here } =
        named(&home, &catalog, image)?;
    let failed = |error: executor_image::ImageError| CliError::from_error(&error);
    let blobs = Blobs::open(&home.images()).map_err(failed)?;
    let _held = blobs.hold().map_err(failed)?;
    let stored =
        executor_image::platform().and_then(|platform| OciImage::load(&blobs, &digest, platform)).ok();
    let config = match &stored {
        Some(image) => image.run_config(&blobs),
        None => image_config(&home.images(), &digest),
    };
    let config = config.map_err(failed)?;
    let layers = stored.map(|image| image.layers).unwrap_or_default();
    let layers: Vec<_> = layers
        .into_iter()
        .map(|layer| LayerRow { digest: layer.digest.to_string(), bytes: layer.size })
        .collect();
    let used_by = users(&catalog)?.remove(&digest).unwrap_or_default();
    if *json {
        let digest = digest.to_string();
        print_json(&Document {
            version: VERSION,
            reference,
            platform,
            digest,
            here: is_here,
            used_by,
            config,
            layers,
        });
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<13} {}\n", escape_controls(&value)));
        }
    };
    let words = |words: &[String]| match words.is_empty() {
        true => String::new(),
        false => format!("{words:?}"),
    };
    line("reference", reference);
    line("platform", platform);
    line("digest", digest.to_string());
    line("size", bytes.map(size).unwrap_or_default());
    line("here", if is_here { "yes" } else { "no" }.to_owned());
    line("used by", used_by.join(", "));
    line("entrypoint", words(&config.entrypoint));
    line("cmd", words(&config.cmd));
    for (name, value) in &config.env {
        line("env", format!("{name}={value}"));
    }
    line("user", config.user.unwrap_or_default());
    line("workdir", config.workdir.unwrap_or_default());
    line("stop signal", config.stop_signal.unwrap_or_default());
    line("ports", config.exposed_ports.into_iter().collect::<Vec<_>>().join(", "));
    line("volumes", config.volumes.into_iter().collect::<Vec<_>>().join(", "));
    line("healthcheck", config.healthcheck.map(|check| words(&check.exec)).unwrap_or_default());
    for (name, value) in &config.labels {
        line("label", format!("{name}={value}"));
    }
    for LayerRow { digest, bytes } in &layers {
        line("layer", format!("{digest} {}", size(*bytes)));
    }
    print(&text);
    Ok(ExitCode::SUCCESS)
}
