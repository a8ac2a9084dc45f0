//! What a path on this host holds, whatever form it has.

use crate::archive;
use crate::error::ImageError;
use crate::layer::{self, Compression, LayerFile, LayerSource, LayerStream, read_record};
use crate::layout::{Layout, LayoutRoot};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The extensions of disks that hold a file system and nothing else.
const DISK_EXTENSIONS: [&str; 3] = ["img", "raw", "ext4"];
/// Where ext4's superblock has its magic number, and what that is.
const EXT4_MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xef]);
/// Where ext4 says what it takes to read it, and the bit that says that its journal has to be replayed first.
const EXT4_INCOMPATIBLE: (u64, u8) = (1024 + 96, 0x04);
/// Where a partition table of either kind shows, and how.
const TABLE_MAGIC: (u64, [u8; 2]) = (510, [0x55, 0xaa]);

/// What there is at a path.
pub enum Source {
    /// A root file system in a directory.
    Directory,
    /// A root file system in an archive.
    Archive(Arc<File>, Compression),
    /// Images with layers, in a directory or an archive.
    Images(Layout),
    /// A disk with an ext4 file system on it.
    Disk(File),
}

/// Finds out. `scratch` is a folder for a packed archive of images: it is unpacked there, into a file without
/// a name.
pub fn recognize(path: &Path, scratch: &Path) -> Result<Source, ImageError> {
    let file = match crate::kind_of(path)? {
        crate::SourceKind::Directory => return Ok(Source::Directory),
        crate::SourceKind::Layout => {
            return Ok(Layout::in_folder(path)?.map_or(Source::Directory, Source::Images));
        }
        crate::SourceKind::File => crate::open_file(path)?,
    };
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if DISK_EXTENSIONS.contains(&extension) && !archive::is_tar(&file) {
        check_disk(path, &file)?;
        return Ok(Source::Disk(file));
    }
    let packing = archive::recognize(path, &file)?;
    let file = Arc::new(file);
    let plain = match packing {
        Compression::Plain => Some(file.clone()),
        Compression::Gzip | Compression::Zstd => unpacked(path, &file, packing, scratch)?.map(Arc::new),
    };
    let layout = match plain.and_then(|plain| LayoutRoot::archive(path, plain)) {
        Some(place) => Layout::at(place)?,
        None => None,
    };
    Ok(layout.map_or(Source::Archive(file, packing), Source::Images))
}

/// What a packed archive unpacks to, when it begins as an archive of images does: only of that are parts looked
/// for.
fn unpacked(
    path: &Path,
    file: &Arc<File>,
    packing: Compression,
    scratch: &Path,
) -> Result<Option<File>, ImageError> {
    let failed = |source| ImageError::Read { path: path.to_owned(), source };
    let size = file.metadata().map_err(failed)?.len();
    let file = LayerFile::Open(file.clone());
    let source = LayerSource { file, offset: 0, size, packing, digest: None, diff_id: None };
    let mut stream = LayerStream::start(source, layer::LIMITS).map_err(failed)?;
    // What is damaged is told when it is unpacked in earnest.
    let Ok(Some(first)) = read_record(&mut stream) else { return Ok(None) };
    if !begins_like_images(&tar::Header::from_byte_slice(&first).path_bytes()) {
        return Ok(None);
    }
    let written = |source| ImageError::Write { path: scratch.to_owned(), source };
    let mut plain = tempfile::tempfile_in(scratch).map_err(written)?;
    plain.write_all(&first).map_err(written)?;
    match io::copy(&mut stream, &mut plain) {
        Ok(_) => Ok(Some(plain)),
        Err(source) => match stream.failure() {
            Some(_) => Ok(None),
            None => Err(written(source)),
        },
    }
}

/// `blobs/…`, `oci-layout`, `manifest.json`, or a name that begins with a digest.
fn begins_like_images(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let first = name.split(|&byte| byte == b'/').next().unwrap_or_default();
    let known: [&[u8]; 6] = [b"blobs", b"oci-layout", b"index.json", b"manifest.json", b"repositories", b""];
    known.contains(&first) || first.len() >= 64 && first[..64].iter().all(u8::is_ascii_hexdigit)
}

/// Only what the guest can mount as it is.
fn check_disk(path: &Path, file: &File) -> Result<(), ImageError> {
    let unsupported = |form| ImageError::Unsupported { path: path.to_owned(), form };
    let holds = |(offset, magic): (u64, [u8; 2])| {
        let mut found = [0; 2];
        file.read_exact_at(&mut found, offset).is_ok() && found == magic
    };
    if !holds(EXT4_MAGIC) {
        // It may be something that has a name.
        archive::recognize(path, file).map(drop).map_err(|error| match error {
            ImageError::BadArchive { .. } if holds(TABLE_MAGIC) => unsupported("a disk with partitions"),
            ImageError::BadArchive { .. } => unsupported("a disk without an ext4 file system"),
            error => error,
        })?;
        return Err(unsupported("a packed disk"));
    }
    let mut features = [0];
    let (offset, replay) = EXT4_INCOMPATIBLE;
    if file.read_exact_at(&mut features, offset).is_ok() && features[0] & replay != 0 {
        return Err(unsupported("a disk that was not unmounted in order"));
    }
    Ok(())
}
