//! Appends entries to `exec.log`, keeping characters whole.

use crate::entry::{Entry, Source};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

/// The one writer of a log.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// The first bytes of a character whose rest has not come yet, by session and source.
    split: HashMap<(u64, Source), Vec<u8>>,
}

impl Writer {
    /// Opens a log for appending, mode 0600.
    pub fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { file, split: HashMap::new() })
    }

    /// Appends a session's output. Bytes of a character that is cut off wait for its rest.
    pub fn output(&mut self, session: u64, source: Source, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.split.remove(&(session, source)).unwrap_or_default();
        bytes.extend_from_slice(data);
        let whole = bytes.len() - unfinished_character(&bytes);
        if whole < bytes.len() {
            self.split.insert((session, source), bytes.split_off(whole));
        }
        self.append(source, Some(session), bytes)
    }

    /// A session has ended: what waited for the rest of a character is written as it is.
    pub fn end_session(&mut self, session: u64) -> io::Result<()> {
        for source in [Source::Stdout, Source::Stderr, Source::Output] {
            if let Some(bytes) = self.split.remove(&(session, source)) {
                self.append(source, Some(session), bytes)?;
            }
        }
        Ok(())
    }

    /// Appends a line of the supervisor's own.
    pub fn system(&mut self, message: &str) -> io::Result<()> {
        self.append(Source::System, None, format!("{message}\n").into_bytes())
    }

    fn append(&mut self, source: Source, session: Option<u64>, data: Vec<u8>) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let entry = Entry { time: SystemTime::now(), source, session, data };
        // One write for the whole line, so that a reader never sees two lines mixed.
        self.file.write_all(&entry.to_line())
    }
}

/// How many bytes at the end begin a UTF-8 character without finishing it: 0 to 3.
fn unfinished_character(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read_entries;

    #[test]
    fn split_characters_are_joined_and_torn_ones_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec.log");
        let mut writer = Writer::open(&path).unwrap();
        let crab = "🦀".as_bytes();
        writer.output(1, Source::Stdout, &crab[..3]).unwrap();
        writer.output(1, Source::Stderr, b"x").unwrap();
        writer.output(1, Source::Stdout, &crab[3..]).unwrap();
        writer.output(1, Source::Stdout, &crab[..1]).unwrap();
        writer.end_session(1).unwrap();
        let data: Vec<_> = read_entries(&path).unwrap().into_iter().map(|entry| entry.data).collect();
        assert_eq!(data, [b"x".to_vec(), crab.to_vec(), crab[..1].to_vec()]);
    }
}
