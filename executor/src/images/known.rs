//! The images that are known by name.

use super::ImagesError;
use crate::catalog::{Catalog, ImageRow};
use executor_host::home::Home;
use executor_image::{Blobs, LoadedImage, OciImage, is_built};
use rules::reference::Reference;
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use std::path::Path;

/// An image that is known by a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownImage {
    /// The complete reference.
    pub reference: String,
    /// The platform.
    pub platform: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The time of the last lookup, in seconds since 1970.
    pub resolved_unix: i64,
    /// The compressed size in bytes; `None` while only the name is known.
    pub bytes: Option<u64>,
    /// Whether it boots without a registry: it is built, or completely in the store.
    pub is_here: bool,
}

/// Lists all known images, sorted by reference.
///
/// # Errors
///
/// If the store or the catalog cannot be read.
pub fn known_images(home: &Home, catalog: &Catalog) -> Result<Vec<KnownImage>, ImagesError> {
    let blobs = Blobs::open(&home.images())?;
    Ok(catalog.images()?.into_iter().map(|row| known(home, &blobs, row)).collect())
}

fn known(home: &Home, blobs: &Blobs, row: ImageRow) -> KnownImage {
    let ImageRow { reference, platform, digest, resolved_unix } = row;
    let stored =
        Platform::from_word(&platform).and_then(|platform| OciImage::load(blobs, &digest, platform).ok());
    let is_here =
        is_built(&home.images(), &digest) || stored.as_ref().is_some_and(|image| image.is_whole(blobs));
    let bytes = stored.map(|image| image.bytes());
    KnownImage { reference, platform, digest, resolved_unix, bytes, is_here }
}

/// Finds an image by its reference, complete or not, or by a prefix of its digest.
///
/// # Errors
///
/// If there is no such image, or the store or the catalog cannot be read.
pub fn named(home: &Home, catalog: &Catalog, name: &str) -> Result<KnownImage, ImagesError> {
    let unknown = || ImagesError::Unknown { name: name.to_owned() };
    let images = known_images(home, catalog)?;
    let complete = name.parse::<Reference>().ok();
    let complete = complete.as_ref().map(Reference::as_str);
    if let Some(image) = images.iter().find(|image| complete == Some(image.reference.as_str())) {
        return Ok(image.clone());
    }
    let hex = name.strip_prefix(Digest::PREFIX).unwrap_or(name);
    const SHORTEST: usize = 6;
    if hex.len() < SHORTEST || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let mut matching = images.iter().filter(|image| image.digest.hex().starts_with(hex));
    let first = matching.next().ok_or_else(unknown)?;
    if matching.all(|image| image.digest == first.digest) { Ok(first.clone()) } else { Err(unknown()) }
}

/// Imports the images of an archive or a layout. A single image is named `name`, several by their own names; one without a
/// name is known by its digest.
///
/// # Errors
///
/// If the archive is invalid, or the store or the catalog fails.
pub fn load_archive(
    home: &Home,
    catalog: &Catalog,
    path: &Path,
    name: Option<&Reference>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<(Reference, Digest)>, ImagesError> {
    let platform = executor_image::platform()?;
    let blobs = Blobs::open(&home.images())?;
    let _held = blobs.lock_shared()?;
    let loaded = executor_image::load(path, &blobs, &home.images(), platform, progress)?;
    let stem = stem(path);
    let mut remembered = Vec::new();
    let is_only = loaded.len() == 1;
    for LoadedImage { names, image } in loaded {
        let mut references: Vec<Reference> = match name {
            Some(name) if is_only => vec![name.clone()],
            _ => names.iter().filter_map(|name| reference_of(name, &stem)).collect(),
        };
        if references.is_empty() {
            // Several images without a name are known by their digests.
            let tag = if is_only { "latest" } else { image.manifest.short() };
            references.extend(reference_of(tag, &stem));
        }
        for reference in references {
            catalog.remember_image(reference.as_str(), platform, &image.manifest)?;
            remembered.push((reference, image.manifest.clone()));
        }
    }
    Ok(remembered)
}

/// Returns the name of a file or folder without its extensions, in lower case: `app` of `App.tar.gz`.
fn stem(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("image").to_ascii_lowercase();
    let packed =
        [".gz", ".zst", ".zstd", ".tgz"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let stem = packed.strip_suffix(".tar").or_else(|| packed.strip_suffix(".oci")).unwrap_or(packed);
    if stem.is_empty() { "image".to_owned() } else { stem.to_owned() }
}

/// Returns the name of an image in a layout. A layout may contain only its tag, which the file's name then precedes.
fn reference_of(name: &str, stem: &str) -> Option<Reference> {
    let whole = name.contains(['/', ':']).then(|| name.parse::<Reference>().ok()).flatten();
    let named = || format!("localhost/{stem}:{name}").parse::<Reference>().ok();
    let plain = || format!("localhost/{stem}:latest").parse::<Reference>().ok();
    whole.or_else(named).or_else(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lose_what_tells_their_form() {
        for (path, expected) in [
            ("/a/x.tar", "x"),
            ("App.tar.gz", "app"),
            ("app.tgz", "app"),
            ("app-1.2.tar.zst", "app-1.2"),
            ("layout", "layout"),
            (".tar", "image"),
            ("/", "image"),
        ] {
            assert_eq!(stem(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_layout_of_tags_takes_the_name_of_its_file() {
        for (name, expected) in [
            ("latest", "localhost/app:latest"),
            ("1.2", "localhost/app:1.2"),
            ("shop/app:1", "docker.io/shop/app:1"),
            ("example.org/app:1", "example.org/app:1"),
            ("!", "localhost/app:latest"),
        ] {
            assert_eq!(reference_of(name, "app"), expected.parse().ok(), "{name}");
        }
        assert_eq!(reference_of("latest", "No Name"), None);
    }
}
