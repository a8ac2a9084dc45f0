//! The header of a qcow2 disk: only disks that are whole in their one file are used.
//!
//! A disk from elsewhere can name any file of the host as the one that it is based on, or that contains its data; the
//! VM's process would open it. See QEMU's `docs/interop/qcow2.txt`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 4] = b"QFI\xfb";
/// The size of the header of version 2, in bytes; version 3 has more fields.
const HEADER_V2: usize = 72;
/// The size of the shortest header of version 3, in bytes.
const HEADER_V3: usize = 104;
/// The most bytes that are read: the first cluster, which contains the header and its extensions, in usual disks.
const READ_BYTES: usize = 64 * 1024;

/// The disk was not closed in order, and its reference counts are repaired when it is opened.
const DIRTY: u64 = 1;
/// The disk is damaged.
const CORRUPT: u64 = 1 << 1;
/// The data are in another file.
const EXTERNAL_DATA: u64 = 1 << 2;
/// The disk says how its data are compressed.
const COMPRESSION: u64 = 1 << 3;
/// Clusters have parts.
const EXTENDED_L2: u64 = 1 << 4;

/// The end of the extensions.
const EXTENSION_END: u32 = 0;
/// An extension with the name of the file with the data.
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
/// An extension with the place of encryption keys.
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

/// The reason why a disk is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQcow2 {
    /// It is not a qcow2 disk.
    #[error("it is not a qcow2 disk")]
    NotOne,
    /// It has another version.
    #[error("it has version {version} of the format, not 2 or 3")]
    Version {
        /// The version.
        version: u32,
    },
    /// The header contradicts itself, or is longer than what is read.
    #[error("its header is invalid")]
    Header,
    /// It is based on another file.
    #[error("it has a backing file")]
    BackingFile,
    /// Its data are in another file.
    #[error("it has an external data file")]
    DataFile,
    /// It is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// It is marked as damaged.
    #[error("it is marked as damaged")]
    Corrupt,
    /// It needs features that no driver is known to have.
    #[error("it needs unknown features ({bits:#x})")]
    Features {
        /// The bits of the features.
        bits: u64,
    },
}

impl InvalidQcow2 {
    /// Returns the next step.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NotOne => "rename it, as every other disk is a raw one",
            Self::Corrupt => "repair it with `qemu-img check -r all`",
            Self::Version { .. }
            | Self::Header
            | Self::BackingFile
            | Self::DataFile
            | Self::Encrypted
            | Self::Features { .. } => "convert it into a disk of one file with `qemu-img convert -O qcow2`",
        }
    }
}

/// Checks the header of a file.
///
/// # Errors
///
/// If the file cannot be read. The inner error is the reason why the disk is not used.
pub fn check_qcow2(file: &File) -> io::Result<Result<(), InvalidQcow2>> {
    let mut bytes = vec![0; READ_BYTES];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(check_header(&bytes[..length]))
}

/// Checks the first bytes of a disk: the header and its extensions.
///
/// # Errors
///
/// The reason why the disk is not used.
pub fn check_header(bytes: &[u8]) -> Result<(), InvalidQcow2> {
    if !bytes.starts_with(MAGIC) {
        return Err(InvalidQcow2::NotOne);
    }
    let version = u32_at(bytes, 4)?;
    let length = match version {
        2 => HEADER_V2,
        3 => usize::try_from(u32_at(bytes, 100)?).map_err(|_| InvalidQcow2::Header)?,
        version => return Err(InvalidQcow2::Version { version }),
    };
    if version == 3 && length < HEADER_V3 {
        return Err(InvalidQcow2::Header);
    }
    if u64_at(bytes, 8)? != 0 || u32_at(bytes, 16)? != 0 {
        return Err(InvalidQcow2::BackingFile);
    }
    if u32_at(bytes, 32)? != 0 {
        return Err(InvalidQcow2::Encrypted);
    }
    let features = if version == 3 { u64_at(bytes, 72)? } else { 0 };
    if features & EXTERNAL_DATA != 0 {
        return Err(InvalidQcow2::DataFile);
    }
    if features & CORRUPT != 0 {
        return Err(InvalidQcow2::Corrupt);
    }
    let bits = features & !(DIRTY | COMPRESSION | EXTENDED_L2);
    if bits != 0 {
        return Err(InvalidQcow2::Features { bits });
    }
    check_extensions(bytes, length)
}

/// Checks the extensions, which follow the header.
fn check_extensions(bytes: &[u8], mut at: usize) -> Result<(), InvalidQcow2> {
    // Each step goes forward, and what is read ends.
    while at < bytes.len() {
        match u32_at(bytes, at)? {
            EXTENSION_END => return Ok(()),
            EXTENSION_DATA_FILE => return Err(InvalidQcow2::DataFile),
            EXTENSION_ENCRYPTION => return Err(InvalidQcow2::Encrypted),
            _ => {}
        }
        let length = usize::try_from(u32_at(bytes, at + 4)?).map_err(|_| InvalidQcow2::Header)?;
        let length = length.checked_next_multiple_of(8).ok_or(InvalidQcow2::Header)?;
        at = at.checked_add(8).and_then(|at| at.checked_add(length)).ok_or(InvalidQcow2::Header)?;
    }
    // The end was not found in what is read.
    Err(InvalidQcow2::Header)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, InvalidQcow2> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, InvalidQcow2> {
    array_at(bytes, at).map(u64::from_be_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], InvalidQcow2> {
    let end = at.checked_add(N).ok_or(InvalidQcow2::Header)?;
    bytes.get(at..end).and_then(|part| part.try_into().ok()).ok_or(InvalidQcow2::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the first cluster of a disk with these extensions.
    fn disk(version: u32, extensions: &[(u32, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; if version == 2 { HEADER_V2 } else { HEADER_V3 }];
        bytes[..4].copy_from_slice(MAGIC);
        put(&mut bytes, 4, &version.to_be_bytes());
        put(&mut bytes, 20, &16_u32.to_be_bytes());
        put(&mut bytes, 24, &(1_u64 << 30).to_be_bytes());
        if version == 3 {
            put(&mut bytes, 100, &u32::try_from(HEADER_V3).unwrap().to_be_bytes());
        }
        for (kind, data) in extensions {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.resize(READ_BYTES, 0);
        bytes
    }

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// Returns the result for a disk of version 3 with a changed field.
    fn with(at: usize, value: &[u8]) -> Result<(), InvalidQcow2> {
        let mut bytes = disk(3, &[]);
        put(&mut bytes, at, value);
        check_header(&bytes)
    }

    #[test]
    fn disks_of_one_file_are_used() {
        assert_eq!(check_header(&disk(2, &[])), Ok(()));
        // A table of names of features, and one of bitmaps.
        let extensions: &[(u32, &[u8])] = &[(0x6803_f857, &[0; 144]), (0x2385_2875, &[0; 24]), (7, b"odd")];
        assert_eq!(check_header(&disk(3, extensions)), Ok(()));
        assert_eq!(with(72, &(DIRTY | COMPRESSION | EXTENDED_L2).to_be_bytes()), Ok(()));
    }

    #[test]
    fn disks_that_name_other_files_are_refused() {
        assert_eq!(with(8, &512_u64.to_be_bytes()), Err(InvalidQcow2::BackingFile));
        assert_eq!(with(16, &9_u32.to_be_bytes()), Err(InvalidQcow2::BackingFile));
        assert_eq!(with(72, &EXTERNAL_DATA.to_be_bytes()), Err(InvalidQcow2::DataFile));
        let named: &[(u32, &[u8])] = &[(7, b"first"), (EXTENSION_DATA_FILE, b"/etc/shadow")];
        assert_eq!(check_header(&disk(2, named)), Err(InvalidQcow2::DataFile));
        assert_eq!(with(32, &2_u32.to_be_bytes()), Err(InvalidQcow2::Encrypted));
        let keys: &[(u32, &[u8])] = &[(EXTENSION_ENCRYPTION, &[0; 16])];
        assert_eq!(check_header(&disk(3, keys)), Err(InvalidQcow2::Encrypted));
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(check_header(b""), Err(InvalidQcow2::NotOne));
        assert_eq!(check_header(&[0; READ_BYTES]), Err(InvalidQcow2::NotOne));
        assert_eq!(with(4, &1_u32.to_be_bytes()), Err(InvalidQcow2::Version { version: 1 }));
        assert_eq!(with(72, &CORRUPT.to_be_bytes()), Err(InvalidQcow2::Corrupt));
        assert_eq!(with(72, &(1_u64 << 40).to_be_bytes()), Err(InvalidQcow2::Features { bits: 1 << 40 }));
        for length in [0, 103, u32::MAX] {
            assert_eq!(with(100, &length.to_be_bytes()), Err(InvalidQcow2::Header), "{length}");
        }
        let endless: &[(u32, &[u8])] = &[(7, &[1; READ_BYTES])];
        assert_eq!(check_header(&disk(3, endless)[..READ_BYTES]), Err(InvalidQcow2::Header));
        for length in [4, 8, HEADER_V2, HEADER_V3] {
            assert_eq!(check_header(&disk(3, &[])[..length]), Err(InvalidQcow2::Header), "{length}");
        }
    }
}
