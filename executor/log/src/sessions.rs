//! Session numbers: unique over the life of a sandbox, across restarts of its supervisor.

use crate::entry::Entry;
use crate::segments::Segments;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// The file beside the log with the last number, as text.
const FILE: &str = "exec.sessions";
/// The digits of the largest number: each number overwrites the previous one.
const DIGITS: usize = 20;
/// Without that file, the end of each segment is searched for the last number, in bytes.
const SEARCHED_BYTES: u64 = 1024 * 1024;

/// The counter.
#[derive(Debug)]
pub(crate) struct SessionNumbers {
    file: File,
    last: u64,
}

impl SessionNumbers {
    /// Continues after the last number.
    pub fn open(log: &Segments) -> io::Result<Self> {
        let path = log.beside(FILE);
        let mut file =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(path)?;
        let mut text = String::new();
        // An unreadable file has no number.
        let _ = (&mut file).take(DIGITS as u64 + 1).read_to_string(&mut text);
        let last = match text.trim().parse() {
            Ok(last) => last,
            Err(_) => last_in(log)?,
        };
        Ok(Self { file, last })
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.last += 1;
        // On a full disk, only the log remembers the number.
        let _ = self.file.write_all_at(format!("{:0DIGITS$}\n", self.last).as_bytes(), 0);
        self.last
    }
}

/// The largest number near the ends of the segments.
fn last_in(log: &Segments) -> io::Result<u64> {
    let mut last = 0;
    for segment in log.list()? {
        let Some(mut file) = log.open(segment)? else { continue };
        let start = file.metadata()?.len().saturating_sub(SEARCHED_BYTES);
        io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
        for line in BufReader::new(file.take(SEARCHED_BYTES)).split(b'\n') {
            if let Ok(Entry { session: Some(session), .. }) = Entry::from_line(&line?) {
                last = last.max(session);
            }
        }
    }
    Ok(last)
}
