//! Attempts to reach files of the host that are outside of the share.

use super::guest::{Guest, c, errno, no_attributes, share};
use crate::fs::{ROOT, ShareFs};
use crate::{Limits, SharePolicy};
use fuse_backend_rs::api::filesystem::{FileSystem, SetattrValid};
use rules::mount_text::StatVirt;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file outside of the share, which no test may reach.
struct Canary {
    folder: PathBuf,
    before: (u64, i64, i64),
}

impl Canary {
    fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("name"), "canary").unwrap();
        let before = Self::state(&folder);
        Self { folder, before }
    }

    fn state(folder: &Path) -> (u64, i64, i64) {
        let stat = fs::metadata(folder.join("name")).unwrap();
        (stat.size(), stat.mtime_nsec(), stat.ctime_nsec())
    }

    fn check(&self) {
        assert_eq!(fs::read(self.folder.join("name")).unwrap(), b"canary");
        assert_eq!(Self::state(&self.folder), self.before);
        assert_eq!(fs::read_dir(&self.folder).unwrap().count(), 1, "a file was added");
    }
}

#[test]
fn directories_that_become_links_do_not_lead_out() {
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path().join("share");
    fs::create_dir_all(inside.join("swapped")).unwrap();
    fs::write(inside.join("swapped/name"), "inside").unwrap();
    let canary = Canary::new(scratch.path().join("outside"));
    symlink("../outside", inside.join("link")).unwrap();
    let guest = Guest::new(&inside, SharePolicy { stat_virt: StatVirt::Off, ..SharePolicy::default() });
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (inside, done) = (&inside, &done);
        scope.spawn(move || {
            let (first, second) = (inside.join("swapped"), inside.join("link"));
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &first, CWD, &second, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let (mut read, mut refused) = (0, 0);
        for round in 0..20_000 {
            for path in ["swapped/name", "link/name"] {
                match guest.read(path) {
                    Ok(bytes) => {
                        assert_eq!(bytes, b"inside");
                        read += 1;
                    }
                    Err(libc::ENOTDIR | libc::ENOENT | libc::ELOOP | libc::ESTALE) => refused += 1,
                    Err(other) => panic!("errno {other}"),
                }
            }
            if round % 100 == 0 {
                let _ = guest.write("swapped/new", b"new");
                let _ = guest.chmod("swapped/name", 0o600);
                let _ = guest.unlink("swapped/new");
                let _ = guest.rename("swapped/new", "link/new", 0);
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(read > 0 && refused > 0, "{read} were read, {refused} refused: nothing was swapped");
    });
    canary.check();
}

#[test]
fn names_are_single_components() {
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path().join("share");
    fs::create_dir_all(inside.join("dir")).unwrap();
    let canary = Canary::new(scratch.path().join("outside"));
    let guest = Guest::new(&inside, SharePolicy::default());
    let directory = guest.walk("dir").unwrap();
    let root = guest.walk("").unwrap();
    let context = &guest.context;
    let long = "x".repeat(300);
    let names =
        [".", "..", "../outside", "/etc", "dir/../../outside/name", "../../outside/name", "", "a/b", &long];
    for name in names {
        let name = &c(name);
        for parent in [ROOT, root, directory] {
            assert!(guest.fs.lookup(context, parent, name).is_err(), "{name:?}");
            assert!(guest.fs.mkdir(context, parent, name, 0o755, 0).is_err(), "{name:?}");
            assert!(guest.fs.mknod(context, parent, name, 0o644, 0, 0).is_err(), "{name:?}");
            assert!(guest.fs.symlink(context, c"x", parent, name).is_err(), "{name:?}");
            assert!(guest.fs.unlink(context, parent, name).is_err(), "{name:?}");
            assert!(guest.fs.rmdir(context, parent, name).is_err(), "{name:?}");
            assert!(guest.fs.link(context, directory, parent, name).is_err(), "{name:?}");
            assert!(guest.fs.rename(context, root, c"dir", parent, name, 0).is_err(), "{name:?}");
            assert!(guest.fs.rename(context, parent, name, root, c"new", 0).is_err(), "{name:?}");
        }
    }
    canary.check();
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
}

#[test]
fn links_of_the_host_are_read_and_never_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path().join("share");
    fs::create_dir(&inside).unwrap();
    let canary = Canary::new(scratch.path().join("outside"));
    symlink("../outside/name", inside.join("link")).unwrap();
    for stat_virt in StatVirt::ALL {
        let guest = Guest::new(&inside, SharePolicy { stat_virt: *stat_virt, ..SharePolicy::default() });
        assert_eq!(guest.readlink("link").unwrap(), "../outside/name");
        assert_eq!(guest.open("link", libc::O_RDWR).unwrap_err(), libc::ELOOP);
        assert_eq!(guest.truncate("link", 0).unwrap_err(), libc::EINVAL);
        assert_eq!(guest.create("link", libc::O_RDWR, 0o600).unwrap_err(), libc::ELOOP);
        guest.utimens("link", 1, 2).unwrap();
        let _ = guest.chmod("link", 0o777);
        let _ = guest.setxattr("link", "user.x", b"x");
        guest.link("link", "second").unwrap();
        assert_eq!(guest.readlink("second").unwrap(), "../outside/name");
        guest.unlink("second").unwrap();
        canary.check();
    }
}

#[test]
fn an_unlinked_file_stays_open_and_has_no_way_back() {
    let scratch = tempfile::tempdir().unwrap();
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    guest.write("file", b"data").unwrap();
    let open = guest.open("file", libc::O_RDWR).unwrap();
    guest.unlink("file").unwrap();
    assert_eq!(guest.read_at(open, 10, 0).unwrap(), b"data");
    assert_eq!(guest.write_at(open, b"more", 4, 0).unwrap(), 4);
    assert_eq!(guest.stat("file").unwrap_err(), libc::ENOENT);
    let link =
        guest.with_parent("new", |parent, name| guest.fs.link(&guest.context, open.inode, parent, &name));
    assert!(link.is_err(), "a file without a name got one");
    guest.close(open);
    assert_eq!(guest.fs.inodes.usage(), (1, 1));
}

#[test]
fn shares_do_not_reach_each_other() {
    let scratch = tempfile::tempdir().unwrap();
    let folders = ["first", "second"].map(|name| scratch.path().join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "data").unwrap();
    }
    let read_only = SharePolicy { read_only: true, ..SharePolicy::default() };
    // The same directory under two policies is two directories.
    let shares = vec![
        share(&folders[0], SharePolicy::default()),
        share(&folders[1], SharePolicy::default()),
        share(&folders[0], read_only),
    ];
    let fs = ShareFs::new(shares, Limits::default()).unwrap();
    let context = &fuse_backend_rs::api::filesystem::Context::new();
    let roots = [c"0", c"1", c"2"].map(|name| fs.lookup(context, ROOT, name).unwrap().inode);
    let files = roots.map(|root| fs.lookup(context, root, c"file").unwrap());
    let link = |inode, parent| errno(fs.link(context, inode, parent, c"new"));
    assert_eq!(link(files[0].inode, roots[1]).unwrap_err(), libc::EXDEV);
    assert_eq!(link(files[2].inode, roots[0]).unwrap_err(), libc::EXDEV);
    let renamed = errno(fs.rename(context, roots[0], c"file", roots[1], c"new", 0));
    assert_eq!(renamed.unwrap_err(), libc::EXDEV);
    assert_ne!(files[0].inode, files[2].inode);
    assert_ne!(files[0].attr.st_ino, files[2].attr.st_ino);
    let open = errno(fs.open(context, files[2].inode, libc::O_RDWR.cast_unsigned(), 0));
    assert_eq!(open.unwrap_err(), libc::EROFS);
    let size = errno(fs.setattr(context, files[2].inode, no_attributes(), None, SetattrValid::SIZE));
    assert_eq!(size.unwrap_err(), libc::EROFS);
    for name in [c"3", c"00", c"+1", c"-1", c"1 ", c"", c"99999999999999999999"] {
        assert_eq!(errno(fs.lookup(context, ROOT, name)).unwrap_err(), libc::ENOENT, "{name:?}");
    }
    // The synthetic root cannot be changed.
    assert_eq!(errno(fs.mkdir(context, ROOT, c"new", 0o755, 0)).unwrap_err(), libc::EROFS);
    assert_eq!(errno(fs.unlink(context, ROOT, c"0")).unwrap_err(), libc::EROFS);
    assert_eq!(
        errno(fs.setattr(context, ROOT, no_attributes(), None, SetattrValid::MODE)).unwrap_err(),
        libc::EROFS
    );
}

#[test]
fn special_files_of_the_host_are_not_opened() {
    let scratch = tempfile::tempdir().unwrap();
    let pipe = scratch.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(scratch.path().join("socket")).unwrap();
    for stat_virt in StatVirt::ALL {
        let guest =
            Guest::new(scratch.path(), SharePolicy { stat_virt: *stat_virt, ..SharePolicy::default() });
        for (name, kind) in [("pipe", libc::S_IFIFO), ("socket", libc::S_IFSOCK)] {
            assert_eq!(guest.stat(name).unwrap().st_mode & libc::S_IFMT, kind);
            for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR] {
                assert_eq!(guest.open(name, flags).unwrap_err(), libc::ENXIO);
            }
            assert_eq!(guest.truncate(name, 0).unwrap_err(), libc::EINVAL);
        }
    }
}
