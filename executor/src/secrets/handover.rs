//! Passes values to a supervisor: a file in memory, which is read once.
//!
//! Format: for each secret, the length of its name as `u32` in native byte order, the name, the length of its value, the
//! value. Both ends are one program.

use executor_intercept::Value;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use zeroize::Zeroizing;

/// The most bytes of a name or a value.
const PART_BYTES_MAX: u32 = 1024 * 1024;

/// Writes the values to a file in memory.
///
/// # Errors
///
/// If the host has no memory for it.
pub fn send(values: &BTreeMap<String, Value>) -> io::Result<OwnedFd> {
    let memory = memfd_create("secrets", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    for (name, value) in values {
        for part in [name.as_bytes(), value.bytes()] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            file.write_all(&length.to_ne_bytes())?;
            file.write_all(part)?;
        }
    }
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Reads the values, and frees the memory of the file.
///
/// # Errors
///
/// If it is no such file.
pub fn receive(memory: OwnedFd) -> io::Result<BTreeMap<String, Value>> {
    let mut file = File::from(memory);
    let mut values = BTreeMap::new();
    while let Some(name) = part(&mut file)? {
        let name = String::from_utf8(name.to_vec()).map_err(io::Error::other)?;
        let value = part(&mut file)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        values.insert(name, Value::new(value.to_vec()));
    }
    Ok(values)
}

/// Reads the next part; `None` at the end.
fn part(file: &mut File) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut length = [0; 4];
    match file.read(&mut length)? {
        0 => return Ok(None),
        4 => {}
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    let length = u32::from_ne_bytes(length);
    if length > PART_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).unwrap_or_default()]);
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_arrive_as_they_were_sent() {
        let values: BTreeMap<String, Vec<u8>> = [
            ("EMPTY_NAME_IS_NOT_ONE".to_owned(), b"x".to_vec()),
            ("LARGE".to_owned(), vec![7; 64 * 1024]),
            ("TOKEN".to_owned(), b"a value \xff".to_vec()),
        ]
        .into();
        let sent = values.iter().map(|(name, value)| (name.clone(), Value::new(value.clone()))).collect();
        let received = receive(send(&sent).unwrap()).unwrap();
        let received: BTreeMap<_, _> =
            received.iter().map(|(name, value)| (name.clone(), value.bytes().to_vec())).collect();
        assert_eq!(received, values);
        assert!(receive(send(&BTreeMap::new()).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn the_file_cannot_be_changed_after_it_was_written() {
        let sent = BTreeMap::from([("TOKEN".to_owned(), Value::new(b"value".to_vec()))]);
        let mut file = File::from(send(&sent).unwrap());
        assert!(file.write_all(b"other").is_err());
        file.rewind().unwrap();
        assert_eq!(receive(file.into()).unwrap()["TOKEN"].bytes(), b"value");
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b"abc"[..], &[1, 0, 0, 0], &[255; 8], &[1, 0, 0, 0, b'N']] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            assert!(receive(file.into()).is_err(), "{bytes:?}");
        }
    }
}
