//! Passes values to a supervisor: a file in memory, which is read once.
//!
//! Format: for each secret, the length of its name as `u32` in native byte order, the name, the length of its value, the
//! value. Both ends are one program.

use super::Values;
use executor_intercept::Value;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use schemas::spec::ValueName;
use schemas::spec::limits::SECRETS_PER_SANDBOX_MAX;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use zeroize::Zeroizing;

/// The most bytes of a name or a value.
const PART_BYTES_MAX: u32 = 1024 * 1024;
/// The most values: all secrets of a sandbox, and the password of its proxy.
const VALUES_MAX: usize = SECRETS_PER_SANDBOX_MAX + 1;

/// Writes the values to a file in memory.
///
/// # Errors
///
/// If the host has no memory for it.
pub fn send(values: &Values) -> io::Result<OwnedFd> {
    let memory = memfd_create("secrets", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    for (name, value) in values {
        for part in [name.to_string().as_bytes(), value.bytes()] {
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
pub fn receive(memory: OwnedFd) -> io::Result<Values> {
    let mut file = File::from(memory);
    // Reading anything else could wait without an end.
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file of values"));
    }
    let mut values = BTreeMap::new();
    while let Some(name) = part(&mut file)? {
        if values.len() >= VALUES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let name: ValueName =
            std::str::from_utf8(&name).map_err(io::Error::other)?.parse().map_err(io::Error::other)?;
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
        let secret = |name: &str| ValueName::Secret(name.to_owned());
        let values: BTreeMap<ValueName, Vec<u8>> = [
            (ValueName::ProxyPassword, b"x".to_vec()),
            (secret("LARGE"), vec![7; 64 * 1024]),
            (secret("TOKEN"), b"a value \xff".to_vec()),
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
        let name = ValueName::Secret("TOKEN".to_owned());
        let sent = Values::from([(name.clone(), Value::new(b"value".to_vec()))]);
        let mut file = File::from(send(&sent).unwrap());
        assert!(file.write_all(b"other").is_err());
        file.rewind().unwrap();
        assert_eq!(receive(file.into()).unwrap()[&name].bytes(), b"value");
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in
            [&b"abc"[..], &[1, 0, 0, 0], &[255; 8], &[1, 0, 0, 0, b'N'], &[1, 0, 0, 0, b'N', 0, 0, 0, 0]]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            assert!(receive(file.into()).is_err(), "{bytes:?}");
        }
        // Nothing is ever written to it.
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        assert!(receive(pipe).is_err());
        let many = |count: usize| {
            let value = |number: usize| (ValueName::Secret(number.to_string()), Value::new(b"x".to_vec()));
            send(&(0..count).map(value).collect()).unwrap()
        };
        assert!(receive(many(VALUES_MAX)).is_ok() && receive(many(VALUES_MAX + 1)).is_err());
    }
}
