//! Tar archives that contain a whole root file system.

use crate::error::ImageError;
use crate::layer::{Compression, LayerError, RECORD_BYTES, has_checksum, read_full};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Whether a file is an uncompressed tar archive.
pub fn is_tar(file: &File) -> bool {
    let mut start = [0; RECORD_BYTES];
    file.read_exact_at(&mut start, 0).is_ok() && has_checksum(&start)
}

/// Detects the compression of an archive by its first bytes.
pub fn recognize(path: &Path, file: &File) -> Result<Compression, ImageError> {
    let mut start = [0; RECORD_BYTES];
    let filled = read_full(&mut &*file, &mut start)
        .map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
    let start_bytes = &start[..filled];
    let compression = Compression::of_start(start_bytes);
    if compression != Compression::Plain {
        return Ok(compression);
    }
    let form = match start_bytes {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz",
        [b'B', b'Z', b'h', ..] => "compressed with bzip2",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [b'Q', b'F', b'I', 0xfb, ..] => "a qcow2 disk",
        bytes if bytes.len() == RECORD_BYTES && has_checksum(&start) => return Ok(Compression::Plain),
        _ => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it does not begin with a tar header");
            return Err(ImageError::BadArchive { path: path.to_owned(), source });
        }
    };
    Err(ImageError::Unsupported { path: path.to_owned(), form })
}

/// Names the archive in an error about its only layer.
pub fn named(error: ImageError, path: &Path) -> ImageError {
    let path = path.to_owned();
    let ImageError::Layer(error) = error else { return error };
    match *error {
        LayerError::Entry { layer: _, entry, source } => ImageError::Entry { path, entry, source },
        LayerError::UnsupportedEntry { layer: _, entry, form } => {
            ImageError::UnsupportedEntry { path, entry, form }
        }
        LayerError::Damaged { layer: _, entry: _, source } => ImageError::BadArchive { path, source },
        LayerError::Read { layer: _, source } => ImageError::Read { path, source },
        LayerError::WrongDigest { layer: _, expected, found: _ } => ImageError::Changed { path, expected },
        error @ (LayerError::WrongContents { .. } | LayerError::Bomb { .. }) => error.into(),
    }
}
