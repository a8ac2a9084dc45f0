//! Follows a growing `exec.log`, woken by inotify and never by a clock.

use crate::entry::Entry;
use rustix::fs::inotify;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// A reader that can be asked again when the log has grown.
///
/// [`Follower::as_fd`] becomes readable when it has; after [`Follower::wake`], [`Follower::read`]
/// gives what is new.
#[derive(Debug)]
pub struct Follower {
    file: File,
    watch: OwnedFd,
    /// The start of a line whose end has not been read yet.
    partial: Vec<u8>,
}

impl Follower {
    /// Opens a log from its beginning; it is made empty when it is not there yet.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY)?;
        Ok(Self { file, watch, partial: Vec::new() })
    }

    /// All whole entries that have come since the last call.
    pub fn read(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = self.file.read(&mut chunk)?;
            if count == 0 {
                return Ok(entries);
            }
            self.partial.extend_from_slice(&chunk[..count]);
            let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else { continue };
            let rest = self.partial.split_off(end + 1);
            let whole = std::mem::replace(&mut self.partial, rest);
            entries.extend(whole.split_inclusive(|&byte| byte == b'\n').flat_map(Entry::from_line));
        }
    }

    /// Takes note of the wake-ups so far, so that the descriptor is quiet until the next one.
    pub fn wake(&self) {
        let mut buffer = [0u8; 4096];
        while matches!(rustix::io::read(&self.watch, &mut buffer), Ok(count) if count > 0) {}
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl std::os::fd::AsRawFd for Follower {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.watch.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Source;
    use crate::write::Writer;

    #[test]
    fn reads_each_entry_once_as_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec.log");
        let mut writer = Writer::open(&path).unwrap();
        writer.output(1, Source::Stdout, b"one").unwrap();
        let mut follower = Follower::open(&path).unwrap();
        let text =
            |entries: Vec<Entry>| -> Vec<Vec<u8>> { entries.into_iter().map(|entry| entry.data).collect() };
        assert_eq!(text(follower.read().unwrap()), [b"one"]);
        assert!(follower.read().unwrap().is_empty());
        writer.output(1, Source::Stdout, b"two").unwrap();
        let mut wait = [rustix::event::PollFd::new(&follower, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None).unwrap();
        follower.wake();
        assert_eq!(text(follower.read().unwrap()), [b"two"]);
    }
}
