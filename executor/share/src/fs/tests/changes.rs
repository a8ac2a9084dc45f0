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
    assert_eq!((entry, attributes), (WATCHED_CACHE_TIME, CACHE_TIME));
    // Nothing is watched where nobody is told.
    let silent = Guest::new(scratch.path(), SharePolicy::default());
    let parent = silent.walk("").unwrap();
    let entry = silent.fs.lookup(&silent.context, parent, c"two").unwrap();
    assert_eq!((entry.entry_timeout, entry.attr_timeout), (CACHE_TIME, CACHE_TIME));
}

#[test]
fn reports_survive_their_way_and_losses_are_told() {
    let flags = SocketFlags::CLOEXEC;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let (ours, theirs): (OwnedFd, OwnedFd) = pair;
    let mut reporter = Reporter::new(theirs);
    let change = |kind, path: &str| Change { kind, path: PathBuf::from(path) };
    let changed = change(ChangeKind::Changed, "0/src/app.py");
    let removed = change(ChangeKind::Removed, "1");
    reporter.report([&changed, &removed].into_iter());
    assert_eq!(receive_change(&ours).unwrap(), Some(changed.clone()));
    assert_eq!(receive_change(&ours).unwrap(), Some(removed));
    // More than the socket holds.
    for _ in 0..10_000 {
        reporter.report([&changed].into_iter());
    }
    let mut kept = 0;
    while receive_change(&ours).is_ok_and(|report| report.is_some()) {
        kept += 1;
    }
    assert!((1..10_000).contains(&kept), "{kept}");
    reporter.report([&changed].into_iter());
    let everything = change(ChangeKind::Everything, "");
    assert_eq!(receive_change(&ours).unwrap(), Some(everything));
    assert_eq!(receive_change(&ours).unwrap(), Some(changed));
    drop(reporter);
    assert_eq!(receive_change(&ours).unwrap(), None);
}
