//! Appends entries to `exec.log`, keeping characters whole.

use crate::entry::{Entry, Source};
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// The one writer of a log.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// The first bytes of a character whose rest has not come yet, by session and source.
    split: HashMap<(u64, Source), Vec<u8>>,
    /// Sessions and sources whose last line has no line feed yet.
    unfinished: HashSet<(u64, Source)>,
    /// The file ends in the middle of an entry: the next one must not be glued to it.
    torn: bool,
}

impl Writer {
    /// Opens a log for appending, mode 0600.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        // A supervisor that was killed may have left half an entry behind.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Self { file, split: HashMap::new(), unfinished: HashSet::new(), torn: last != [b'\n'] })
    }

    /// Appends a session's output. Bytes of a character that is cut off wait for its rest.
    pub fn output(&mut self, session: u64, source: Source, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.split.remove(&(session, source)).unwrap_or_default();
        bytes.extend_from_slice(data);
        let whole = bytes.len() - unfinished_character(&bytes);
        if whole < bytes.len() {
            self.split.insert((session, source), bytes.split_off(whole));
        }
        match bytes.last() {
            Some(b'\n') => _ = self.unfinished.remove(&(session, source)),
            Some(_) => _ = self.unfinished.insert((session, source)),
            None => return Ok(()),
        }
        self.append(source, Some(session), bytes)
    }

    /// A session has ended: what waited for the rest of a character is written as it is, and an entry
    /// without data ends a line that has no line feed.
    pub fn end_session(&mut self, session: u64) -> io::Result<()> {
        for source in [Source::Stdout, Source::Stderr, Source::Output] {
            if let Some(bytes) = self.split.remove(&(session, source)) {
                self.unfinished.insert((session, source));
                self.append(source, Some(session), bytes)?;
            }
            if self.unfinished.remove(&(session, source)) {
                self.append(source, Some(session), Vec::new())?;
            }
        }
        Ok(())
    }

    /// Appends a line of the supervisor's own.
    pub fn system(&mut self, message: &str) -> io::Result<()> {
        self.append(Source::System, None, format!("{message}\n").into_bytes())
    }

    fn append(&mut self, source: Source, session: Option<u64>, data: Vec<u8>) -> io::Result<()> {
        let entry = Entry { time: SystemTime::now(), source, session, data };
        // One write for the whole line, so that a reader never sees two lines mixed.
        let mut line = entry.to_line();
        if self.torn {
            line.insert(0, b'\n');
        }
        let written = self.file.write_all(&line);
        self.torn = written.is_err();
        written
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
    use crate::read::EntryReader;

    fn data(path: &Path) -> Vec<Vec<u8>> {
        let mut reader = EntryReader::new(File::open(path).unwrap());
        std::iter::from_fn(|| reader.next().unwrap()).map(|entry| entry.data).collect()
    }

    #[test]
    fn split_characters_are_joined_and_torn_ones_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec.log");
        let mut writer = Writer::open(&path).unwrap();
        let crab = "🦀".as_bytes();
        writer.output(1, Source::Stdout, &crab[..3]).unwrap();
        writer.output(1, Source::Stderr, b"x\n").unwrap();
        writer.output(1, Source::Stdout, &crab[3..]).unwrap();
        writer.output(1, Source::Stdout, &crab[..1]).unwrap();
        writer.end_session(1).unwrap();
        assert_eq!(data(&path), [b"x\n".to_vec(), crab.to_vec(), crab[..1].to_vec(), Vec::new()]);
    }

    #[test]
    fn only_an_unfinished_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec.log");
        let mut writer = Writer::open(&path).unwrap();
        writer.output(1, Source::Stdout, b"a").unwrap();
        writer.output(1, Source::Stdout, b"b\n").unwrap();
        writer.output(1, Source::Stderr, b"c").unwrap();
        writer.end_session(1).unwrap();
        writer.end_session(1).unwrap();
        assert_eq!(data(&path), [b"a".to_vec(), b"b\n".to_vec(), b"c".to_vec(), Vec::new()]);
    }

    #[test]
    fn nothing_is_glued_to_a_torn_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec.log");
        std::fs::write(&path, "{\"t\":\"2023-11-14T22").unwrap();
        let mut writer = Writer::open(&path).unwrap();
        writer.system("after a kill").unwrap();
        writer.system("as ever").unwrap();

        // A full disk, and then room again.
        let log =
            std::mem::replace(&mut writer.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
        writer.system("lost").unwrap_err();
        writer.file = log;
        writer.file.write_all(b"{\"t\":").unwrap();
        writer.system("after a full disk").unwrap();
        let texts = ["after a kill\n", "as ever\n", "after a full disk\n"];
        assert_eq!(data(&path), texts.map(|text| text.as_bytes().to_vec()));
    }
}
