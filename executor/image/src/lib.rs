//! Images: from a local directory or archive to one read-only file system per digest.
//!
//! [`resolve`] says what a path holds now, [`build`] makes the ext4 image of it, [`writable_disk`] makes
//! the empty disk that goes on top. Nothing here needs privilege or a tool of the host.
//!
//! Architecture invariant: nothing here knows sandboxes, the catalog or the network. A directory's digest
//! covers all that a guest can tell apart but times: the first build of a digest decides those.

mod archive;
mod blobs;
mod build;
mod directory;
mod disk;
mod error;
mod ext4;
mod layer;
mod oci;
mod store;
mod tree;
mod walk;

pub use blobs::{BlobError, Blobs, Incoming, StoreLock, StoredBlob};
pub use build::{build, build_oci};
pub use disk::{grow_disk, writable_disk};
pub use error::ImageError;
pub use ext4::Growth;
pub use layer::{LayerError, LayerName};
pub use oci::{
    CONFIG_BYTES_MAX, Descriptor, Document, Index, LAYER_BYTES_MAX, LAYERS_MAX, Layer, LayerMediaType,
    MANIFEST_BYTES_MAX, MANIFEST_MEDIA_TYPES, Manifest, OciError, OciImage, parse_document, parse_index,
    parse_manifest,
};
pub use store::{Progress, is_built, rootfs_path};
pub use tree::Refused;

use schemas::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tree::{Kind, ROOT, Tree};
use walk::FingerprintVisitor;

/// What a source was found to hold. Kept by the caller and given back, it saves reading the source again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The digest of the metadata: any change of the source changes it.
    pub fingerprint: Digest,
    /// The digest of the contents.
    pub digest: Digest,
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceKind {
    Directory,
    File,
}

/// How often a source that changes while it is read is read again.
const ATTEMPTS: u32 = 4;
/// Two changes within this time may leave the same time stamp: a tick of the kernel's clock, and some more.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// What the source at a path holds now. Only its metadata is read when that is as it was in `known`.
pub fn resolve(path: &Path, known: Option<&Resolved>) -> Result<Resolved, ImageError> {
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
            SourceKind::File => resolve_file(path),
        };
        match result {
            Err(ImageError::Restless { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn kind_of(path: &Path) -> Result<SourceKind, ImageError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(SourceKind::Directory),
        Ok(metadata) if metadata.is_file() => Ok(SourceKind::File),
        Ok(_) => Err(ImageError::NotAnImage { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ImageError::NotFound { path: path.to_owned() })
        }
        Err(source) => Err(ImageError::Read { path: path.to_owned(), source }),
    }
}

fn fingerprint(path: &Path, kind: SourceKind) -> Result<Digest, ImageError> {
    match kind {
        SourceKind::Directory => Ok(directory::fingerprint(path)?.0),
        SourceKind::File => file_fingerprint(path, &open_file(path)?),
    }
}

fn open_file(path: &Path) -> Result<File, ImageError> {
    File::open(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}

fn file_fingerprint(path: &Path, file: &File) -> Result<Digest, ImageError> {
    let stat = rustix::fs::fstat(file)
        .map_err(|errno| ImageError::Read { path: path.to_owned(), source: errno.into() })?;
    let mut visitor = FingerprintVisitor::default();
    visitor.add(b"", &stat);
    Ok(visitor.finish().0)
}

fn resolve_directory(path: &Path) -> Result<Resolved, ImageError> {
    let mut scanned = directory::scan(path)?;
    if is_recent(scanned.newest) {
        // A change right after this scan could leave the time stamps that the scan saw.
        std::thread::sleep(CLOCK_TICK);
        scanned = directory::scan(path)?;
    }
    check_is_root_file_system(path, &scanned.tree)?;
    let mut digests = HashMap::new();
    let mut chunk = vec![0; 1 << 18];
    for (id, node) in scanned.tree.nodes().iter().enumerate() {
        let Kind::File { size } = node.kind else { continue };
        let mut hasher = Sha256::new();
        if size > 0 {
            let mut file = scanned.open(id)?;
            hash_all(&mut file, &mut hasher, &mut chunk).map_err(|source| scanned.failed(id, source))?;
            scanned.check(id, &file)?;
        }
        digests.insert(id, <[u8; 32]>::from(hasher.finalize()));
    }
    let digest = scanned.tree.digest(|id| digests[&id]);
    Ok(Resolved { fingerprint: scanned.fingerprint, digest })
}

fn resolve_file(path: &Path) -> Result<Resolved, ImageError> {
    let mut file = open_file(path)?;
    archive::recognize(path, &file)?;
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < CLOCK_TICK)) {
        std::thread::sleep(CLOCK_TICK);
    }
    let fingerprint = file_fingerprint(path, &file)?;
    let digest =
        digest_of_file(&mut file).map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
    if file_fingerprint(path, &file)? != fingerprint {
        return Err(ImageError::Restless { path: path.to_owned(), entry: String::new() });
    }
    Ok(Resolved { fingerprint, digest })
}

fn is_recent((seconds, nanoseconds): (i64, i64)) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let newest = Duration::new(seconds.max(0) as u64, nanoseconds.clamp(0, 999_999_999) as u32);
    now.checked_sub(newest).is_some_and(|age| age < CLOCK_TICK)
}

fn digest_of_file(file: &mut File) -> io::Result<Digest> {
    file.rewind()?;
    let mut hasher = Sha256::new();
    hash_all(file, &mut hasher, &mut vec![0; 1 << 18])?;
    Ok(Digest::from_sha256(hasher.finalize().into()))
}

fn hash_all(file: &mut File, hasher: &mut Sha256, chunk: &mut [u8]) -> io::Result<()> {
    loop {
        match file.read(chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => hasher.update(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Image archives and layouts hold layers, not a root file system: a guest would find nothing to run.
fn check_is_root_file_system(path: &Path, tree: &Tree) -> Result<(), ImageError> {
    let has = |name: &str| tree.child(ROOT, name.as_bytes()).is_some();
    let form = if has("oci-layout") {
        "an OCI image layout"
    } else if has("manifest.json") && !has("bin") && !has("usr") {
        "an archive of 'docker save'"
    } else {
        return Ok(());
    };
    Err(ImageError::Unsupported { path: path.to_owned(), form })
}
