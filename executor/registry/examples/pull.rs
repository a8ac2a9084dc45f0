//! Pulls an image into a store and prints the progress of each layer and the throughput.
//!
//! pull [--insecure] [--ca FILE] [--layers-at-once N] [--quiet] REFERENCE FOLDER
//!
//! Proxies come from the environment, credentials from docker's configuration.

use executor_image::Blobs;
use executor_registry::{HostSettings, LayerProgress, Proxies, Registry, RegistryError, Settings};
use rules::reference::Reference;
use schemas::lockfile::Platform;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

const USAGE: &str = "usage: pull [--insecure] [--ca FILE] [--layers-at-once N] [--quiet] REFERENCE FOLDER";

fn main() -> Result<(), Box<dyn Error>> {
    let mut host = HostSettings::default();
    let mut settings = Settings { proxies: Proxies::from_variables(variable), ..Settings::default() };
    settings.docker_config = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".docker")))
        .map(|folder| folder.join("config.json"));
    let (mut quiet, mut positional) = (false, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--insecure" => host.insecure = true,
            "--ca" => host.ca = Some(words.next().ok_or(USAGE)?.into()),
            "--layers-at-once" => settings.limits.layers_at_once = words.next().ok_or(USAGE)?.parse()?,
            "--quiet" => quiet = true,
            _ => positional.push(word),
        }
    }
    let [reference, folder] = &positional[..] else { return Err(USAGE.into()) };
    let reference: Reference = reference.parse()?;
    settings.hosts = BTreeMap::from([(reference.registry().to_owned(), host)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let show = |progress: LayerProgress<'_>| {
        let LayerProgress { layer, number, of, state, bytes } = progress;
        if !quiet {
            eprintln!("{number}/{of} {} {state:?} {bytes} of {} bytes", layer.digest.short(), layer.size);
        }
    };
    runtime
        .block_on(pull(settings, &reference, Path::new(folder), &show))
        .map_err(|error| with_hint(error.as_ref()))
}

async fn pull(
    settings: Settings,
    reference: &Reference,
    folder: &Path,
    show: &(dyn Fn(LayerProgress<'_>) + Sync),
) -> Result<(), Box<dyn Error>> {
    let platform = Platform::of_processor(std::env::consts::ARCH).ok_or("images are for other processors")?;
    let blobs = Blobs::open(folder)?;
    let registry = Registry::new(settings, blobs.clone())?;
    let _held = blobs.lock_shared()?;
    let begun = Instant::now();
    let found = registry.resolve(reference, platform).await?;
    registry.pull(reference, &found.image, show).await?;
    let (bytes, seconds) = (found.image.bytes() as f64 / (1 << 20) as f64, begun.elapsed().as_secs_f64());
    println!("{} {bytes:.1} MiB in {seconds:.2} s, {:.1} MiB/s", found.image.manifest, bytes / seconds);
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn with_hint(error: &(dyn Error + 'static)) -> Box<dyn Error> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    match error.downcast_ref::<RegistryError>().and_then(RegistryError::hint) {
        Some(hint) => format!("{text}\nhint: {hint}").into(),
        None => text.into(),
    }
}
