//! An append-only file that is continued in a new segment before it becomes too large.
//!
//! A record is written with one system call and lies in one segment. Once a new segment exists, nothing is written to
//! the previous one: a reader that has seen both needs to check the end of the first once more. A process that is
//! killed at any point leaves at worst an empty segment, or a plain name that still links to the previous one; the next
//! writer continues from there.

use crate::segments::{Limits, Rotation, Segments};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The single writer of a log.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    segments: Segments,
    limits: Limits,
    /// The limits when they were last applied.
    rotation: Rotation,
    file: File,
    segment: u64,
    bytes: u64,
    /// The file ends in the middle of a record, which must not be joined with the next.
    torn: bool,
}

impl RotatingFile {
    /// Opens the newest segment for appending, mode 0600.
    pub fn open(folder: &Path, name: &'static str, limits: impl Into<Limits>) -> io::Result<Self> {
        let limits = limits.into();
        let rotation = limits.rotation();
        let segments = Segments::new(folder, name);
        let (mut file, segment) = match segments.numbered()?.last() {
            Some(&newest) => (append_to(&segments.path(newest))?, newest),
            None => {
                match fs::hard_link(segments.plain(), segments.path(1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                (append_to(&segments.path(1))?, 1)
            }
        };
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let torn = last != [b'\n'];
        let opened = Self { segments, limits, rotation, file, segment, bytes, torn };
        opened.link_plain_name();
        opened.prune();
        Ok(opened)
    }

    /// Appends a record. If it must stay with the previous one (`may_rotate` is false), a segment may exceed its limit
    /// by half.
    ///
    /// Returns whether this started a new segment.
    pub fn append(&mut self, record: &[u8], may_rotate: bool) -> io::Result<bool> {
        self.apply_limits();
        let due = self.bytes + record.len() as u64;
        let limit = self.rotation.max_bytes;
        let rotates =
            self.bytes > 0 && due > if may_rotate { limit } else { limit.saturating_add(limit / 2) };
        if rotates {
            self.rotate()?;
        }
        let written = if self.torn {
            let mut whole = Vec::with_capacity(record.len() + 1);
            whole.push(b'\n');
            whole.extend_from_slice(record);
            self.file.write_all(&whole)
        } else {
            self.file.write_all(record)
        };
        match written {
            Ok(()) => {
                self.bytes += record.len() as u64 + u64::from(self.torn);
                self.torn = false;
                Ok(rotates)
            }
            Err(error) => {
                // Part of it may have been written.
                self.torn = true;
                self.bytes = self.file.metadata().map_or(due, |metadata| metadata.len());
                Err(error)
            }
        }
    }

    /// Applies changed limits at once.
    fn apply_limits(&mut self) {
        let rotation = self.limits.rotation();
        if rotation != std::mem::replace(&mut self.rotation, rotation) {
            self.prune();
        }
    }

    /// The current segment.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether the next record starts after an incomplete one.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The segments of the log.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    fn rotate(&mut self) -> io::Result<()> {
        let next = self.segment + 1;
        self.file = append_to(&self.segments.path(next))?;
        (self.segment, self.bytes, self.torn) = (next, 0, false);
        self.link_plain_name();
        self.prune();
        Ok(())
    }

    /// Links the plain name to the newest segment. The log does not depend on it, so failures are ignored.
    fn link_plain_name(&self) {
        let (newest, plain) = (self.segments.path(self.segment), self.segments.plain());
        let inode = |path: &Path| fs::metadata(path).map(|metadata| metadata.ino()).ok();
        if inode(&newest) == inode(&plain) {
            return;
        }
        let temporary = self.segments.beside(&format!(".{}.new", self.segments.name()));
        let _ = fs::remove_file(&temporary);
        if fs::hard_link(&newest, &temporary).is_ok() {
            let _ = fs::rename(&temporary, &plain);
        }
    }

    /// Removes the oldest segments beyond the limit. Failures are retried with the next rotation.
    fn prune(&self) {
        let kept_from = self.segment.saturating_sub(u64::from(self.rotation.keep));
        for segment in self.segments.numbered().unwrap_or_default() {
            if segment < kept_from {
                let _ = fs::remove_file(self.segments.path(segment));
            }
        }
    }

    #[cfg(test)]
    pub fn swap_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Rotation = Rotation { max_bytes: 10, keep: 2 };

    fn open(folder: &Path) -> RotatingFile {
        RotatingFile::open(folder, "exec.log", SMALL).unwrap()
    }

    fn text(path: impl AsRef<Path>) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn numbers_go_up_and_only_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        for number in 1..=5 {
            let rotated = log.append(format!("line {number}\n").as_bytes(), true).unwrap();
            assert_eq!(rotated, number > 1);
        }
        assert_eq!(log.segments().numbered().unwrap(), [3, 4, 5]);
        assert_eq!(text(folder.path().join("exec.log.000004")), "line 4\n");
        assert_eq!(text(folder.path().join("exec.log")), "line 5\n");
        drop(log);
        // A new writer continues the newest segment, with its number.
        let mut log = open(folder.path());
        assert!(!log.append(b"x\n", true).unwrap());
        assert!(log.append(b"line 6\n", true).unwrap());
        assert_eq!(log.segments().numbered().unwrap(), [4, 5, 6]);
        assert_eq!(text(folder.path().join("exec.log.000005")), "line 5\nx\n");
    }

    #[test]
    fn the_largest_limit_does_not_overflow() {
        let folder = tempfile::tempdir().unwrap();
        let huge = Rotation { max_bytes: u64::MAX, keep: 2 };
        let mut log = RotatingFile::open(folder.path(), "exec.log", huge).unwrap();
        for may_rotate in [true, false] {
            assert!(!log.append(b"x\n", may_rotate).unwrap());
        }
        assert_eq!(text(folder.path().join("exec.log")), "x\nx\n");
    }

    #[test]
    fn changed_limits_apply_to_the_next_record() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits::from(SMALL);
        let mut log = RotatingFile::open(folder.path(), "exec.log", limits.clone()).unwrap();
        for number in 1..=3 {
            log.append(format!("line {number}\n").as_bytes(), true).unwrap();
        }
        assert_eq!(log.segments().numbered().unwrap(), [1, 2, 3]);
        limits.set(Rotation { max_bytes: 1000, keep: 0 });
        assert!(!log.append(b"line 4\n", true).unwrap());
        assert_eq!(log.segments().numbered().unwrap(), [3]);
        assert_eq!(text(folder.path().join("exec.log")), "line 3\nline 4\n");
    }

    #[test]
    fn an_interrupted_rotation_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).append(b"line 1\n", true).unwrap();
        // Killed after the segment was created, before it had the plain name.
        fs::write(folder.path().join("exec.log.000002"), "").unwrap();
        fs::write(folder.path().join(".exec.log.new"), "").unwrap();
        let mut log = open(folder.path());
        log.append(b"line 2\n", true).unwrap();
        assert_eq!(text(folder.path().join("exec.log")), "line 2\n");
        assert_eq!(log.segments().numbered().unwrap(), [1, 2]);
    }

    #[test]
    fn a_log_without_numbers_is_adopted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("exec.log"), "old\n").unwrap();
        assert_eq!(Segments::new(folder.path(), "exec.log").list().unwrap(), [1]);
        open(folder.path()).append(b"new\n", true).unwrap();
        assert_eq!(text(folder.path().join("exec.log.000001")), "old\nnew\n");
    }

    #[test]
    fn records_that_belong_together_share_a_segment_within_limits() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        let rotations = (0..9).filter(|_| log.append(b"12345", false).unwrap()).count();
        // Three records of five bytes fit into one and a half times ten.
        assert_eq!(rotations, 2);
    }
}
