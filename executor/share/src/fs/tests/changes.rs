//! Changes by the host, as they are reported to a guest that caches files for long.

use super::guest::{Guest, c, share};
use crate::change::{Change, ChangeKind, Reporter, receive_change};
use crate::fs::changes::WATCHED_CACHE_TIME;
use crate::fs::{CACHE_TIME, ROOT, ShareFs};
use crate::{Limits, SharePolicy};
use fuse_backend_rs::api::filesystem::{Context, FileSystem};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a report may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A guest that is told of changes.
struct Watching {
    fs: Arc<ShareFs>,
    reports: Receiver<Change>,
}

impl Watching {
    fn new(path: &Path) -> Self {
        let fs = ShareFs::new(vec![share(path, SharePolicy::default())], Limits::default()).unwrap();
        let fs = Arc::new(fs.with_changes());
        let (sender, reports) = channel();
        let watched = fs.clone();
        // It ends with the test's process, as it does with that of the server.
        std::thread::spawn(move || {
            watched.report_changes(|changes| {
                for host in changes {
                    let _ = sender.send(host.change.clone());
                }
                Ok(())
            })
        });
        Self { fs, reports }
    }

    /// Looks a path in the share up; returns its inode and for how long the guest may cache the entry and attributes.
    fn look_up(&self, path: &str) -> (u64, Duration, Duration) {
        let context = Context::default();
        let mut entry = self.fs.lookup(&context, ROOT, c"0").unwrap();
        for name in path.split('/') {
            entry = self.fs.lookup(&context, entry.inode, &c(name)).unwrap();
        }
        (entry.inode, entry.entry_timeout, entry.attr_timeout)
    }

    /// Waits for the report of a path, and returns what it says.
    fn report_of(&self, path: &str) -> ChangeKind {
        loop {
            let change = self.reports.recv_timeout(PATIENCE).expect("no report");
            if change.path == Path::new(path) {
                return change.kind;
            }
        }
    }
}

#[test]
fn what_the_host_changes_is_reported_by_its_path() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    std::fs::create_dir(root.join("src")).unwrap();
    std::fs::write(root.join("src/app.py"), "1").unwrap();
    let guest = Watching::new(root);
    let (_, entry, attributes) = guest.look_up("src/app.py");
    assert_eq!((entry, attributes), (WATCHED_CACHE_TIME, WATCHED_CACHE_TIME));
    std::fs::write(root.join("src/app.py"), "22").unwrap();
    assert_eq!(guest.report_of("0/src/app.py"), ChangeKind::Changed);
    std::fs::write(root.join("src/new"), "").unwrap();
    assert_eq!(guest.report_of("0/src/new"), ChangeKind::Changed);
    // As editors save files.
    std::fs::rename(root.join("src/new"), root.join("src/app.py")).unwrap();
    assert_eq!(guest.report_of("0/src/app.py"), ChangeKind::Changed);
    std::fs::remove_file(root.join("src/app.py")).unwrap();
    assert_eq!(guest.report_of("0/src/app.py"), ChangeKind::Removed);
    // Directories keep their watch under their new names.
    std::fs::rename(root.join("src"), root.join("lib")).unwrap();
    assert_eq!(guest.report_of("0/lib"), ChangeKind::Changed);
    std::fs::write(root.join("lib/late"), "").unwrap();
    assert_eq!(guest.report_of("0/lib/late"), ChangeKind::Changed);
}

#[test]
fn what_the_guest_changes_is_not_reported_and_cached_for_a_short_time() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    std::fs::write(root.join("kept"), "").unwrap();
    let guest = Watching::new(root);
    let context = Context::default();
    let parent = guest.fs.lookup(&context, ROOT, c"0").unwrap().inode;
    guest.look_up("kept");
    guest.fs.mkdir(&context, parent, c"by-guest", 0o755, 0).unwrap();
    let (_, entry, _) = guest.look_up("by-guest");
    assert_eq!(entry, CACHE_TIME);
    guest.fs.rename(&context, parent, c"by-guest", parent, c"renamed", 0).unwrap();
    guest.fs.rmdir(&context, parent, c"renamed").unwrap();
    // A change of the host after that is the first thing that is reported.
    std::fs::write(root.join("kept"), "by the host").unwrap();
    let first = guest.reports.recv_timeout(PATIENCE).expect("no report");
    assert_eq!(first, Change { kind: ChangeKind::Changed, path: PathBuf::from("0/kept") });
}

#[test]
fn files_whose_changes_may_be_missed_are_cached_for_a_short_time() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("one"), "").unwrap();
    std::fs::hard_link(scratch.path().join("one"), scratch.path().join("two")).unwrap();
    let guest = Watching::new(scratch.path());
    let (_, entry, attributes) = guest.look_up("one");
    assert_eq!((entry, attributes), (CACHE_TIME, CACHE_TIME));
    // Nothing is watched where nobody is told.
    let silent = Guest::new(scratch.path(), SharePolicy::default());
    let parent = silent.walk("").unwrap();
    let entry = silent.fs.lookup(&silent.context, parent, c"two").unwrap();
    assert_eq!((entry.entry_timeout, entry.attr_timeout), (CACHE_TIME, CACHE_TIME));
}

#[test]
fn once_events_are_lost_all_known_files_are_reported() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    std::fs::create_dir(root.join("src")).unwrap();
    for name in ["src/app.py", "src/lib.py", "src/old.py", "unknown"] {
        std::fs::write(root.join(name), "").unwrap();
    }
    let guest = Watching::new(root);
    for path in ["src/app.py", "src/lib.py", "src/old.py"] {
        guest.look_up(path);
    }
    let parent = guest.look_up("src").0;
    guest.fs.rename(&Context::default(), parent, c"lib.py", parent, c"mod.py", 0).unwrap();
    std::fs::remove_file(root.join("src/old.py")).unwrap();
    let known = guest.fs.known_changes();
    let known: Vec<_> =
        known.iter().map(|host| (host.change.kind, host.change.path.to_str().unwrap())).collect();
    let expected = [
        (ChangeKind::Changed, "0/src"),
        (ChangeKind::Changed, "0/src/app.py"),
        (ChangeKind::Changed, "0/src/mod.py"),
        (ChangeKind::Removed, "0/src/old.py"),
    ];
    assert_eq!(known, expected);
}

/// A reader that is late by more than the host's queue of events.
#[test]
fn a_flood_of_events_ends_in_a_report_of_everything() {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    std::fs::write(root.join("kept"), "").unwrap();
    let fs = ShareFs::new(vec![share(root, SharePolicy::default())], Limits::default()).unwrap();
    let fs = Arc::new(fs.with_changes());
    let context = Context::default();
    let parent = fs.lookup(&context, ROOT, c"0").unwrap().inode;
    fs.lookup(&context, parent, c"kept").unwrap();
    let flood: Vec<_> = ["one", "two"].map(|name| root.join(name)).to_vec();
    // Equal events that follow each other are one.
    for n in 0..=limit {
        std::fs::write(&flood[n % 2], "").unwrap();
    }
    let (sender, reports) = channel();
    std::thread::spawn(move || {
        fs.report_changes(|changes| {
            for host in changes {
                let _ = sender.send(host.change.clone());
            }
            Ok(())
        })
    });
    let next = || reports.recv_timeout(PATIENCE).expect("no report");
    assert_eq!(next(), Change { kind: ChangeKind::Everything, path: PathBuf::new() });
    assert_eq!(next(), Change { kind: ChangeKind::Changed, path: PathBuf::from("0/kept") });
    // Later changes are reported one by one again.
    std::fs::write(root.join("kept"), "later").unwrap();
    assert_eq!(next(), Change { kind: ChangeKind::Changed, path: PathBuf::from("0/kept") });
}

#[test]
fn reports_wait_for_a_slow_supervisor() {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let (ours, theirs): (OwnedFd, OwnedFd) = pair;
    let reporter = Reporter::new(theirs);
    let change = |kind, path: &str| Change { kind, path: PathBuf::from(path) };
    let changed = change(ChangeKind::Changed, "0/src/app.py");
    let removed = change(ChangeKind::Removed, "1");
    let too_long = change(ChangeKind::Changed, &"0/directory".repeat(1000));
    reporter.report([&changed, &removed, &too_long].into_iter()).unwrap();
    assert_eq!(receive_change(&ours).unwrap(), Some(changed.clone()));
    assert_eq!(receive_change(&ours).unwrap(), Some(removed));
    assert_eq!(receive_change(&ours).unwrap(), Some(change(ChangeKind::Everything, "")));
    // More than the socket holds.
    const MORE: usize = 10_000;
    let sent = changed.clone();
    let sender = std::thread::spawn(move || {
        reporter.report(std::iter::repeat_n(&sent, MORE)).unwrap();
        reporter
    });
    let mut received = 0;
    while received < MORE {
        match receive_change(&ours) {
            Ok(report) => {
                assert_eq!(report.as_ref(), Some(&changed));
                received += 1;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    drop(sender.join().unwrap());
    assert_eq!(receive_change(&ours).unwrap(), None);
}

#[test]
fn reports_end_with_the_supervisor() {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (ours, theirs): (OwnedFd, OwnedFd) = pair;
    drop(ours);
    let change = Change { kind: ChangeKind::Changed, path: PathBuf::from("0") };
    assert!(Reporter::new(theirs).report([&change].into_iter()).is_err());
}

/// agentd raises events with it, also on a read-only mount.
#[test]
fn the_attribute_of_changed_files_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    for read_only in [false, true] {
        let guest = Guest::new(scratch.path(), SharePolicy { read_only, ..SharePolicy::default() });
        let before = guest.stat("").unwrap();
        guest.setxattr("", "user.msb.changed", b"").unwrap();
        let after = guest.stat("").unwrap();
        assert_eq!((before.st_mode, before.st_ctime), (after.st_mode, after.st_ctime));
        assert_eq!(guest.listxattr("").unwrap(), "");
    }
    let names = rustix::fs::listxattr(scratch.path(), &mut [0_u8; 256][..]);
    assert_eq!(names.unwrap(), 0);
}
