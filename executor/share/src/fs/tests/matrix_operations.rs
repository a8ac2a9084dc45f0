//! The operations of the matrix.

use super::guest::{Called, Guest, errno};
use super::matrix::Operation;
use fuse_backend_rs::abi::fuse_abi::{FOPEN_IN_KILL_SUIDGID, WRITE_KILL_PRIV};
use fuse_backend_rs::api::filesystem::FileSystem;
use rustix::fs::FallocateFlags;

/// The operations with their titles.
pub const OPERATIONS: &[(&str, Operation)] = &[
    ("create a file", |guest| create(guest, "new", libc::O_WRONLY, 0o640)),
    ("create a file that is read-only at once", |guest| create(guest, "new", libc::O_WRONLY, 0o444)),
    ("create a set-user-id file", |guest| create(guest, "new", libc::O_RDWR, 0o4755)),
    ("create a file in a set-group-id directory", |guest| create(guest, "sgid/new", libc::O_RDWR, 0o644)),
    ("create a file that exists", |guest| create(guest, "file", libc::O_RDWR, 0o600)),
    ("create a file that exists, exclusively", |guest| {
        create(guest, "file", libc::O_RDWR | libc::O_EXCL, 0o600)
    }),
    ("create a file at a link", |guest| create(guest, "host-link", libc::O_RDWR, 0o600)),
    ("create a file in a file", |guest| create(guest, "file/new", libc::O_RDWR, 0o600)),
    ("mknod of a file", |guest| quiet(guest.mknod("new", libc::S_IFREG | 0o644, 0))),
    ("mknod without a kind", |guest| quiet(guest.mknod("new", 0o644, 0))),
    ("mknod of a character device", |guest| quiet(guest.mknod("new", libc::S_IFCHR | 0o666, 0x0105))),
    ("mknod of a block device", |guest| quiet(guest.mknod("new", libc::S_IFBLK | 0o660, 0x0810))),
    ("mknod of a pipe", |guest| quiet(guest.mknod("new", libc::S_IFIFO | 0o620, 7))),
    ("mknod of a socket", |guest| quiet(guest.mknod("new", libc::S_IFSOCK | 0o755, 0))),
    ("mknod of a directory", |guest| quiet(guest.mknod("new", libc::S_IFDIR | 0o755, 0))),
    ("mknod of a device that exists", |guest| quiet(guest.mknod("file", libc::S_IFCHR | 0o666, 0x0105))),
    ("mkdir", |guest| quiet(guest.mkdir("new", 0o755))),
    ("mkdir without access for the owner", |guest| quiet(guest.mkdir("new", 0o000))),
    ("mkdir with the sticky bit", |guest| quiet(guest.mkdir("new", 0o1777))),
    ("mkdir in a set-group-id directory", |guest| quiet(guest.mkdir("sgid/new", 0o755))),
    ("mkdir that exists", |guest| quiet(guest.mkdir("dir", 0o755))),
    ("symlink", |guest| quiet(guest.symlink("/etc/passwd", "new"))),
    ("symlink that exists", |guest| quiet(guest.symlink("x", "file"))),
    ("symlink with a long target", |guest| quiet(guest.symlink(&"x".repeat(5000), "new"))),
    ("readlink", |guest| guest.readlink("link")),
    ("readlink of the host's link", |guest| guest.readlink("host-link")),
    ("readlink of a file", |guest| guest.readlink("file")),
    ("open a link", |guest| open(guest, "link", libc::O_RDONLY)),
    ("open the host's link", |guest| open(guest, "host-link", libc::O_RDONLY)),
    ("open a device", |guest| open(guest, "null", libc::O_RDWR)),
    ("open a directory as a file", |guest| open(guest, "dir", libc::O_RDONLY)),
    ("open a file for writing", |guest| open(guest, "file", libc::O_WRONLY)),
    ("open the host's file and truncate it", |guest| {
        open(guest, "host-file", libc::O_WRONLY | libc::O_TRUNC)
    }),
    ("open and truncate without writing", |guest| open(guest, "file", libc::O_RDONLY | libc::O_TRUNC)),
    ("open and truncate a set-user-id file", |guest| {
        guest.with("program", |inode| {
            let flags = libc::O_WRONLY | libc::O_TRUNC;
            let (handle, _, _) =
                guest.fs.open(&guest.context, inode, flags.cast_unsigned(), FOPEN_IN_KILL_SUIDGID)?;
            guest.fs.release(&guest.context, inode, 0, handle.unwrap(), false, false, None)?;
            Ok(String::new())
        })
    }),
    ("link", |guest| quiet(guest.link("file", "new"))),
    ("link to another directory", |guest| quiet(guest.link("file", "dir/new"))),
    ("link that exists", |guest| quiet(guest.link("file", "program"))),
    ("link of a link", |guest| quiet(guest.link("link", "new"))),
    ("link of a directory", |guest| quiet(guest.link("dir", "new"))),
    ("rename", |guest| quiet(guest.rename("file", "dir/new", 0))),
    ("rename over a file", |guest| quiet(guest.rename("file", "program", 0))),
    ("rename over a directory", |guest| quiet(guest.rename("file", "dir", 0))),
    ("rename a directory into itself", |guest| quiet(guest.rename("dir", "dir/new", 0))),
    ("rename a directory over one with files", |guest| quiet(guest.rename("sgid", "dir", 0))),
    ("rename without replacing", |guest| quiet(guest.rename("file", "program", libc::RENAME_NOREPLACE))),
    ("rename as an exchange", |guest| quiet(guest.rename("file", "dir", libc::RENAME_EXCHANGE))),
    ("rename with a whiteout", |guest| quiet(guest.rename("file", "new", libc::RENAME_WHITEOUT))),
    ("unlink", |guest| quiet(guest.unlink("file"))),
    ("unlink a device", |guest| quiet(guest.unlink("null"))),
    ("unlink the host's link", |guest| quiet(guest.unlink("host-link"))),
    ("unlink a missing file", |guest| quiet(guest.unlink("missing"))),
    ("unlink a directory", |guest| quiet(guest.unlink("dir"))),
    ("unlink while it is open, then write and read", unlink_open),
    ("rmdir", |guest| quiet(guest.rmdir("host-dir"))),
    ("rmdir with files in it", |guest| quiet(guest.rmdir("dir"))),
    ("rmdir of a file", |guest| quiet(guest.rmdir("file"))),
    ("chmod", |guest| quiet(guest.chmod("file", 0o751))),
    ("chmod to set-user-id", |guest| quiet(guest.chmod("file", 0o4755))),
    ("chmod to read-only", |guest| quiet(guest.chmod("file", 0o444))),
    ("chmod of the host's file", |guest| quiet(guest.chmod("host-file", 0o604))),
    ("chmod of a directory", |guest| quiet(guest.chmod("dir", 0o2770))),
    ("chmod of the host's directory", |guest| quiet(guest.chmod("host-dir", 0o1777))),
    ("chmod of a device", |guest| quiet(guest.chmod("null", 0o600))),
    ("chown", |guest| quiet(guest.chown("file", 33, 34))),
    ("chown of the host's file", |guest| quiet(guest.chown("host-file", 33, 34))),
    ("chown of a set-user-id file", |guest| quiet(guest.chown("program", 33, 34))),
    ("chown of a set-group-id directory", |guest| quiet(guest.chown("sgid", 33, 34))),
    ("chown of a link", |guest| quiet(guest.chown("link", 33, 34))),
    ("chown of the host's link", |guest| quiet(guest.chown("host-link", 33, 34))),
    ("utimens", |guest| quiet(guest.utimens("file", 10, 20))),
    ("utimens of the host's link", |guest| quiet(guest.utimens("host-link", 10, 20))),
    ("truncate", |guest| quiet(guest.truncate("file", 1))),
    ("truncate to a larger size", |guest| quiet(guest.truncate("file", 100))),
    ("truncate to a negative size", |guest| quiet(guest.truncate("file", -1))),
    ("truncate a set-user-id file", |guest| quiet(guest.truncate("program", 1))),
    ("truncate a link", |guest| quiet(guest.truncate("link", 1))),
    ("truncate a directory", |guest| quiet(guest.truncate("dir", 1))),
    ("write", |guest| write(guest, "file", libc::O_WRONLY, 2, 0)),
    ("write after the end", |guest| write(guest, "file", libc::O_WRONLY, 10, 0)),
    ("write in append mode", |guest| write(guest, "file", libc::O_WRONLY | libc::O_APPEND, 0, 0)),
    ("write to a set-user-id file", |guest| write(guest, "program", libc::O_WRONLY, 0, WRITE_KILL_PRIV)),
    ("write at an offset that is too large", |guest| write(guest, "file", libc::O_WRONLY, u64::MAX - 1, 0)),
    ("write through a read-only handle", |guest| write(guest, "file", libc::O_RDONLY, 0, 0)),
    ("read", |guest| Ok(String::from_utf8(guest.read("file")?).unwrap())),
    ("read the host's file", |guest| Ok(String::from_utf8(guest.read("host-file")?).unwrap())),
    ("fallocate", |guest| allocate(guest, FallocateFlags::empty(), 0, 100)),
    ("fallocate without changing the size", |guest| allocate(guest, FallocateFlags::KEEP_SIZE, 0, 100)),
    ("fallocate of a hole", |guest| {
        allocate(guest, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 1, 2)
    }),
    ("fallocate of nothing", |guest| allocate(guest, FallocateFlags::empty(), 0, 0)),
    ("fallocate in a mode that does not exist", |guest| {
        allocate(guest, FallocateFlags::from_bits_retain(1 << 20), 0, 1)
    }),
    ("seek to the next hole", |guest| seek(guest, 0, libc::SEEK_HOLE)),
    ("seek to data after the end", |guest| seek(guest, 100, libc::SEEK_DATA)),
    ("seek otherwise", |guest| seek(guest, 0, libc::SEEK_CUR)),
    ("fsync", |guest| {
        let open = guest.open("file", libc::O_RDONLY)?;
        let synced = errno(guest.fs.fsync(&guest.context, open.inode, false, open.handle));
        guest.close(open);
        quiet(synced)
    }),
    ("set an attribute", |guest| {
        guest.setxattr("file", "user.color", b"red")?;
        Ok(format!("{} {:?}", guest.listxattr("file")?, guest.getxattr("file", "user.color")?))
    }),
    ("set an attribute of a directory", |guest| quiet(guest.setxattr("dir", "user.color", b"red"))),
    ("set an attribute of a device", |guest| quiet(guest.setxattr("null", "user.color", b"red"))),
    ("set an attribute of the host's link", |guest| quiet(guest.setxattr("host-link", "user.color", b"red"))),
    ("set the override", |guest| quiet(guest.setxattr("file", "user.msb.override_stat", &[1; 20]))),
    ("set another hidden attribute", |guest| quiet(guest.setxattr("file", "user.msb.x", b"x"))),
    ("set a capability", |guest| quiet(guest.setxattr("file", "security.capability", &[1, 0, 0, 2]))),
    ("set a trusted attribute", |guest| quiet(guest.setxattr("file", "trusted.overlay.opaque", b"y"))),
    ("set an access control list", |guest| {
        quiet(guest.setxattr("file", "system.posix_acl_access", &[2, 0, 0, 0]))
    }),
    ("get the override", |guest| Ok(format!("{:?}", guest.getxattr("file", "user.msb.override_stat")?))),
    ("get a missing attribute", |guest| Ok(format!("{:?}", guest.getxattr("file", "user.color")?))),
    ("list attributes", |guest| guest.listxattr("file")),
    ("remove an attribute", |guest| {
        guest.setxattr("file", "user.color", b"red")?;
        quiet(guest.removexattr("file", "user.color"))
    }),
    ("remove a missing attribute", |guest| quiet(guest.removexattr("file", "user.color"))),
    ("remove the override", |guest| quiet(guest.removexattr("file", "user.msb.override_stat"))),
    ("list a directory", |guest| Ok(format!("{:?}", guest.list("")?))),
    ("list a directory with attributes", |guest| {
        let all = guest.list_with_attributes("")?;
        all.iter().for_each(|(_, inode, _)| guest.forget(*inode));
        Ok(all.iter().map(|(name, _, mode)| format!("{name} {mode:o}")).collect::<Vec<_>>().join(", "))
    }),
    ("look `..` up", |guest| quiet(guest.stat(".."))),
    ("look up a name of 300 bytes", |guest| quiet(guest.stat(&"x".repeat(300)))),
    ("look up below a file", |guest| quiet(guest.stat("file/x"))),
    ("look up below the host's link", |guest| quiet(guest.stat("host-link/x"))),
    ("lock", |guest| {
        guest.with("file", |inode| {
            let lock = fuse_backend_rs::abi::fuse_abi::FileLock { type_: 1, ..Default::default() };
            guest.fs.setlk(&guest.context, inode, 0, 0, lock.into(), 0).map(|()| String::new())
        })
    }),
];

fn quiet<T>(result: Called<T>) -> Called<String> {
    result.map(|_| String::new())
}

fn create(guest: &Guest, path: &str, flags: i32, mode: u32) -> Called<String> {
    let open = guest.create(path, flags, mode)?;
    let written = guest.write_at(open, b"new", 0, 0);
    guest.close(open);
    quiet(written)
}

fn open(guest: &Guest, path: &str, flags: i32) -> Called<String> {
    let open = guest.open(path, flags)?;
    guest.close(open);
    Ok(String::new())
}

fn write(guest: &Guest, path: &str, flags: i32, offset: u64, fuse_flags: u32) -> Called<String> {
    let open = guest.open(path, flags)?;
    let written = guest.write_at(open, b"more", offset, fuse_flags);
    guest.close(open);
    written?;
    Ok(format!("{:?}", String::from_utf8(guest.read(path)?).unwrap()))
}

fn allocate(guest: &Guest, mode: FallocateFlags, offset: u64, length: u64) -> Called<String> {
    let open = guest.open("file", libc::O_RDWR)?;
    let allocated =
        errno(guest.fs.fallocate(&guest.context, open.inode, open.handle, mode.bits(), offset, length));
    guest.close(open);
    quiet(allocated)
}

fn seek(guest: &Guest, offset: u64, whence: i32) -> Called<String> {
    let open = guest.open("file", libc::O_RDONLY)?;
    let found =
        errno(guest.fs.lseek(&guest.context, open.inode, open.handle, offset, whence.cast_unsigned()));
    guest.close(open);
    Ok(found?.to_string())
}

fn unlink_open(guest: &Guest) -> Called<String> {
    let open = guest.open("file", libc::O_RDWR)?;
    let used = guest.unlink("file").and_then(|()| {
        guest.write_at(open, b"more", 4, 0)?;
        let bytes = guest.read_at(open, 100, 0)?;
        let stat = errno(guest.fs.getattr(&guest.context, open.inode, Some(open.handle)))?.0;
        Ok(format!("{} links {} size {}", String::from_utf8(bytes).unwrap(), stat.st_nlink, stat.st_size))
    });
    guest.close(open);
    used
}
