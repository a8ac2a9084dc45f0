//! Appends entries to `exec.log`, with complete characters.

use crate::EXEC_LOG;
use crate::entry::{Entry, Source};
use crate::rotating::RotatingFile;
use crate::segments::Limits;
use crate::sessions::SessionNumbers;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// The single writer of `exec.log`.
#[derive(Debug)]
pub struct Writer {
    file: RotatingFile,
    numbers: SessionNumbers,
    /// The first bytes of incomplete characters, by session and source.
    split: HashMap<(u64, Source), Vec<u8>>,
    /// Sessions and sources whose last line has no line feed yet.
    unfinished: HashSet<(u64, Source)>,
    lost: LostEntries,
}

/// Entries that could not be written since the last successful one.
#[derive(Debug, Default)]
struct LostEntries {
    entries: u64,
    bytes: u64,
    why: String,
}

impl Writer {
    /// Opens the log in a log folder for appending, mode 0600.
    ///
    /// # Errors
    ///
    /// If it cannot be created or read.
    pub fn open(folder: &Path, limits: impl Into<Limits>) -> io::Result<Self> {
        let file = RotatingFile::open(folder, EXEC_LOG, limits)?;
        let numbers = SessionNumbers::open(file.segments())?;
        let (split, unfinished) = (HashMap::new(), HashSet::new());
        Ok(Self { file, numbers, split, unfinished, lost: LostEntries::default() })
    }

    /// A number that no session of this sandbox has had, across restarts of its supervisor.
    pub fn new_session(&mut self) -> u64 {
        self.numbers.next()
    }

    /// Appends a session's output. Bytes of an incomplete character are kept until its rest arrives.
    ///
    /// # Errors
    ///
    /// If it cannot be written; a later entry then says what was lost.
    pub fn output(&mut self, session: u64, source: Source, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.split.remove(&(session, source)).unwrap_or_default();
        bytes.extend_from_slice(data);
        let whole = bytes.len() - incomplete_character_bytes(&bytes);
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

    /// Ends a session: incomplete characters are written as they are, and an entry without data ends a line without a
    /// line feed.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn end_session(&mut self, session: u64) -> io::Result<()> {
        for source in Source::DEFAULT {
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

    /// Appends a line of the supervisor.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn system(&mut self, message: &str) -> io::Result<()> {
        self.append(Source::System, None, format!("{message}\n").into_bytes())
    }

    fn append(&mut self, source: Source, session: Option<u64>, data: Vec<u8>) -> io::Result<()> {
        let bytes = data.len() as u64;
        let entry = Entry { time: SystemTime::now(), source, session, data };
        // One write per line, so that readers never see mixed lines.
        let mut line = entry.to_line();
        if self.lost.entries > 0 {
            let note = self.lost.note().to_line();
            line.splice(0..0, note);
        }
        match self.file.append(&line, true) {
            Ok(_) => {
                self.lost = LostEntries::default();
                Ok(())
            }
            Err(error) => {
                self.lost.entries += 1;
                self.lost.bytes += bytes;
                self.lost.why = error.to_string();
                Err(error)
            }
        }
    }
}

impl LostEntries {
    /// The entry that marks the loss. Its source is one of output, so that it is shown by default.
    fn note(&self) -> Entry {
        let Self { entries, bytes, why } = self;
        let text = format!("[msb: lost here: {entries} log entries with {bytes} bytes: {why}]\n");
        Entry { time: SystemTime::now(), source: Source::Stderr, session: None, data: text.into_bytes() }
    }
}

/// The number of bytes at the end that start an incomplete UTF-8 character: 0 to 3.
fn incomplete_character_bytes(bytes: &[u8]) -> usize {
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
    use crate::segments::Rotation;
    use std::fs::OpenOptions;
    use std::io::Write as _;

    fn open(folder: &Path) -> Writer {
        Writer::open(folder, Rotation::default()).unwrap()
    }

    fn data(folder: &Path) -> Vec<String> {
        let log = std::fs::read_to_string(folder.join(EXEC_LOG)).unwrap();
        let entries = log.lines().filter_map(|line| Entry::from_line(line.as_bytes()).ok());
        entries.map(|entry| entry.data.escape_ascii().to_string()).collect()
    }

    #[test]
    fn split_characters_are_joined_and_incomplete_ones_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path());
        let crab = "🦀".as_bytes();
        writer.output(1, Source::Stdout, &crab[..3]).unwrap();
        writer.output(1, Source::Stderr, b"x\n").unwrap();
        writer.output(1, Source::Stdout, &crab[3..]).unwrap();
        writer.output(1, Source::Stdout, &crab[..1]).unwrap();
        writer.end_session(1).unwrap();
        assert_eq!(data(folder.path()), ["x\\n", "\\xf0\\x9f\\xa6\\x80", "\\xf0", ""]);
    }

    #[test]
    fn only_an_unfinished_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path());
        writer.output(1, Source::Stdout, b"a").unwrap();
        writer.output(1, Source::Stdout, b"b\n").unwrap();
        writer.output(1, Source::Stderr, b"c").unwrap();
        writer.end_session(1).unwrap();
        writer.end_session(1).unwrap();
        assert_eq!(data(folder.path()), ["a", "b\\n", "c", ""]);
    }

    #[test]
    fn torn_entries_are_terminated_and_losses_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EXEC_LOG);
        std::fs::write(&path, "{\"t\":\"2023-11-14T22").unwrap();
        let mut writer = open(folder.path());
        writer.system("after a kill").unwrap();
        writer.system("as ever").unwrap();

        // A full disk, and then space again.
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = writer.file.swap_file(full);
        writer.system("lost").unwrap_err();
        log.write_all(b"{\"t\":").unwrap();
        writer.file.swap_file(log);
        writer.system("after a full disk").unwrap();
        writer.system("and on").unwrap();
        let texts = [
            "after a kill\\n",
            "as ever\\n",
            "[msb: lost here: 1 log entries with 5 bytes: No space left on device (os error 28)]\\n",
            "after a full disk\\n",
            "and on\\n",
        ];
        assert_eq!(data(folder.path()), texts);
    }

    #[test]
    fn session_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path());
        assert_eq!([writer.new_session(), writer.new_session()], [1, 2]);
        writer.output(2, Source::Stdout, b"x\n").unwrap();
        assert_eq!(open(folder.path()).new_session(), 3);
        // Also if the file with the number is lost or damaged.
        let path = folder.path().join("exec.sessions");
        std::fs::write(&path, "no number").unwrap();
        assert_eq!(open(folder.path()).new_session(), 3);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(open(folder.path()).new_session(), 3);
    }
}
