//! Detects the kind of image at a path.

use crate::archive;
use crate::error::ImageError;
use crate::layer::{self, Compression, FileRange, LayerSource, LayerStream, read_record};
use crate::layout::{Layout, LayoutRoot};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The extensions of disks with a bare file system.
const DISK_EXTENSIONS: [&str; 3] = ["img", "raw", "ext4"];
/// The offset and value of ext4's magic number.
const EXT4_MAGIC: (u64, [u8; 2]) = (1024 + 56, [0x53, 0xef]);
/// The offset of ext4's incompatible features, and the bit for a journal to replay.
const EXT4_INCOMPATIBLE: (u64, u8) = (1024 + 96, 0x04);
/// The offset and value of a partition table's magic number, for MBR and GPT.
const TABLE_MAGIC: (u64, [u8; 2]) = (510, [0x55, 0xaa]);

/// The source at a path.
pub enum Source {
    /// A root file system in a directory.
    Directory,
    /// A root file system in an archive.
    Archive(Arc<File>, Compression),
    /// Images with layers, in a directory or an archive.
    Images(Layout),
    /// A disk with an ext4 file system.
    Disk(File),
}

/// Detects the source. `scratch` is a folder for unpacking a compressed archive of images, into a file without a name.
///
/// # Errors
///
/// If it cannot be read or is not an image.
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
    let compression = archive::recognize(path, &file)?;
    let file = Arc::new(file);
    let plain = match compression {
        Compression::Plain => Some(file.clone()),
        Compression::Gzip | Compression::Zstd => unpacked(path, &file, compression, scratch)?.map(Arc::new),
    };
    let layout = match plain.and_then(|plain| LayoutRoot::archive(path, plain)) {
        Some(root) => Layout::at(root)?,
        None => None,
    };
    Ok(layout.map_or(Source::Archive(file, compression), Source::Images))
}

/// Unpacks a compressed archive if it starts like an archive of images, as those need random access.
fn unpacked(
    path: &Path,
    file: &Arc<File>,
    compression: Compression,
    scratch: &Path,
) -> Result<Option<File>, ImageError> {
    let failed = |source| ImageError::Read { path: path.to_owned(), source };
    let range = FileRange::whole(file.clone()).map_err(failed)?;
    let source = LayerSource { range, compression, digest: None, diff_id: None };
    let mut stream = LayerStream::start(source, layer::LIMITS).map_err(failed)?;
    // Damage is reported when it is unpacked as an image.
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

/// `blobs/…`, `oci-layout`, `manifest.json`, or a name that starts with a digest.
fn begins_like_images(name: &[u8]) -> bool {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let first = name.split(|&byte| byte == b'/').next().unwrap_or_default();
    let known: [&[u8]; 6] = [b"blobs", b"oci-layout", b"index.json", b"manifest.json", b"repositories", b""];
    known.contains(&first) || first.len() >= 64 && first[..64].iter().all(u8::is_ascii_hexdigit)
}

/// Accepts only disks that the guest can mount unchanged.
fn check_disk(path: &Path, file: &File) -> Result<(), ImageError> {
    let unsupported = |form| ImageError::Unsupported { path: path.to_owned(), form };
    let holds = |(offset, magic): (u64, [u8; 2])| {
        let mut found = [0; 2];
        file.read_exact_at(&mut found, offset).is_ok() && found == magic
    };
    if !holds(EXT4_MAGIC) {
        // It may be a known archive format.
        archive::recognize(path, file).map(drop).map_err(|error| match error {
            ImageError::BadArchive { .. } if holds(TABLE_MAGIC) => unsupported("a disk with partitions"),
            ImageError::BadArchive { .. } => unsupported("a disk without an ext4 file system"),
            error => error,
        })?;
        return Err(unsupported("a compressed disk"));
    }
    let mut features = [0];
    let (offset, replay) = EXT4_INCOMPATIBLE;
    if file.read_exact_at(&mut features, offset).is_ok() && features[0] & replay != 0 {
        return Err(unsupported("a disk that was not unmounted cleanly"));
    }
    Ok(())
}
