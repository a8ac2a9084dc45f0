//! Text logs, whose lines have timestamps: `runtime.log`, `kernel.log`.
//!
//! ```text
//! 2026-01-02T03:04:05.678Z [    0.000000] Linux version 6.12
//! ```
//!
//! Everything after the time and one space is unchanged. The writer stamps a line when its first bytes arrive, so a
//! source cannot forge the time.

use crate::rotating::RotatingFile;
use crate::segments::Limits;
use crate::time;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// The length of a timestamp, including its space: `2026-01-02T03:04:05.678Z `.
const STAMP_BYTES: usize = 25;

/// The single writer of a text log.
#[derive(Debug)]
pub struct TextWriter {
    file: RotatingFile,
    in_line: bool,
}

impl TextWriter {
    /// Opens a log in a log folder for appending, mode 0600.
    ///
    /// # Errors
    ///
    /// If it cannot be created or read.
    pub fn open(folder: &Path, name: &'static str, limits: impl Into<Limits>) -> io::Result<Self> {
        Ok(Self { file: RotatingFile::open(folder, name, limits)?, in_line: false })
    }

    /// Appends bytes, which may start and end within a line. Returns whether this started a new segment.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
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

    /// The current segment.
    pub fn file(&self) -> &File {
        self.file.file()
    }
}

/// Splits off the timestamp of a line, if it has one.
pub(crate) fn parse(line: &[u8]) -> (Option<SystemTime>, &[u8]) {
    let stamp = line.split_at_checked(STAMP_BYTES).and_then(|(stamp, rest)| {
        let text = std::str::from_utf8(stamp).ok()?.strip_suffix(' ')?;
        // Checking these first is cheaper than parsing every line as a time.
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
    fn each_line_is_stamped_once_in_any_segmentation() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TextWriter::open(folder.path(), KERNEL_LOG, Rotation::default()).unwrap();
        for piece in ["[0.0] Li", "nux\n\n", "\x1b[1mA\nB", "\n"] {
            writer.write(piece.as_bytes()).unwrap();
        }
        drop(writer);
        // The writer was killed in the middle of a line.
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
    fn a_line_without_a_time_is_unchanged() {
        for line in
            ["", "thread 'main' panicked at x.rs:1:1:", "2026-01-02T03:04:05.678Z", "é".repeat(20).as_str()]
        {
            assert_eq!(parse(line.as_bytes()), (None, line.as_bytes()));
        }
        // As a library may write it, with microseconds.
        assert!(parse(b"2026-01-02T03:04:05.678901Z  INFO x").0.is_none());
    }
}
