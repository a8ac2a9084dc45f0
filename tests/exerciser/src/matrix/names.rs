//! Operations on names: creating, linking, renaming and removing.

use super::{Operation, Place, done};
use crate::system::as_stranger;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, linkat, mkdir, mknodat, open, openat, renameat_with,
    symlink, unlinkat,
};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

pub const OPERATIONS: &[Operation] = &[
    ("create a file", |place| done(create(&place.at("new"), 0o640))),
    ("create a file with a mask", |place| {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        let created = create(&place.at("new"), 0o666);
        rustix::process::umask(mask);
        done(created)
    }),
    ("create a file that is read-only at once", |place| done(create(&place.at("new"), 0o444))),
    ("create a set-user-id file", |place| {
        // The write takes no rights away from a file of root.
        done(create(&place.at("new"), 0o4755))
    }),
    ("create a file in a set-group-id directory", |place| done(create(&place.at("sgid/new"), 0o644))),
    ("create a file that exists", |place| {
        done(File::options().write(true).create(true).truncate(false).open(place.at("file")))
    }),
    ("create a file that exists, exclusively", |place| {
        done(File::options().write(true).create_new(true).open(place.at("file")))
    }),
    ("create the file that the host's link names", |place| {
        done(File::options().write(true).create(true).truncate(false).open(place.at("host-link")))
    }),
    ("create a file in a file", |place| done(create(&place.at("file/new"), 0o644))),
    ("create a file as another user", |place| done(as_stranger(|| create(&place.at("new"), 0o644)))),
    ("create a file as another user in a directory of all", |place| {
        done(as_stranger(|| create(&place.at("open/new"), 0o644)))
    }),
    ("create a file without a name", |place| {
        done(open(place.at(""), OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR | Mode::WUSR))
    }),
    ("a name of 255 bytes", |place| done(create(&place.at(&"n".repeat(255)), 0o644))),
    ("a name of 256 bytes", |place| done(create(&place.at(&"n".repeat(256)), 0o644))),
    ("a name that is not text", |place| done(create(&place.0.join(OsStr::from_bytes(b"\xff \n\"'")), 0o644))),
    ("a directory of 12 levels", |place| {
        fs::create_dir_all(place.at("a/b/c/d/e/f/g/h/i/j/k/l"))?;
        done(create(&place.at("a/b/c/d/e/f/g/h/i/j/k/l/new"), 0o644))
    }),
    ("mkdir", |place| done(mkdir(place.at("new"), Mode::from_raw_mode(0o777)))),
    ("mkdir with the sticky bit", |place| done(mkdir(place.at("new"), Mode::from_raw_mode(0o1755)))),
    ("mkdir in a set-group-id directory", |place| {
        done(mkdir(place.at("sgid/new"), Mode::from_raw_mode(0o755)))
    }),
    ("mkdir that exists", |place| done(mkdir(place.at("dir"), Mode::from_raw_mode(0o755)))),
    ("mknod of a file", |place| done(node(place, FileType::RegularFile, 0))),
    ("mknod of a character device, and read it", |place| {
        node(place, FileType::CharacterDevice, rustix::fs::makedev(1, 5))?;
        let mut zeros = [1; 3];
        File::open(place.at("new"))?.read_exact(&mut zeros)?;
        Ok(format!("{zeros:?}"))
    }),
    ("mknod of a character device as another user", |place| {
        as_stranger(|| {
            done(mknodat(CWD, place.at("open/new"), FileType::CharacterDevice, Mode::RUSR, 0x0103))
        })
    }),
    ("mknod of a whiteout", |place| done(node(place, FileType::CharacterDevice, 0))),
    ("mknod of a block device", |place| {
        done(node(place, FileType::BlockDevice, rustix::fs::makedev(253, 0)))
    }),
    ("write to a device that was there", |place| done(place.open("null")?.write_all(b"gone"))),
    ("mkfifo, and write through it", |place| {
        node(place, FileType::Fifo, 0)?;
        let mut pipe = File::options().read(true).write(true).open(place.at("new"))?;
        pipe.write_all(b"piped")?;
        let mut bytes = [0; 5];
        pipe.read_exact(&mut bytes)?;
        Ok(bytes.escape_ascii().to_string())
    }),
    ("a socket, and connect to it", |place| {
        let listener = UnixListener::bind(place.at("new"))?;
        UnixStream::connect(place.at("new"))?.write_all(b"sent")?;
        let mut text = String::new();
        listener.accept()?.0.read_to_string(&mut text)?;
        Ok(text)
    }),
    ("symlink, and read through it", |place| {
        symlink("file", place.at("new"))?;
        place.text("new")
    }),
    ("symlink to a directory, and create through it", |place| {
        symlink("dir", place.at("new"))?;
        done(create(&place.at("new/created"), 0o644))
    }),
    ("symlink to a file that does not exist", |place| {
        symlink("/nowhere/at/all", place.at("new"))?;
        place.text("new")
    }),
    ("symlink to itself", |place| {
        symlink("new", place.at("new"))?;
        place.text("new")
    }),
    ("symlink of 4095 bytes", |place| done(symlink("x/".repeat(2047) + "x", place.at("new")))),
    ("symlink that exists", |place| done(symlink("x", place.at("file")))),
    ("read the host's link", |place| Ok(fs::read_link(place.at("host-link"))?.display().to_string())),
    ("link", |place| done(fs::hard_link(place.at("file"), place.at("new")))),
    ("link to another directory, and write through it", |place| {
        fs::hard_link(place.at("file"), place.at("dir/new"))?;
        fs::write(place.at("dir/new"), "more")?;
        place.text("file")
    }),
    ("link of a link", |place| done(fs::hard_link(place.at("link"), place.at("new")))),
    ("link of the host's link", |place| done(fs::hard_link(place.at("host-link"), place.at("new")))),
    ("link of a device", |place| done(fs::hard_link(place.at("null"), place.at("new")))),
    ("link of a directory", |place| done(fs::hard_link(place.at("dir"), place.at("new")))),
    ("link that exists", |place| done(fs::hard_link(place.at("file"), place.at("program")))),
    ("link of an open file", |place| {
        let file = place.open("file")?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        done(linkat(CWD, path, CWD, place.at("new"), AtFlags::SYMLINK_FOLLOW))
    }),
    ("rename", |place| done(fs::rename(place.at("file"), place.at("dir/new")))),
    ("rename over a file", |place| done(fs::rename(place.at("file"), place.at("program")))),
    ("rename over another link of the file", |place| {
        fs::hard_link(place.at("file"), place.at("new"))?;
        done(fs::rename(place.at("file"), place.at("new")))
    }),
    ("rename over a directory", |place| done(fs::rename(place.at("file"), place.at("dir")))),
    ("rename a directory", |place| {
        fs::rename(place.at("dir"), place.at("sgid/new"))?;
        place.text("sgid/new/inner")
    }),
    ("rename a directory over an empty one", |place| done(fs::rename(place.at("dir"), place.at("open")))),
    ("rename a directory over one with files", |place| done(fs::rename(place.at("sgid"), place.at("dir")))),
    ("rename a directory into itself", |place| done(fs::rename(place.at("dir"), place.at("dir/new")))),
    ("rename a link", |place| done(fs::rename(place.at("link"), place.at("new")))),
    ("rename a device", |place| done(fs::rename(place.at("null"), place.at("new")))),
    ("rename without replacing", |place| rename(place, "file", "program", RenameFlags::NOREPLACE)),
    ("rename as an exchange", |place| rename(place, "file", "dir", RenameFlags::EXCHANGE)),
    ("rename with a whiteout", |place| rename(place, "file", "new", RenameFlags::WHITEOUT)),
    ("rename an open file, and write to it", |place| {
        let mut file = place.open("file")?;
        fs::rename(place.at("file"), place.at("new"))?;
        file.write_all(b"D")?;
        place.text("new")
    }),
    ("rename as another user", |place| as_stranger(|| done(fs::rename(place.at("theirs"), place.at("new"))))),
    ("unlink", |place| done(fs::remove_file(place.at("file")))),
    ("unlink a link", |place| done(fs::remove_file(place.at("link")))),
    ("unlink a device", |place| done(fs::remove_file(place.at("null")))),
    ("unlink the host's files", |place| {
        fs::remove_file(place.at("host-file"))?;
        done(fs::remove_file(place.at("host-link")))
    }),
    ("unlink a directory", |place| done(unlinkat(CWD, place.at("dir"), AtFlags::empty()))),
    ("unlink as another user", |place| as_stranger(|| done(fs::remove_file(place.at("theirs"))))),
    ("unlink a file of others in a sticky directory", |place| {
        create(&place.at("open/new"), 0o666)?;
        fs::set_permissions(place.at("open"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
        as_stranger(|| done(fs::remove_file(place.at("open/new"))))
    }),
    ("unlink an open file, write and read it", |place| {
        let mut file = place.open("file")?;
        fs::remove_file(place.at("file"))?;
        file.write_all(b"DATA and more")?;
        let stat = file.metadata()?;
        let mut bytes = [0; 13];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
        Ok(format!("{} {} {}", bytes.escape_ascii(), stat.nlink(), stat.size()))
    }),
    ("unlink an open file, and change its mode", |place| {
        let file = place.open("file")?;
        fs::remove_file(place.at("file"))?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o611))?;
        file.set_len(2)?;
        let stat = file.metadata()?;
        Ok(format!("{:o} {}", stat.mode() & 0o7777, stat.size()))
    }),
    ("rmdir", |place| done(fs::remove_dir(place.at("open")))),
    ("rmdir of the host's directory", |place| done(fs::remove_dir(place.at("host-dir")))),
    ("rmdir with files in it", |place| done(fs::remove_dir(place.at("dir")))),
    ("rmdir of a file", |place| done(fs::remove_dir(place.at("file")))),
    ("create a file in a removed directory", |place| {
        let directory = open(place.at("open"), OFlags::DIRECTORY, Mode::empty())?;
        fs::remove_dir(place.at("open"))?;
        done(openat(&directory, "new", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR))
    }),
    ("remove a tree", |place| done(fs::remove_dir_all(place.at("dir")))),
    ("list a directory while its files are removed", |place| {
        (0..300).try_for_each(|number| create(&place.at(&format!("open/{number}")), 0o600))?;
        let mut removed = 0;
        for entry in fs::read_dir(place.at("open"))? {
            fs::remove_file(entry?.path())?;
            removed += 1;
        }
        Ok(format!("{removed} removed, {} left", fs::read_dir(place.at("open"))?.count()))
    }),
    ("list the kinds of entries", |place| {
        let mut kinds = Vec::new();
        for entry in fs::read_dir(&place.0)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let special = if kind.is_symlink() {
                "link"
            } else if kind.is_char_device() {
                "device"
            } else {
                continue;
            };
            kinds.push(format!("{} {special}", entry.file_name().display()));
        }
        kinds.sort();
        Ok(kinds.join(", "))
    }),
    ("the parent of a directory", |place| {
        let inner = fs::metadata(place.at("dir/.."))?;
        Ok(format!("{}", inner.ino() == fs::metadata(&place.0)?.ino()))
    }),
    ("look a missing name up, create it, and look again", |place| {
        let missing = fs::metadata(place.at("new")).is_err();
        create(&place.at("new"), 0o644)?;
        Ok(format!("{missing} {}", fs::metadata(place.at("new")).is_ok()))
    }),
];

/// Creates a file with some bytes.
fn create(path: &Path, mode: u32) -> io::Result<()> {
    File::options().write(true).create_new(true).mode(mode).open(path)?.write_all(b"new")
}

fn node(place: &Place, kind: FileType, device: u64) -> io::Result<()> {
    Ok(mknodat(CWD, place.at("new"), kind, Mode::from_raw_mode(0o644), device)?)
}

fn rename(place: &Place, from: &str, to: &str, flags: RenameFlags) -> io::Result<String> {
    done(renameat_with(CWD, place.at(from), CWD, place.at(to), flags))
}
