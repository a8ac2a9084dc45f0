//! What policies decide that the matrix does not show.

use super::guest::{Guest, share};
use crate::fs::{ShareFs, check_attributes};
use crate::stat_override::{self, StatOverride};
use crate::{Limits, Owner, ShareError, SharePolicy};
use fuse_backend_rs::api::filesystem::{Context, FileSystem};
use rules::mount_text::{HostPerms, StatVirt};
use rustix::fs::{Gid, Uid, XattrFlags, chown, setxattr};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn policy(stat_virt: StatVirt) -> SharePolicy {
    SharePolicy { stat_virt, ..SharePolicy::default() }
}

#[test]
fn files_without_an_override_have_the_presented_owner() {
    let scratch = tempfile::tempdir().unwrap();
    let own = scratch.path().join("own");
    fs::write(&own, "").unwrap();
    let user = fs::metadata(&own).unwrap();
    let owner = |policy| {
        let stat = Guest::new(scratch.path(), policy).stat("own").unwrap();
        (stat.st_uid, stat.st_gid)
    };
    let presented = Some(Owner { uid: 7, gid: 8 });
    assert_eq!(owner(policy(StatVirt::Strict)), (0, 0));
    assert_eq!(owner(policy(StatVirt::Relaxed)), (0, 0));
    assert_eq!(owner(policy(StatVirt::Off)), (user.uid(), user.gid()));
    for stat_virt in StatVirt::ALL {
        assert_eq!(owner(SharePolicy { owner: presented, ..policy(*stat_virt) }), (7, 8));
    }
    // What the guest has set counts more.
    let guest = Guest::new(scratch.path(), SharePolicy { owner: presented, ..SharePolicy::default() });
    guest.chown("own", 33, 34).unwrap();
    assert_eq!(owner(SharePolicy { owner: presented, ..SharePolicy::default() }), (33, 34));
}

#[test]
fn files_of_other_users_keep_their_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let foreign = scratch.path().join("foreign");
    fs::write(&foreign, "").unwrap();
    chown(&foreign, Some(Uid::from_raw(1234)), Some(Gid::from_raw(1235))).unwrap();
    for stat_virt in StatVirt::ALL {
        let presented = SharePolicy { owner: Some(Owner { uid: 7, gid: 8 }), ..policy(*stat_virt) };
        for policy in [policy(*stat_virt), presented] {
            let stat = Guest::new(scratch.path(), policy).stat("foreign").unwrap();
            assert_eq!((stat.st_uid, stat.st_gid), (1234, 1235), "{policy:?}");
        }
    }
}

#[test]
fn malformed_overrides_are_ignored() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "data").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let mut newer = StatOverride { uid: 1, gid: 1, mode: libc::S_IFCHR, rdev: 1 }.to_bytes();
    newer[0] = 2;
    for value in [&b""[..], b"x", &[0; 20], &[1; 21], &[1; 1000], &newer] {
        setxattr(&file, stat_override::NAME, value, XattrFlags::empty()).unwrap();
        let guest = Guest::new(scratch.path(), SharePolicy::default());
        let stat = guest.stat("file").unwrap();
        assert_eq!((stat.st_mode, stat.st_uid, stat.st_size), (libc::S_IFREG | 0o640, 0, 4), "{value:?}");
    }
    // A directory stays one, and a file does not become one.
    let directory = scratch.path().join("directory");
    fs::create_dir(&directory).unwrap();
    for (path, kind) in [(&directory, libc::S_IFCHR), (&file, libc::S_IFDIR), (&file, libc::S_IFMT)] {
        let value = StatOverride { uid: 1, gid: 2, mode: kind | 0o711, rdev: 3 }.to_bytes();
        setxattr(path, stat_override::NAME, &value, XattrFlags::empty()).unwrap();
    }
    let guest = Guest::new(scratch.path(), SharePolicy::default());
    assert_eq!(guest.stat("directory").unwrap().st_mode, libc::S_IFDIR | 0o711);
    assert_eq!(guest.stat("file").unwrap().st_mode, libc::S_IFREG | 0o711);
    assert_eq!(guest.list("").unwrap(), [("directory".to_owned(), 4), ("file".to_owned(), 8)]);
}

#[test]
fn programs_of_the_host_lose_their_privileges_when_the_guest_writes_them() {
    for stat_virt in StatVirt::ALL {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("program");
        for truncates in [false, true] {
            fs::write(&program, "").unwrap();
            fs::set_permissions(&program, PermissionsExt::from_mode(0o6755)).unwrap();
            let guest = Guest::new(scratch.path(), policy(*stat_virt));
            // A reader changes nothing.
            guest.read("program").unwrap();
            assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o6755);
            if truncates {
                guest.truncate("program", 1).unwrap();
            } else {
                let open = guest.open("program", libc::O_WRONLY).unwrap();
                guest.close(open);
            }
            assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o755);
        }
        // And get none by any means.
        let guest =
            Guest::new(scratch.path(), SharePolicy { host_perms: HostPerms::Mirror, ..policy(*stat_virt) });
        guest.chmod("program", 0o6777).unwrap();
        guest.mkdir("dir", 0o7777).unwrap();
        let open = guest.create("new", libc::O_RDWR, 0o6777).unwrap();
        guest.close(open);
        for name in ["program", "new", "dir"] {
            assert_eq!(fs::metadata(scratch.path().join(name)).unwrap().mode() & 0o6000, 0, "{name}");
        }
    }
}

#[test]
fn a_share_is_a_directory_or_a_regular_file() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "data").unwrap();
    let fs = ShareFs::new(vec![share(&file, SharePolicy::default())], Limits::default()).unwrap();
    let guest = Guest { fs, context: Context::new() };
    assert_eq!(guest.read("").unwrap(), b"data");
    guest.chmod("", 0o4711).unwrap();
    assert_eq!(guest.stat("").unwrap().st_mode, libc::S_IFREG | 0o4711);
    assert_eq!(guest.stat("x").unwrap_err(), libc::ENOTDIR);
    assert_eq!(guest.mkdir("x", 0o755).unwrap_err(), libc::ENOTDIR);
    let open = guest.open("", libc::O_WRONLY | libc::O_TRUNC).unwrap();
    guest.write_at(open, b"new", 0, 0).unwrap();
    guest.close(open);
    assert_eq!(fs::read(&file).unwrap(), b"new");
    let mut entries = Vec::new();
    let (handle, _) = guest.fs.opendir(&guest.context, crate::fs::ROOT, 0).unwrap();
    guest
        .fs
        .readdir(&guest.context, crate::fs::ROOT, handle.unwrap(), 4096, 0, &mut |entry| {
            entries.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.type_));
            Ok(1)
        })
        .unwrap();
    assert_eq!(entries, [(".".to_owned(), 4), ("..".to_owned(), 4), ("0".to_owned(), 8)]);
    let device = share(std::path::Path::new("/dev/null"), SharePolicy::default());
    assert!(matches!(ShareFs::new(vec![device], Limits::default()), Err(ShareError::Kind { .. })));
}

#[test]
fn attributes_are_probed() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = fs::File::open(scratch.path()).unwrap();
    check_attributes(&directory, false).unwrap();
    check_attributes(&directory, true).unwrap();
    let guest = Guest::new(scratch.path(), policy(StatVirt::Off));
    assert_eq!(guest.listxattr("").unwrap(), "", "the probe is left");
    let without = fs::File::open("/proc/self/attr").unwrap();
    assert!(check_attributes(&without, false).is_err());
    assert!(check_attributes(&without, true).is_err());
}
