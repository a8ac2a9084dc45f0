//! The file of an exported snapshot, which is hostile when it is imported.
//!
//! ```text
//! "msb snapshot 1\n", then compressed with zstd:
//!   length of the header (u32), header (JSON)
//!   root file system:  runs, end
//!   writable disk:     runs, end
//! run: offset (u64), length (u32), bytes     end: offset 2^64 - 1, length 0
//! ```
//!
//! Numbers are little-endian. Runs are in ascending order and consist of whole blocks; what they leave out is zero. There
//! are no names of files, so nothing can lead out of the store, and nothing is taken before its digest is verified.

use super::{BLOCK_BYTES, Contents, ContentsHasher, RUN_BYTES_MAX, StoredSnapshot, for_each_run};
use crate::config::ImageConfig;
use schemas::digest::Digest;
use schemas::name::SnapshotName;
use schemas::spec::PinnedImage;
use schemas::spec::limits::DISK_MIB_MAX;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

/// The beginning of the file.
const MAGIC: &[u8; 15] = b"msb snapshot 1\n";
/// The largest header in bytes: parameters as large as an image may have, and the rest.
const HEADER_BYTES_MAX: u32 = 5 << 20;
/// The largest disk in bytes.
const DISK_BYTES_MAX: u64 = (DISK_MIB_MAX as u64) << 20;
/// The longest name of a sandbox in bytes.
const SANDBOX_BYTES_MAX: usize = 200;
/// The level of compression.
const LEVEL: i32 = 3;
/// The base-2 logarithm of the largest window, in bytes: that of the level, and room for others.
const WINDOW_LOG_MAX: u32 = 23;
/// The offset at the end of a disk.
const END: u64 = u64::MAX;

/// The description of an exported snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveHeader {
    /// The name of the snapshot.
    pub name: SnapshotName,
    /// The digest of the snapshot.
    pub digest: Digest,
    /// The image that its sandbox booted from.
    pub base: PinnedImage,
    /// The full name of the sandbox.
    pub sandbox: String,
    /// The time of its creation, in seconds since 1970.
    pub created_unix: i64,
    /// The execution parameters of the image.
    pub config: ImageConfig,
    /// The root file system.
    pub root: Contents,
    /// The writable disk.
    pub disk: Contents,
}

/// A failure to write or read the file of a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is another file, or one of another version.
    #[error("it is not a snapshot that this msb can read")]
    NotASnapshot,
    /// It is damaged or forged.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Its description is invalid.
    #[error("its description is invalid")]
    Header(#[source] serde_json::Error),
    /// The archive cannot be read or written, or is not compressed correctly.
    #[error("the archive cannot be read or written")]
    Archive(#[source] io::Error),
    /// A disk cannot be read or written.
    #[error("a disk cannot be read or written")]
    Disk(#[source] io::Error),
}

impl ArchiveHeader {
    /// Checks everything but the contents.
    pub(crate) fn check(&self) -> Result<(), ArchiveError> {
        let Self { name: _, digest, base: _, sandbox, created_unix: _, config, root, disk } = self;
        if [root, disk].iter().any(|disk| disk.bytes > DISK_BYTES_MAX || disk.data_bytes > disk.bytes) {
            return Err(ArchiveError::Damaged("a disk is too large"));
        }
        if sandbox.len() > SANDBOX_BYTES_MAX {
            return Err(ArchiveError::Damaged("a name is too long"));
        }
        config.check().map_err(ArchiveError::Damaged)?;
        if StoredSnapshot::new(config, root.clone(), disk.clone()).digest != *digest {
            return Err(ArchiveError::Damaged("its digest is not that of its description"));
        }
        Ok(())
    }
}

/// Writes the file of a snapshot.
///
/// # Errors
///
/// If a disk cannot be read, or the file cannot be written.
pub fn write_archive(
    header: &ArchiveHeader,
    [root, disk]: [&File; 2],
    to: &mut dyn Write,
) -> Result<(), ArchiveError> {
    to.write_all(MAGIC).map_err(ArchiveError::Archive)?;
    let mut encoder = zstd::Encoder::new(to, LEVEL).map_err(ArchiveError::Archive)?;
    encoder.include_checksum(true).map_err(ArchiveError::Archive)?;
    let text = serde_json::to_vec(header).map_err(ArchiveError::Header)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= HEADER_BYTES_MAX);
    let length = length.ok_or(ArchiveError::Damaged("its description is too large"))?;
    encoder.write_all(&length.to_le_bytes()).map_err(ArchiveError::Archive)?;
    encoder.write_all(&text).map_err(ArchiveError::Archive)?;
    for file in [root, disk] {
        let mut failure = None;
        let mut run = |offset: u64, bytes: &[u8]| {
            let written = encoder
                .write_all(&offset.to_le_bytes())
                .and_then(|()| encoder.write_all(&(bytes.len() as u32).to_le_bytes()))
                .and_then(|()| encoder.write_all(bytes));
            // An error of the archive is not one of the disk.
            written.map_err(|error| {
                let kind = error.kind();
                failure = Some(error);
                kind.into()
            })
        };
        let read = for_each_run(file, &mut run).and_then(|()| run(END, &[]));
        if let Some(error) = failure {
            return Err(ArchiveError::Archive(error));
        }
        read.map_err(ArchiveError::Disk)?;
    }
    encoder.finish().and_then(|to| to.flush()).map_err(ArchiveError::Archive)
}

/// The file of a snapshot that is being read.
pub struct ArchiveReader<'a> {
    header: ArchiveHeader,
    decoder: zstd::Decoder<'a, BufReader<&'a mut dyn Read>>,
}

impl<'a> ArchiveReader<'a> {
    /// Reads the description.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a snapshot, or its description is invalid.
    pub fn open(from: &'a mut dyn Read) -> Result<Self, ArchiveError> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(ArchiveError::Archive(error));
            }
            _ => return Err(ArchiveError::NotASnapshot),
        }
        let mut decoder = zstd::Decoder::new(from).map_err(ArchiveError::Archive)?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(ArchiveError::Archive)?;
        let mut length = [0; 4];
        decoder.read_exact(&mut length).map_err(ArchiveError::Archive)?;
        let length = u32::from_le_bytes(length);
        if length > HEADER_BYTES_MAX {
            return Err(ArchiveError::Damaged("its description is too large"));
        }
        let mut text = vec![0; length as usize];
        decoder.read_exact(&mut text).map_err(ArchiveError::Archive)?;
        let header: ArchiveHeader = serde_json::from_slice(&text).map_err(ArchiveError::Header)?;
        header.check()?;
        Ok(Self { header, decoder })
    }

    /// Returns the description. The contents are not verified yet.
    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// Writes root file system and writable disk into empty files, and verifies them.
    ///
    /// # Errors
    ///
    /// If the contents are not those of the description, or a file cannot be read or written.
    pub fn unpack(mut self, [root, disk]: [&File; 2]) -> Result<ArchiveHeader, ArchiveError> {
        unpack_disk(&mut self.decoder, &self.header.root, root)?;
        unpack_disk(&mut self.decoder, &self.header.disk, disk)?;
        if self.decoder.read(&mut [0]).map_err(ArchiveError::Archive)? != 0 {
            return Err(ArchiveError::Damaged("it does not end"));
        }
        Ok(self.header)
    }
}

/// Writes the runs of one disk into an empty file, and verifies its contents.
pub(crate) fn unpack_disk(from: &mut dyn Read, expected: &Contents, to: &File) -> Result<(), ArchiveError> {
    to.set_len(expected.bytes).map_err(ArchiveError::Disk)?;
    let mut hasher = ContentsHasher::new(expected.bytes);
    let mut buffer = vec![0; RUN_BYTES_MAX];
    let (mut done, mut data_bytes) = (0, 0);
    loop {
        let (mut offset, mut length) = ([0; 8], [0; 4]);
        from.read_exact(&mut offset)
            .and_then(|()| from.read_exact(&mut length))
            .map_err(ArchiveError::Archive)?;
        let (offset, length) = (u64::from_le_bytes(offset), u32::from_le_bytes(length) as usize);
        if (offset, length) == (END, 0) {
            break;
        }
        let end = offset.saturating_add(length as u64);
        let is_whole = length.is_multiple_of(BLOCK_BYTES) || end == expected.bytes;
        let is_in_order = offset >= done && offset.is_multiple_of(BLOCK_BYTES as u64);
        data_bytes += length as u64;
        if !is_whole || !is_in_order || end > expected.bytes || data_bytes > expected.data_bytes {
            return Err(ArchiveError::Damaged("a run of blocks is out of place"));
        }
        let Some(bytes) = buffer.get_mut(..length).filter(|bytes| !bytes.is_empty()) else {
            return Err(ArchiveError::Damaged("a run of blocks has a wrong length"));
        };
        from.read_exact(bytes).map_err(ArchiveError::Archive)?;
        hasher.add(offset, bytes);
        to.write_all_at(bytes, offset).map_err(ArchiveError::Disk)?;
        done = end;
    }
    if hasher.finish() != *expected {
        return Err(ArchiveError::Damaged("the contents of a disk are not those of its digest"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::spec::ImageReference;

    fn disk(blocks: &[(u64, u8)], bytes: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        for (block, letter) in blocks {
            file.write_all_at(&[*letter; BLOCK_BYTES], block * BLOCK_BYTES as u64).unwrap();
        }
        file
    }

    fn header(root: &File, disk: &File) -> ArchiveHeader {
        let config = ImageConfig { cmd: vec!["sh".to_owned()], ..ImageConfig::default() };
        let (root, disk) = (Contents::of(root).unwrap(), Contents::of(disk).unwrap());
        let StoredSnapshot { digest, root, disk } = StoredSnapshot::new(&config, root, disk);
        let reference = ImageReference::Local { path: "/srv/image".to_owned() };
        let base = PinnedImage { reference, digest: Digest::of_bytes(b"base") };
        let name = SnapshotName::new("seeded").unwrap();
        ArchiveHeader {
            name,
            digest,
            base,
            sandbox: "shop-web".to_owned(),
            created_unix: 1,
            config,
            root,
            disk,
        }
    }

    fn archive() -> (Vec<u8>, ArchiveHeader) {
        let (root, disk) =
            (disk(&[(0, b'r'), (3, b's')], 20_000), disk(&[(700, b'd'), (701, b'e')], 4 << 20));
        let header = header(&root, &disk);
        let mut bytes = Vec::new();
        write_archive(&header, [&root, &disk], &mut bytes).unwrap();
        (bytes, header)
    }

    fn unpack(bytes: &[u8]) -> Result<(ArchiveHeader, [File; 2]), ArchiveError> {
        let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let mut bytes = bytes;
        let header = ArchiveReader::open(&mut bytes)?.unpack([&files[0], &files[1]])?;
        Ok((header, files))
    }

    /// Offset, length and bytes.
    type Run<'a> = (u64, u32, &'a [u8]);

    /// Compresses the rest of a file after its beginning.
    fn compressed(rest: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &zstd::encode_all(rest, LEVEL).unwrap()].concat()
    }

    fn with_header(header: &ArchiveHeader, runs: &[Run<'_>]) -> Vec<u8> {
        let text = serde_json::to_vec(header).unwrap();
        let mut rest = (text.len() as u32).to_le_bytes().to_vec();
        rest.extend(text);
        for (offset, length, bytes) in runs {
            rest.extend(offset.to_le_bytes());
            rest.extend(length.to_le_bytes());
            rest.extend(*bytes);
        }
        compressed(&rest)
    }

    #[test]
    fn what_is_written_is_read() {
        let (bytes, written) = archive();
        assert!(bytes.len() < 2_000, "{}", bytes.len());
        let (header, [root, disk]) = unpack(&bytes).unwrap();
        assert_eq!(header, written);
        assert_eq!(Contents::of(&root).unwrap(), written.root);
        assert_eq!(Contents::of(&disk).unwrap(), written.disk);
    }

    #[test]
    fn every_part_is_needed() {
        let (bytes, _) = archive();
        for length in 0..bytes.len() {
            assert!(unpack(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn a_changed_byte_changes_nothing_unnoticed() {
        let (bytes, written) = archive();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x21;
            // Some bits of a frame's description do not matter.
            if let Ok((header, _)) = unpack(&changed) {
                assert_eq!(header, written, "byte {index}");
            }
        }
    }

    #[test]
    fn runs_stay_within_their_disk() {
        let root = disk(&[(0, b'r')], 8192);
        let header = header(&root, &disk(&[], 4096));
        let block = [b'r'; BLOCK_BYTES];
        let end: Run<'_> = (END, 0, &[]);
        assert!(unpack(&with_header(&header, &[(0, 4096, &block), end, end])).is_ok());
        let wrong: [(&str, Vec<Run<'_>>); 8] = [
            ("at the end of the disk", vec![(8192, 4096, &block), end, end]),
            ("far after it", vec![(END - 4095, 4096, &block), end, end]),
            ("within a block", vec![(1, 4096, &block), end, end]),
            ("twice", vec![(0, 4096, &block), (0, 4096, &block), end, end]),
            ("part of a block", vec![(0, 10, &block[..10]), end, end]),
            ("empty", vec![(0, 0, &[]), end, end]),
            ("too long", vec![(0, u32::MAX, &block), end, end]),
            ("after the end", vec![(0, 4096, &block), end, end, end]),
        ];
        for (what, runs) in wrong {
            let error = unpack(&with_header(&header, &runs)).unwrap_err();
            assert!(matches!(error, ArchiveError::Damaged(_)), "{what}: {error:?}");
        }
    }

    #[test]
    fn descriptions_are_checked() {
        let (_, good) = archive();
        let mut wrong = [good.clone(), good.clone(), good.clone(), good.clone()];
        wrong[0].disk.bytes = DISK_BYTES_MAX + 1;
        wrong[1].sandbox = "x".repeat(SANDBOX_BYTES_MAX + 1);
        wrong[2].digest = Digest::of_bytes(b"another");
        wrong[3].config.workdir = Some("../..".to_owned());
        for header in wrong {
            let Err(error) = unpack(&with_header(&header, &[])) else { panic!("{header:?}") };
            assert!(matches!(error, ArchiveError::Damaged(_)), "{error:?}");
        }
        let long = compressed(&u32::MAX.to_le_bytes());
        assert!(matches!(unpack(&long), Err(ArchiveError::Damaged(_))));
        assert!(matches!(unpack(b"msb snapshot 2\n"), Err(ArchiveError::NotASnapshot)));
        assert!(matches!(unpack(b""), Err(ArchiveError::NotASnapshot)));
    }
}
