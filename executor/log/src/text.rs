//! Logs that are text, one line after the other, each with the time when it came: `runtime.log`, `kernel.log`.
//!
//! ```text
//! 2026-01-02T03:04:05.678Z [    0.000000] Linux version 6.12
//! ```
//!
//! Everything behind the time and one space is as it came. The writer stamps a line when its first bytes come, so what
//! is logged cannot pretend to have come at another time.

use crate::rotating::RotatingFile;
use crate::segments::Limits;
use crate::time;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// How long a stamp is, its space included: `2026-01-02T03:04:05.678Z `.
const STAMP_BYTES: usize = 25;

/// The one writer of a text log.
#[derive(Debug)]
pub struct TextWriter {
    file: RotatingFile,
    in_line: bool,
}

impl TextWriter {
    /// Opens a log in a folder of logs for appending, mode 0600.
    pub fn open(folder: &Path, name: &'static str, limits: impl Into<Limits>) -> io::Result<Self> {
        Ok(Self { file: RotatingFile::open(folder, name, limits)?, in_line: false })
    }

    /// Appends what has come, wherever in a line it begins and ends. Tells whether a new file was begun.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let mut stamped = Vec::with_capacity(bytes.len() + STAMP_BYTES);
        let mut in_line = self.in_line && !self.file.is_torn();
        let goes_on = in_line;
        let mut stamp = None;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !in_line {
                let stamp = stamp.get_or_insert_with(|| format!("{} ", time::format(SystemTime::now())));
                stamped.extend_from_slice(stamp.as_bytes());
            }
            stamped.extend_from_slice(piece);
            in_line = !piece.ends_with(b"\n");
        }
        let rotated = self.file.append(&stamped, !goes_on)?;
        self.in_line = in_line;
        Ok(rotated)
    }

    /// What is being written to now.
    pub fn file(&self) -> &File {
        self.file.file()
    }
}

/// Parts a line from its time, if it has one.
pub(crate) fn parse(line: &[u8]) -> (Option<SystemTime>, &[u8]) {
    let stamp = line.split_at_checked(STAMP_BYTES).and_then(|(stamp, rest)| {
        let text = std::str::from_utf8(stamp).ok()?.strip_suffix(' ')?;
        // Nothing but digits and these marks: cheaper than trying to read every line as a time.
        let looks_right = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
        Some((looks_right.then(|| time::parse(text)).flatten()?, rest))
    });
    match stamp {
        Some((time, rest)) => (Some(time), rest),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KERNEL_LOG;
    use crate::segments::Rotation;

    #[test]
    fn each_line_is_stamped_once_however_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TextWriter::open(folder.path(), KERNEL_LOG, Rotation::default()).unwrap();
        for piece in ["[0.0] Li", "nux\n\n", "\x1b[1mA\nB", "\n"] {
            writer.write(piece.as_bytes()).unwrap();
        }
        drop(writer);
        // One that is killed in the middle of a line.
        let mut writer = TextWriter::open(folder.path(), KERNEL_LOG, Rotation::default()).unwrap();
        writer.write(b"cut o").unwrap();
        let mut writer = TextWriter::open(folder.path(), KERNEL_LOG, Rotation::default()).unwrap();
        writer.write(b"next\n").unwrap();
        let log = std::fs::read(folder.path().join(KERNEL_LOG)).unwrap();
        let lines: Vec<_> = log.split(|&byte| byte == b'\n').map(parse).collect();
        assert!(lines[..lines.len() - 1].iter().all(|(time, _)| time.is_some()));
        let texts: Vec<_> = lines.iter().map(|(_, text)| String::from_utf8_lossy(text)).collect();
        assert_eq!(texts, ["[0.0] Linux", "", "\x1b[1mA", "B", "cut o", "next", ""]);
    }

    #[test]
    fn a_line_without_a_time_is_whole() {
        for line in
            ["", "thread 'main' panicked at x.rs:1:1:", "2026-01-02T03:04:05.678Z", "é".repeat(20).as_str()]
        {
            assert_eq!(parse(line.as_bytes()), (None, line.as_bytes()));
        }
        // As a library may write it, to the microsecond.
        assert!(parse(b"2026-01-02T03:04:05.678901Z  INFO x").0.is_none());
    }
}
