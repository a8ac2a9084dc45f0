//! Follows a growing `exec.log`, woken by inotify and never by a clock.

use crate::entry::Entry;
use crate::read::EntryReader;
use rustix::fs::inotify;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A reader that can be asked again when the log has grown.
///
/// [`Follower::as_fd`] becomes readable when it has; after [`Follower::wake`], [`Follower::next`]
/// gives what is new.
#[derive(Debug)]
pub struct Follower {
    entries: EntryReader<File>,
    watch: OwnedFd,
}

impl Follower {
    /// Opens a log from its beginning; it is made empty, mode 0600, when it is not there yet.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            // Only the writer appends; it may be about to make the file as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?
            }
            opened => opened?,
        };
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY)?;
        Ok(Self { entries: EntryReader::new(file), watch })
    }

    /// The next whole entry, as long as there is one.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends does not go on")]
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        self.entries.next()
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
        let read = |follower: &mut Follower| follower.next().unwrap().map(|entry| entry.data);
        assert_eq!(read(&mut follower), Some(b"one".to_vec()));
        assert_eq!(read(&mut follower), None);
        writer.output(1, Source::Stdout, b"two").unwrap();
        let mut wait = [rustix::event::PollFd::new(&follower, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None).unwrap();
        follower.wake();
        assert_eq!(read(&mut follower), Some(b"two".to_vec()));
        assert_eq!(read(&mut follower), None);
    }
}
