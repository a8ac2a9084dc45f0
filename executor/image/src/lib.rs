//! Images: converts any source to one read-only file system per digest.
//!
//! [`resolve`] computes the digest of a path, [`build`] makes its ext4 image, [`build_oci`] that of layers in the
//! content store, [`writable_disk`] makes the empty disk on top. Nothing here needs privilege or a tool of the host.
//!
//! Architecture invariant: nothing here knows sandboxes, the catalog or the network. A directory's digest covers
//! everything that a guest can observe but times: the first build of a digest fixes those. Images with layers are named
//! by the digest of their manifest, whatever their source.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::missing_errors_doc)]

mod archive;
mod blobs;
mod build;
mod config;
mod directory;
mod disk;
mod error;
mod ext4;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod layer;
mod layout;
mod load;
mod oci;
mod qcow2;
mod save;
mod snapshot;
mod source;
mod store;
mod tree;
mod walk;

pub use blobs::{BlobError, BlobWriter, Blobs, StoreLock, StoredBlob};
pub use build::{build, build_oci};
pub use config::ImageConfig;
pub use disk::{grow_disk, writable_disk};
pub use error::ImageError;
pub use ext4::Growth;
pub use layer::{Compression, LayerError, LayerName};
pub use load::{LoadedImage, load};
pub use oci::{
    CONFIG_BYTES_MAX, Descriptor, Document, Index, LAYER_BYTES_MAX, LAYERS_MAX, Layer, MANIFEST_BYTES_MAX,
    MANIFEST_MEDIA_TYPES, Manifest, OciError, OciImage, parse_document, parse_index, parse_manifest,
};
pub use qcow2::{InvalidQcow2, check_header, check_qcow2};
pub use save::save;
pub use snapshot::{
    ArchiveError, ArchiveHeader, ArchiveReader, Contents, NamedFile, StoredSnapshot, add_snapshot, copy_disk,
    disk_from_snapshot, write_archive,
};
pub use store::{
    BuiltImage, Progress, built_images, image_config, is_built, publish_snapshot, remove_built, rootfs_path,
    snapshot_disk,
};
pub use tree::TreeError;

use layout::Layout;
use rustix::io::Errno;
use schemas::digest::Digest;
use schemas::lockfile::Platform;
use sha2::{Digest as _, Sha256};
use source::Source;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tree::{ROOT, Tree};
use walk::FingerprintVisitor;

/// The digest of a source. The caller keeps it and passes it back, so that an unchanged source is not read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The digest of the metadata, which any change of the source changes.
    pub fingerprint: Digest,
    /// The digest of the contents.
    pub digest: Digest,
}

/// The kind of a source by its file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceKind {
    Directory,
    /// A directory with a layout.
    Layout,
    File,
}

/// How often a source that changes while it is read is read again.
const ATTEMPTS: u32 = 4;
/// Two changes within this time may have the same timestamp: a tick of the kernel's clock, and a margin.
const CLOCK_TICK: Duration = Duration::from_millis(20);
/// The chunk size for hashing, in bytes.
const HASH_CHUNK_BYTES: usize = 64 << 10;

/// Computes the digest of the source at a path. If its metadata is the same as in `known`, nothing else is read.
///
/// `scratch` is a folder for unpacking a compressed archive, into a file without a name.
///
/// # Errors
///
/// If the source cannot be read, keeps changing, or is not an image.
pub fn resolve(path: &Path, known: Option<&Resolved>, scratch: &Path) -> Result<Resolved, ImageError> {
    let kind = kind_of(path)?;
    if let Some(known) = known
        && fingerprint(path, kind)? == known.fingerprint
    {
        return Ok(known.clone());
    }
    let mut attempt = 1;
    loop {
        let result = match kind {
            SourceKind::Directory => resolve_directory(path),
            SourceKind::Layout | SourceKind::File => resolve_files(path, kind, scratch),
        };
        match result {
            Err(ImageError::ChangedWhileReading { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

/// An image at a path, without unpacking it.
#[derive(Clone, Debug)]
pub struct SourceImage {
    /// The digest of its manifest, or of its contents if it has no layers.
    pub digest: Digest,
    /// Its execution parameters.
    pub config: ImageConfig,
    /// Its layers, the lowest one first; empty if it is a root file system.
    pub layers: Vec<Layer>,
}

/// Reads the description of the image at a path.
///
/// # Errors
///
/// If it cannot be read or is not an image.
pub fn source_image(path: &Path, scratch: &Path) -> Result<SourceImage, ImageError> {
    if let Source::Images(layout) = source::recognize(path, scratch)? {
        let layout::Contained { image, config, .. } = layout.only(platform()?)?;
        return Ok(SourceImage { digest: image.manifest, config, layers: image.layers });
    }
    let Resolved { fingerprint: _, digest } = resolve(path, None, scratch)?;
    Ok(SourceImage { digest, config: ImageConfig::default(), layers: Vec::new() })
}

/// The execution parameters of the image at a path; empty for a source without layers.
///
/// # Errors
///
/// If it cannot be read or is not an image.
pub fn source_config(path: &Path, scratch: &Path) -> Result<ImageConfig, ImageError> {
    match source::recognize(path, scratch)? {
        Source::Images(layout) => Ok(layout.only(platform()?)?.config),
        Source::Directory | Source::Archive(..) | Source::Disk(_) => Ok(ImageConfig::default()),
    }
}

/// The platform of images for this machine.
///
/// # Errors
///
/// If images do not run on its processor.
pub fn platform() -> Result<Platform, ImageError> {
    let processor = std::env::consts::ARCH;
    Platform::of_processor(processor).ok_or(ImageError::NoPlatform { processor })
}

fn kind_of(path: &Path) -> Result<SourceKind, ImageError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(match Layout::in_folder(path)? {
            Some(_) => SourceKind::Layout,
            None => SourceKind::Directory,
        }),
        Ok(metadata) if metadata.is_file() => Ok(SourceKind::File),
        Ok(_) => Err(ImageError::NotAnImage { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ImageError::NotFound { path: path.to_owned() })
        }
        Err(source) => Err(ImageError::Read { path: path.to_owned(), source }),
    }
}

fn fingerprint(path: &Path, kind: SourceKind) -> Result<Digest, ImageError> {
    let mut visitor = FingerprintVisitor::default();
    match kind {
        SourceKind::Directory => return directory::fingerprint(path),
        // Everything else in a layout is named by its own digest.
        SourceKind::Layout => {
            for name in Layout::marker_files() {
                if let Ok(stat) = rustix::fs::stat(path.join(name)) {
                    visitor.add(name.as_bytes(), &stat);
                }
            }
        }
        SourceKind::File => {
            let failed = |errno: Errno| ImageError::Read { path: path.to_owned(), source: errno.into() };
            visitor.add(b"", &rustix::fs::stat(path).map_err(failed)?);
        }
    }
    Ok(visitor.finish())
}

fn open_file(path: &Path) -> Result<File, ImageError> {
    File::open(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}

fn resolve_directory(path: &Path) -> Result<Resolved, ImageError> {
    let mut scanned = directory::scan(path)?;
    if is_recent(scanned.newest) {
        // A change immediately after the scan could have the same timestamps.
        std::thread::sleep(CLOCK_TICK);
        scanned = directory::scan(path)?;
    }
    check_is_root_file_system(path, &scanned.tree)?;
    let digest = scanned.digest(|node, file, _, hasher| {
        hash_all(file, hasher).map_err(|source| scanned.failed(node, source))
    })?;
    Ok(Resolved { fingerprint: scanned.fingerprint, digest })
}

fn resolve_files(path: &Path, kind: SourceKind, scratch: &Path) -> Result<Resolved, ImageError> {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < CLOCK_TICK)) {
        std::thread::sleep(CLOCK_TICK);
    }
    let changed_while_reading =
        || ImageError::ChangedWhileReading { path: path.to_owned(), entry: String::new() };
    let fingerprint_before = fingerprint(path, kind)?;
    let hashed = |mut file: &File| {
        let digest = file.rewind().and_then(|()| digest_of(file));
        digest.map_err(|source| ImageError::Read { path: path.to_owned(), source })
    };
    let digest = match source::recognize(path, scratch)? {
        // It was something else a moment ago.
        Source::Directory => return Err(changed_while_reading()),
        Source::Images(layout) => layout.only(platform()?)?.image.manifest,
        Source::Archive(file, _) => hashed(&file)?,
        Source::Disk(file) => hashed(&file)?,
    };
    if fingerprint(path, kind)? != fingerprint_before {
        return Err(changed_while_reading());
    }
    Ok(Resolved { fingerprint: fingerprint_before, digest })
}

fn is_recent((seconds, nanoseconds): (i64, i64)) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let newest = Duration::new(seconds.max(0) as u64, nanoseconds.clamp(0, 999_999_999) as u32);
    now.checked_sub(newest).is_some_and(|age| age < CLOCK_TICK)
}

/// The digest of all that is left to read.
fn digest_of(reader: impl Read) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    hash_all(reader, &mut hasher)?;
    Ok(Digest::from_sha256(hasher.finalize().into()))
}

fn hash_all(reader: impl Read, hasher: &mut Sha256) -> io::Result<()> {
    io::copy(&mut BufReader::with_capacity(HASH_CHUNK_BYTES, reader), hasher).map(drop)
}

/// A layout contains layers, not a root file system: a guest would find nothing to run.
fn check_is_root_file_system(path: &Path, tree: &Tree) -> Result<(), ImageError> {
    let has = |name: &str| tree.child(ROOT, name.as_bytes()).is_some();
    if has("bin") || has("usr") || has("etc") {
        return Ok(());
    }
    let form = if has("oci-layout") {
        "a damaged OCI image layout"
    } else if has("manifest.json") {
        "a damaged archive of 'docker save'"
    } else {
        return Ok(());
    };
    Err(ImageError::Unsupported { path: path.to_owned(), form })
}
