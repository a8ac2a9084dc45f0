//! Operations on metadata: owners, permissions, times, attributes and statistics.

use super::{Operation, Place, done};
use crate::system::{STRANGER, as_stranger};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags, fstat, getxattr,
    inotify, listxattr, lsetxattr, open, removexattr, setxattr, utimensat,
};
use std::fs::{self, File, Permissions};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown, lchown};

const EPERM: i32 = 1;
const EOPNOTSUPP: i32 = 95;

pub const OPERATIONS: &[Operation] = &[
    ("chmod", |place| chmod(place, "file", 0o751)),
    ("chmod to set-user-id", |place| chmod(place, "file", 0o4755)),
    ("chmod to nothing", |place| chmod(place, "file", 0o000)),
    ("chmod to read-only, and write as root", |place| {
        chmod(place, "file", 0o666)?;
        fs::write(place.at("file"), "root")?;
        chmod(place, "file", 0o444)
    }),
    ("chmod of the host's file", |place| chmod(place, "host-file", 0o604)),
    ("chmod of a directory", |place| chmod(place, "dir", 0o1770)),
    ("chmod of a directory to set-group-id", |place| chmod(place, "open", 0o2777)),
    ("chmod of the host's directory", |place| chmod(place, "host-dir", 0o1777)),
    ("chmod of a device", |place| chmod(place, "null", 0o600)),
    ("chmod through a link", |place| chmod(place, "link", 0o640)),
    ("chmod of an open file", |place| {
        done(place.open("file")?.set_permissions(Permissions::from_mode(0o611)))
    }),
    ("chmod as another user", |place| as_stranger(|| chmod(place, "file", 0o777))),
    ("chmod as the owner", |place| as_stranger(|| chmod(place, "theirs", 0o600))),
    ("chmod to set-group-id as an owner outside of the group", |place| {
        done(chown(place.at("theirs"), None, Some(50)))?;
        as_stranger(|| chmod(place, "theirs", 0o2755))
    }),
    ("chown", |place| done(chown(place.at("file"), Some(33), Some(34)))),
    ("chown of the user alone", |place| done(chown(place.at("file"), Some(33), None))),
    ("chown of the group alone", |place| done(chown(place.at("file"), None, Some(34)))),
    ("chown of nothing", |place| done(chown(place.at("file"), None, None))),
    ("chown of the host's file", |place| done(chown(place.at("host-file"), Some(33), Some(34)))),
    ("chown of a set-user-id file", |place| done(chown(place.at("program"), Some(33), Some(34)))),
    ("chown of a set-group-id directory", |place| done(chown(place.at("sgid"), Some(33), Some(34)))),
    ("chown of a link", |place| done(lchown(place.at("link"), Some(33), Some(34)))),
    ("chown of the host's link", |place| done(lchown(place.at("host-link"), Some(33), Some(34)))),
    ("chown of a device", |place| done(chown(place.at("null"), Some(33), Some(34)))),
    ("chown of an open file", |place| done(fchown(place.open("file")?, Some(33), Some(34)))),
    ("chown as another user", |place| as_stranger(|| done(chown(place.at("file"), Some(STRANGER.0), None)))),
    ("chown to another user as the owner", |place| {
        as_stranger(|| done(chown(place.at("theirs"), Some(33), None)))
    }),
    ("chown to the largest id", |place| {
        done(chown(place.at("file"), Some(u32::MAX - 1), Some(u32::MAX - 1)))
    }),
    ("utimens", |place| utimens(place, "file", (10, 20), AtFlags::empty())),
    ("utimens before 1970", |place| utimens(place, "file", (-10, -20), AtFlags::empty())),
    ("utimens of a link", |place| utimens(place, "link", (10, 20), AtFlags::SYMLINK_NOFOLLOW)),
    ("utimens of the host's link", |place| utimens(place, "host-link", (10, 20), AtFlags::SYMLINK_NOFOLLOW)),
    ("utimens of a directory", |place| utimens(place, "dir", (10, 20), AtFlags::empty())),
    ("utimens as another user", |place| as_stranger(|| utimens(place, "file", (10, 20), AtFlags::empty()))),
    ("utimens of one time, and nanoseconds", |place| {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 1_700_000_000, tv_nsec: 123_456_789 },
        };
        utimensat(CWD, place.at("file"), &times, AtFlags::empty())?;
        let stat = fs::metadata(place.at("file"))?;
        Ok(format!("{}.{} {}", stat.mtime(), stat.mtime_nsec(), stat.atime() > 1_000_000_000))
    }),
    ("utimens to now as another user who may write", |place| {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        as_stranger(|| done(utimensat(CWD, place.at("theirs"), &times, AtFlags::empty())))
    }),
    ("access as another user", |place| {
        let may = |name| as_stranger(|| File::open(place.at(name)).is_ok());
        Ok(["file", "host-file", "theirs"].map(may).map(|may| may.to_string()).join(" "))
    }),
    ("set an attribute", |place| {
        setxattr(place.at("file"), "user.color", b"red", XattrFlags::empty())?;
        let mut value = [0; 10];
        let length = getxattr(place.at("file"), "user.color", &mut value[..])?;
        Ok(format!("{} {}", value[..length].escape_ascii(), listed(place, "file")?))
    }),
    ("set an attribute that exists", |place| {
        setxattr(place.at("file"), "user.color", b"red", XattrFlags::CREATE)?;
        done(setxattr(place.at("file"), "user.color", b"blue", XattrFlags::CREATE))
    }),
    ("replace a missing attribute", |place| {
        done(setxattr(place.at("file"), "user.color", b"red", XattrFlags::REPLACE))
    }),
    ("set an attribute of a directory", |place| set(place, "dir", "user.color", b"red")),
    ("set an attribute of the host's file", |place| set(place, "host-file", "user.color", b"red")),
    ("set an attribute of a device", |place| set(place, "null", "user.color", b"red")),
    ("set an attribute of a link", |place| {
        done(lsetxattr(place.at("link"), "user.color", b"red", XattrFlags::empty()))
    }),
    ("set an attribute as another user", |place| as_stranger(|| set(place, "file", "user.color", b"red"))),
    ("set an attribute of 2000 bytes", |place| {
        set(place, "file", "user.long", &[b'x'; 2000])?;
        let mut value = [0; 3000];
        Ok(getxattr(place.at("file"), "user.long", &mut value[..])?.to_string())
    }),
    ("set the attribute of the policies", |place| set(place, "file", "user.msb.override_stat", &[1; 20])),
    ("set a hidden attribute", |place| set(place, "file", "user.msb.x", b"x")),
    ("set a capability", |place| {
        set(place, "file", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
    }),
    ("set a trusted attribute", |place| {
        // Under libkrun the host's kernel refuses it first: the process of the machine is not privileged enough.
        let refused = |error: io::Error| match error.raw_os_error() {
            Some(EPERM) => io::Error::from_raw_os_error(EOPNOTSUPP),
            _ => error,
        };
        set(place, "file", "trusted.overlay.opaque", b"y").map_err(refused)
    }),
    ("set a label", |place| set(place, "file", "security.selinux", b"x")),
    ("set an access control list", |place| set(place, "file", "system.posix_acl_access", &[2, 0, 0, 0])),
    ("get the attribute of the policies", |place| {
        done(getxattr(place.at("file"), "user.msb.override_stat", &mut [0; 64][..]))
    }),
    ("get a missing attribute", |place| done(getxattr(place.at("file"), "user.color", &mut [0; 64][..]))),
    ("get an attribute that is longer", |place| {
        set(place, "file", "user.color", b"red")?;
        done(getxattr(place.at("file"), "user.color", &mut [0; 2][..]))
    }),
    ("list attributes", |place| {
        Ok(["file", "dir", "host-file", "program"]
            .map(|name| listed(place, name))
            .into_iter()
            .collect::<io::Result<Vec<_>>>()?
            .join("|"))
    }),
    ("remove an attribute", |place| {
        set(place, "file", "user.color", b"red")?;
        removexattr(place.at("file"), "user.color")?;
        listed(place, "file")
    }),
    ("remove a missing attribute", |place| done(removexattr(place.at("file"), "user.color"))),
    ("remove the attribute of the policies", |place| {
        done(removexattr(place.at("file"), "user.msb.override_stat"))
    }),
    ("statistics of the file system", |place| {
        let found = rustix::fs::statvfs(&place.0)?;
        Ok(format!("{} {} {}", found.f_namemax, found.f_blocks > 0, found.f_bavail <= found.f_blocks))
    }),
    ("the flags of a file", |place| done(rustix::fs::ioctl_getflags(place.open("file")?))),
    ("open a path only, and stat it", |place| {
        let file = open(place.at("link"), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(format!("{:o}", fstat(file)?.st_mode & 0o170_000))
    }),
    ("numbers of files", |place| {
        fs::hard_link(place.at("file"), place.at("new"))?;
        let number = |name: &str| fs::symlink_metadata(place.at(name)).map(|stat| stat.ino());
        let (file, new, link) = (number("file")?, number("new")?, number("link")?);
        Ok(format!("{} {}", file == new, file == link))
    }),
    ("watch a file, and write to it", |place| {
        let watcher = inotify::init(inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watcher, place.at("file"), inotify::WatchFlags::MODIFY)?;
        fs::write(place.at("file"), "seen")?;
        let mut buffer = [MaybeUninit::uninit(); 512];
        let mut events = inotify::Reader::new(&watcher, &mut buffer);
        Ok(events.next()?.events().contains(inotify::ReadFlags::MODIFY).to_string())
    }),
];

fn chmod(place: &Place, name: &str, mode: u32) -> io::Result<String> {
    done(fs::set_permissions(place.at(name), Permissions::from_mode(mode)))
}

fn utimens(place: &Place, name: &str, seconds: (i64, i64), flags: AtFlags) -> io::Result<String> {
    let time = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
    let times = Timestamps { last_access: time(seconds.0), last_modification: time(seconds.1) };
    done(utimensat(CWD, place.at(name), &times, flags))
}

fn set(place: &Place, name: &str, attribute: &str, value: &[u8]) -> io::Result<String> {
    done(setxattr(place.at(name), attribute, value, XattrFlags::empty()))
}

fn listed(place: &Place, name: &str) -> io::Result<String> {
    let mut names = [0; 1000];
    let length = listxattr(place.at(name), &mut names[..])?;
    let names = String::from_utf8_lossy(&names[..length]).replace('\0', " ");
    Ok(names.trim_end().to_owned())
}
