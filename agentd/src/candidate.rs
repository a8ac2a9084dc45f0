//! Inspects the file that could not be executed, when the errno does not say why.

use crate::guest_file;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The bytes that the kernel reads for the first line, and more than an ELF header has.
const HEAD_BYTES: usize = 256;
/// More program headers than any linker writes.
const PROGRAM_HEADERS_MAX: u16 = 64;
/// The longest path in Linux, in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// The first existing file of the searched paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Candidate {
    /// No file exists, as far as is visible.
    #[default]
    Nothing,
    /// A directory.
    Directory,
    /// A file without execute permission.
    NotExecutable,
    /// A file whose interpreter does not exist.
    WithoutInterpreter(String),
    /// Anything else.
    Other,
}

/// Inspects each path in order; relative ones are below `directory`.
pub fn inspect(candidates: &[String], directory: &str) -> Candidate {
    let directory = Path::new(directory);
    let first = candidates.iter().map(|candidate| directory.join(candidate)).find_map(|path| {
        let metadata = path.metadata().ok()?;
        Some((path, metadata))
    });
    match first {
        None => Candidate::Nothing,
        Some((_, metadata)) if metadata.is_dir() => Candidate::Directory,
        Some((_, metadata)) if !metadata.is_file() => Candidate::Other,
        Some((_, metadata)) if metadata.permissions().mode() & 0o111 == 0 => Candidate::NotExecutable,
        Some((path, _)) => match interpreter(&path) {
            Some(interpreter) if !directory.join(&interpreter).exists() => {
                Candidate::WithoutInterpreter(interpreter.display().to_string())
            }
            _ => Candidate::Other,
        },
    }
}

/// The interpreter in a script's first line or an ELF file's header.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let file = guest_file::options().read(true).open(path).ok()?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    (&file).take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    let name = match head.strip_prefix(b"#!") {
        Some(rest) => {
            let line = rest.split(|byte| *byte == b'\n').next()?;
            // As in the kernel, a carriage return is part of the name.
            let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
            words.next()?.to_vec()
        }
        None => elf_interpreter(&file, &head)?,
    };
    let name = String::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some(PathBuf::from(name))
}

/// The path in the program header PT_INTERP of a little-endian 64-bit ELF file (elf(5)).
fn elf_interpreter(file: &File, head: &[u8]) -> Option<Vec<u8>> {
    const PT_INTERP: u32 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let offset = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    let size = u16::from_le_bytes(head.get(54..56)?.try_into().ok()?);
    let count = u16::from_le_bytes(head.get(56..58)?.try_into().ok()?).min(PROGRAM_HEADERS_MAX);
    for index in 0..count {
        let mut header = [0; 56];
        let at = offset.checked_add(u64::from(index) * u64::from(size))?;
        file.read_exact_at(&mut header, at).ok()?;
        if header[..4] != PT_INTERP.to_le_bytes() {
            continue;
        }
        let at = u64::from_le_bytes(header[8..16].try_into().ok()?);
        let length = u64::from_le_bytes(header[32..40].try_into().ok()?);
        let mut name = vec![0; usize::try_from(length).ok().filter(|length| *length <= PATH_BYTES_MAX)?];
        file.read_exact_at(&mut name, at).ok()?;
        name.truncate(name.iter().position(|byte| *byte == 0)?);
        return Some(name);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, mode: u32, contents: &[u8]) -> Vec<String> {
        let path = folder.join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        vec!["/nowhere/x".to_owned(), path.to_str().unwrap().to_owned()]
    }

    fn without(interpreter: &str) -> Candidate {
        Candidate::WithoutInterpreter(interpreter.to_owned())
    }

    #[test]
    fn the_obstacle_to_running_a_program_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let inspect = |candidates: &[String]| inspect(candidates, folder.to_str().unwrap());
        assert_eq!(inspect(&[]), Candidate::Nothing);
        assert_eq!(inspect(&["/nowhere/x".to_owned()]), Candidate::Nothing);
        assert_eq!(inspect(&[folder.to_str().unwrap().to_owned()]), Candidate::Directory);
        assert_eq!(inspect(&["/dev/null".to_owned()]), Candidate::Other);
        assert_eq!(inspect(&file(folder, "plain", 0o644, b"#!/bin/sh\n")), Candidate::NotExecutable);
        assert_eq!(inspect(&file(folder, "sound", 0o755, b"#! /bin/sh -e\n")), Candidate::Other);
        for (text, interpreter) in [
            (&b"#!/no/python3\nprint()"[..], "/no/python3"),
            (b"#! \t/no/python3 -u", "/no/python3"),
            (b"#!/bin/sh\r\n", "/bin/sh\r"),
            (b"#!no/sh\n", "no/sh"),
        ] {
            assert_eq!(inspect(&file(folder, "script", 0o755, text)), without(interpreter), "{text:?}");
        }
        for odd in
            [&b"#!"[..], b"#!\n", b"#!  ", b"#! \t\n", b"#!\xff\xfe\n", b"", b"\x7fELF\x02\x01", b"text"]
        {
            assert_eq!(inspect(&file(folder, "odd", 0o755, odd)), Candidate::Other, "{odd:?}");
        }
        // Relative paths are below the working directory.
        assert_eq!(inspect(&["./plain".to_owned()]), Candidate::NotExecutable);
    }

    #[test]
    fn the_interpreter_of_an_elf_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let elf = |phoff: u64, count: u16, offset: u64, length: u64| {
            let mut bytes = vec![0; 64];
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[32..40].copy_from_slice(&phoff.to_le_bytes());
            bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
            bytes[56..58].copy_from_slice(&count.to_le_bytes());
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&3u32.to_le_bytes());
            header[8..16].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&length.to_le_bytes());
            bytes.extend(vec![0; 56]);
            bytes.extend(header);
            bytes.extend(b"/lib64/ld-none.so\0");
            file(folder.path(), "elf", 0o755, &bytes)
        };
        assert_eq!(inspect(&elf(64, 2, 176, 18), "/"), without("/lib64/ld-none.so"));
        for (phoff, count, offset, length) in [
            (64, 1, 176, 18),
            (64, 0, 176, 18),
            (u64::MAX, u16::MAX, 176, 18),
            (64, 2, u64::MAX, 18),
            (64, 2, 176, u64::MAX),
            (64, 2, 176, 4096),
            (64, 2, 176, 5),
            (64, 2, 176, 0),
        ] {
            assert_eq!(inspect(&elf(phoff, count, offset, length), "/"), Candidate::Other);
        }
    }
}
