//! Snapshots of disks in the store: an image with the root file system of another one, and with a writable disk that
//! sandboxes start from.
//!
//! A snapshot is named by the digest of its contents: the execution parameters, and every block of both disks that is
//! not all zero. The root file system is the same file as that of its image, with another name.

mod archive;

#[cfg(any(test, fuzzing))]
pub(crate) use archive::unpack_disk;
pub use archive::{ArchiveError, ArchiveHeader, ArchiveReader, write_archive};

use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::store::{self, create};
use executor_fs::atomic;
use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;
use schemas::digest::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The version of the data in a snapshot's digest.
const DIGEST_VERSION: u32 = 1;
/// The unit of contents: a block of zeros is the same as a hole.
pub const BLOCK_BYTES: usize = 4096;
/// The most bytes that are read or written at once, a multiple of [`BLOCK_BYTES`].
pub const RUN_BYTES_MAX: usize = 1 << 20;

/// The contents of a disk.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// Its size in bytes.
    pub bytes: u64,
    /// The bytes of the blocks that are not all zero.
    pub data_bytes: u64,
    /// The digest of its size and of these blocks.
    pub digest: Digest,
}

impl Contents {
    /// Reads the contents of a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn of(file: &File) -> io::Result<Self> {
        let mut hasher = ContentsHasher::new(file.metadata()?.len());
        for_each_run(file, &mut |offset, bytes| {
            hasher.add(offset, bytes);
            Ok(())
        })?;
        Ok(hasher.finish())
    }
}

/// Computes the contents of a disk from its blocks in ascending order.
pub struct ContentsHasher {
    hasher: Sha256,
    bytes: u64,
    data_bytes: u64,
}

impl ContentsHasher {
    /// Starts a disk of this size in bytes.
    pub fn new(bytes: u64) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(bytes.to_le_bytes());
        Self { hasher, bytes, data_bytes: 0 }
    }

    /// Adds consecutive blocks; those of zeros do not count. The offset is a multiple of [`BLOCK_BYTES`].
    pub fn add(&mut self, offset: u64, bytes: &[u8]) {
        for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate().filter(|(_, block)| !is_zero(block)) {
            self.hasher.update((offset + (index * BLOCK_BYTES) as u64).to_le_bytes());
            self.hasher.update(block);
            self.data_bytes += block.len() as u64;
        }
    }

    /// Returns the contents.
    pub fn finish(self) -> Contents {
        let Self { hasher, bytes, data_bytes } = self;
        Contents { bytes, data_bytes, digest: Digest::from_sha256(hasher.finalize().into()) }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Calls a function with each run of blocks that are not all zero, in ascending order and with at most [`RUN_BYTES_MAX`]
/// bytes.
///
/// # Errors
///
/// If the file cannot be read, or the function's own.
pub fn for_each_run(file: &File, visit: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; RUN_BYTES_MAX];
    for_each_extent(file, &mut |extent| {
        let mut at = extent.start;
        while at < extent.end {
            let length = (extent.end - at).min(RUN_BYTES_MAX as u64) as usize;
            let bytes = &mut buffer[..length];
            file.read_exact_at(bytes, at)?;
            visit_runs(bytes, at, visit)?;
            at += length as u64;
        }
        Ok(())
    })
}

fn visit_runs(
    bytes: &[u8],
    offset: u64,
    visit: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut start = None;
    for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
        let at = index * BLOCK_BYTES;
        match (is_zero(block), start) {
            (true, Some(from)) => {
                visit(offset + from as u64, &bytes[from..at])?;
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    match start {
        Some(from) => visit(offset + from as u64, &bytes[from..]),
        None => Ok(()),
    }
}

/// Calls a function with each range of whole blocks that contains data; the last one ends at the end of the file.
fn for_each_extent(file: &File, visit: &mut dyn FnMut(Range<u64>) -> io::Result<()>) -> io::Result<()> {
    let block = BLOCK_BYTES as u64;
    let end = file.metadata()?.len();
    let mut at = 0;
    while at < end {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            // A file system without holes.
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error.into()),
        };
        let hole = match seek(file, SeekFrom::Hole(start)) {
            Ok(hole) => hole,
            Err(Errno::INVAL) => end,
            Err(error) => return Err(error.into()),
        };
        // The file may have grown since.
        let start = (start / block * block).max(at).min(end);
        let hole = hole.next_multiple_of(block).min(end);
        if start < hole {
            visit(start..hole)?;
        }
        at = hole.max(at + 1);
    }
    Ok(())
}

/// Copies a disk into an empty file: shares its blocks where the file system can, else copies its data and leaves holes.
///
/// # Errors
///
/// If either file fails.
pub fn copy_disk(from: &File, to: &File) -> io::Result<()> {
    // Whatever the reason is why blocks cannot be shared, copying tells whether it matters.
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(from.metadata()?.len())?;
    for_each_extent(from, &mut |extent| copy_range(from, to, extent))
}

fn copy_range(from: &File, to: &File, range: Range<u64>) -> io::Result<()> {
    let (mut read_at, mut write_at) = (range.start, range.start);
    while read_at < range.end {
        let length = usize::try_from(range.end - read_at).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_reading(from, to, read_at..range.end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_reading(from: &File, to: &File, range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; RUN_BYTES_MAX];
    let mut at = range.start;
    while at < range.end {
        let bytes = &mut buffer[..(range.end - at).min(RUN_BYTES_MAX as u64) as usize];
        from.read_exact_at(bytes, at)?;
        to.write_all_at(bytes, at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// A snapshot in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// The digest that names it.
    pub digest: Digest,
    /// Its root file system.
    pub root: Contents,
    /// Its writable disk.
    pub disk: Contents,
}

impl StoredSnapshot {
    /// Describes a snapshot with these parameters and disks.
    pub fn new(config: &ImageConfig, root: Contents, disk: Contents) -> Self {
        let digest = Digest::of_json(&(DIGEST_VERSION, config, &root.digest, &disk.digest));
        Self { digest, root, disk }
    }
}

/// An open file and its path.
#[derive(Clone, Copy, Debug)]
pub struct NamedFile<'a> {
    /// The file.
    pub file: &'a File,
    /// Its path, on the file system of the store.
    pub path: &'a Path,
}

impl NamedFile<'_> {
    fn contents(self) -> Result<Contents, ImageError> {
        let failed = |source| ImageError::Read { path: self.path.to_owned(), source };
        Contents::of(self.file).map_err(failed)
    }
}

/// Adds a snapshot of a disk of an image to the store, unless it is there. The disk's file is moved there.
///
/// # Errors
///
/// If the image is not built, a disk cannot be read, or the store cannot be written.
pub fn add_snapshot(store: &Path, image: &Digest, disk: NamedFile<'_>) -> Result<StoredSnapshot, ImageError> {
    let path = store::rootfs_path(store, image);
    let root = File::open(&path).map_err(|source| ImageError::Read { path: path.clone(), source })?;
    let root = NamedFile { file: &root, path: &path };
    let config = store::image_config(store, image)?;
    let snapshot = StoredSnapshot::new(&config, root.contents()?, disk.contents()?);
    store::publish_snapshot(store, &snapshot.digest, &config, root, disk)?;
    Ok(snapshot)
}

/// Creates the writable disk of a sandbox from that of a snapshot, atomically. It is at least `size_bytes` large; a file
/// system that was unmounted cleanly grows to that.
///
/// # Errors
///
/// If the snapshot cannot be read, or the disk cannot be written.
pub fn disk_from_snapshot(path: &Path, snapshot: &Path, size_bytes: u64) -> Result<(), ImageError> {
    let read = |source| ImageError::Read { path: snapshot.to_owned(), source };
    let source = File::open(snapshot).map_err(read)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let made = create(partial).and_then(|file| {
        copy_disk(&source, &file)?;
        if file.metadata()?.len() < size_bytes {
            file.set_len(size_bytes)?;
            crate::ext4::grow(&file)?;
        }
        atomic::publish(&file, partial, path)
    });
    made.map_err(|source| {
        let _ = fs::remove_file(partial);
        ImageError::Write { path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes blocks of a letter; a dot is a block of zeros that is written, a space a hole.
    fn disk(blocks: &str) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len((blocks.len() * BLOCK_BYTES) as u64).unwrap();
        for (index, letter) in blocks.bytes().enumerate().filter(|(_, letter)| *letter != b' ') {
            let byte = if letter == b'.' { 0 } else { letter };
            file.write_all_at(&[byte; BLOCK_BYTES], (index * BLOCK_BYTES) as u64).unwrap();
        }
        file
    }

    fn runs(file: &File) -> Vec<(u64, String)> {
        let mut runs = Vec::new();
        for_each_run(file, &mut |offset, bytes| {
            let letters = bytes.chunks(BLOCK_BYTES).map(|block| char::from(block[0])).collect();
            runs.push((offset / BLOCK_BYTES as u64, letters));
            Ok(())
        })
        .unwrap();
        runs
    }

    #[test]
    fn runs_are_without_zeros() {
        let expected = [(1, "a".to_owned()), (3, "bc".to_owned()), (7, "d".to_owned())];
        assert_eq!(runs(&disk(" a bc  d")), expected);
        assert_eq!(runs(&disk(".a.bc. d")), expected);
        assert_eq!(runs(&disk("   ")), []);
        assert_eq!(runs(&disk("")), []);
    }

    #[test]
    fn contents_do_not_depend_on_holes() {
        let of = |blocks| Contents::of(&disk(blocks)).unwrap();
        let contents = of("a  b");
        assert_eq!(contents, of("a..b"));
        assert_eq!((contents.bytes, contents.data_bytes), (4 * BLOCK_BYTES as u64, 2 * BLOCK_BYTES as u64));
        for other in ["a  c", "a b ", "ab", "a  b ", " a  b"] {
            assert_ne!(contents.digest, of(other).digest, "{other}");
        }
    }

    #[test]
    fn the_end_of_a_file_need_not_be_that_of_a_block() {
        let file = disk("a ");
        file.set_len(BLOCK_BYTES as u64 + 10).unwrap();
        file.write_all_at(b"end", BLOCK_BYTES as u64 + 7).unwrap();
        let contents = Contents::of(&file).unwrap();
        assert_eq!((contents.bytes, contents.data_bytes), (4106, 4106));
        let copy = tempfile::tempfile().unwrap();
        copy_disk(&file, &copy).unwrap();
        assert_eq!(Contents::of(&copy).unwrap(), contents);
    }

    #[test]
    fn a_copy_has_the_same_contents_and_no_more_data() {
        use std::os::unix::fs::MetadataExt;
        let (from, to) = (disk(" a      b       ."), tempfile::tempfile().unwrap());
        copy_disk(&from, &to).unwrap();
        assert_eq!(Contents::of(&to).unwrap(), Contents::of(&from).unwrap());
        let blocks = |file: &File| file.metadata().unwrap().blocks();
        assert!(blocks(&to) <= blocks(&from), "{} {}", blocks(&to), blocks(&from));
        let read = tempfile::tempfile().unwrap();
        read.set_len(from.metadata().unwrap().len()).unwrap();
        copy_by_reading(&from, &read, 0..from.metadata().unwrap().len()).unwrap();
        assert_eq!(Contents::of(&read).unwrap(), Contents::of(&from).unwrap());
    }
}
