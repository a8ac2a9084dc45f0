//! A file that is only appended to, and is followed by a new one before it becomes too large.
//!
//! A record is written with one system call and lies in one file. When the new file is there, nothing more is written
//! into the one before: a reader that has seen both needs to look once more at the end of the first. A process that is
//! killed at any point leaves at worst a new file that is empty, or a plain name that is still the one of the last
//! file; the next writer goes on from there.

use crate::segments::{Limits, Rotation, Segments};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The one writer of a log.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    segments: Segments,
    limits: Limits,
    /// As it was when it was last looked at.
    rotation: Rotation,
    file: File,
    segment: u64,
    bytes: u64,
    /// The file ends in the middle of a record: the next one must not be glued to it.
    torn: bool,
}

impl RotatingFile {
    /// Opens the newest file for appending, mode 0600.
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

    /// Appends a record. Where it must not be parted from what is before it (`may_rotate` is false), a file may
    /// become somewhat larger, by no more than half.
    ///
    /// Tells whether this has begun a new file.
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
                // Nobody knows how much of it is there.
                self.torn = true;
                self.bytes = self.file.metadata().map_or(due, |metadata| metadata.len());
                Err(error)
            }
        }
    }

    /// Whoever is allowed less from now on does not keep more until the next file is begun.
    fn apply_limits(&mut self) {
        let rotation = self.limits.rotation();
        if rotation != std::mem::replace(&mut self.rotation, rotation) {
            self.prune();
        }
    }

    /// What is being written to now.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether what is next begins a record of its own.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The files of the log.
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

    /// Gives the newest file the plain name as well. Where that fails, the log itself goes on all the same.
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

    /// Removes the files beyond those that are kept, the oldest first. What cannot be removed is tried again.
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
        // A new writer goes on in the newest file, and with its number.
        let mut log = open(folder.path());
        assert!(!log.append(b"x\n", true).unwrap());
        assert!(log.append(b"line 6\n", true).unwrap());
        assert_eq!(log.segments().numbered().unwrap(), [4, 5, 6]);
        assert_eq!(text(folder.path().join("exec.log.000005")), "line 5\nx\n");
    }

    #[test]
    fn the_largest_limit_is_no_overflow() {
        let folder = tempfile::tempdir().unwrap();
        let huge = Rotation { max_bytes: u64::MAX, keep: 2 };
        let mut log = RotatingFile::open(folder.path(), "exec.log", huge).unwrap();
        for may_rotate in [true, false] {
            assert!(!log.append(b"x\n", may_rotate).unwrap());
        }
        assert_eq!(text(folder.path().join("exec.log")), "x\nx\n");
    }

    #[test]
    fn other_limits_hold_from_the_next_record_on() {
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
    fn what_a_kill_leaves_is_brought_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).append(b"line 1\n", true).unwrap();
        // Killed after the new file was made, before it had the plain name.
        fs::write(folder.path().join("exec.log.000002"), "").unwrap();
        fs::write(folder.path().join(".exec.log.new"), "").unwrap();
        let mut log = open(folder.path());
        log.append(b"line 2\n", true).unwrap();
        assert_eq!(text(folder.path().join("exec.log")), "line 2\n");
        assert_eq!(log.segments().numbered().unwrap(), [1, 2]);
    }

    #[test]
    fn a_log_without_numbers_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("exec.log"), "old\n").unwrap();
        assert_eq!(Segments::new(folder.path(), "exec.log").list().unwrap(), [1]);
        open(folder.path()).append(b"new\n", true).unwrap();
        assert_eq!(text(folder.path().join("exec.log.000001")), "old\nnew\n");
    }

    #[test]
    fn nothing_is_parted_that_belongs_together_nor_grows_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        let rotations = (0..9).filter(|_| log.append(b"12345", false).unwrap()).count();
        // Three fives fit into one and a half times ten bytes.
        assert_eq!(rotations, 2);
    }
}
