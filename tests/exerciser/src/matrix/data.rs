//! Operations on contents: reading, writing, allocating, mapping and locking.

use super::{Operation, Place, done};
use crate::system::{Mapping, as_stranger, become_stranger, in_child, lock_description, lock_of_process};
use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags, SeekFrom, fallocate, flock, open, seek};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Command;

/// Far enough from the start of a file that every file system keeps a hole before it.
const FAR: u64 = 1 << 20;

pub const OPERATIONS: &[Operation] = &[
    ("write", |place| {
        place.open("file")?.write_all_at(b"more", 2)?;
        place.text("file")
    }),
    ("write after the end", |place| {
        place.open("file")?.write_all_at(b"more", 10)?;
        place.text("file")
    }),
    ("write to the host's file", |place| {
        place.open("host-file")?.write_all_at(b"more", 2)?;
        place.text("host-file")
    }),
    ("append through two descriptors", |place| {
        let mut files = [(); 2].map(|()| File::options().append(true).open(place.at("file")));
        for (number, file) in files.iter_mut().enumerate() {
            let file = file.as_mut().map_err(|error| io::Error::from(error.kind()))?;
            file.write_all(format!("+{number}").as_bytes())?;
        }
        files[0].as_mut().map_err(|error| io::Error::from(error.kind()))?.write_all(b"+2")?;
        place.text("file")
    }),
    ("write at an offset in append mode", |place| {
        File::options().append(true).open(place.at("file"))?.write_all_at(b"end", 1)?;
        place.text("file")
    }),
    ("write through a descriptor for reading", |place| {
        done(rustix::io::write(open(place.at("file"), OFlags::RDONLY, Mode::empty())?, b"x"))
    }),
    ("write to a set-user-id file", |place| done(place.open("program")?.write_all(b"#!/bin/sh\n"))),
    ("write to a set-user-id file as another user", |place| {
        fs::set_permissions(place.at("program"), Permissions::from_mode(0o6777))?;
        let file = place.open("program")?;
        as_stranger(|| done(file.write_all_at(b"#", 0)))
    }),
    ("write and sync at once", |place| {
        let file = open(place.at("file"), OFlags::WRONLY | OFlags::SYNC, Mode::empty())?;
        rustix::io::write(file, b"sync")?;
        place.text("file")
    }),
    ("write and read past the cache", |place| {
        let file = File::from(open(place.at("file"), OFlags::RDWR | OFlags::DIRECT, Mode::empty())?);
        let mut space = vec![b'd'; 0x2000];
        let skipped = space.as_ptr().align_offset(0x1000);
        file.write_all_at(&space[skipped..skipped + 0x1000], 0)?;
        let page = &mut space[skipped..skipped + 0x1000];
        page.fill(0);
        let count = file.read_at(page, 0)?;
        Ok(format!("{count} {}", page.iter().all(|byte| *byte == b'd')))
    }),
    ("write more than one request has", |place| {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        fs::write(place.at("new"), &bytes)?;
        Ok((fs::read(place.at("new"))? == bytes).to_string())
    }),
    ("read", |place| place.text("file")),
    ("read the host's file", |place| place.text("host-file")),
    ("read at the end", |place| {
        let mut bytes = [0; 10];
        let file = place.open("file")?;
        Ok(format!("{} {}", file.read_at(&mut bytes, 3)?, file.read_at(&mut bytes, 4)?))
    }),
    ("read as another user", |place| {
        fs::set_permissions(place.at("file"), Permissions::from_mode(0o600))?;
        as_stranger(|| place.text("file"))
    }),
    ("read through a copied descriptor", |place| {
        let mut file = place.open("file")?;
        let mut copy = file.try_clone()?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        copy.read_exact(&mut byte)?;
        Ok(format!("{} at {}", byte.escape_ascii(), file.stream_position()?))
    }),
    ("truncate", |place| {
        place.open("file")?.set_len(1)?;
        place.text("file")
    }),
    ("truncate to a larger size", |place| {
        place.open("file")?.set_len(6)?;
        place.text("file")
    }),
    ("truncate, and make larger again", |place| {
        place.open("file")?.set_len(1)?;
        place.open("file")?.set_len(4)?;
        place.text("file")
    }),
    ("truncate the host's file when it is opened", |place| done(File::create(place.at("host-file")))),
    ("truncate a set-user-id file", |place| done(place.open("program")?.set_len(10))),
    ("truncate a directory", |place| done(open(place.at("dir"), OFlags::WRONLY, Mode::empty()))),
    ("truncate as another user", |place| {
        as_stranger(|| done(File::options().write(true).truncate(true).open(place.at("file"))))
    }),
    ("fallocate", |place| allocate(place, FallocateFlags::empty(), 0, 100)),
    ("fallocate without changing the size", |place| allocate(place, FallocateFlags::KEEP_SIZE, 0, 100)),
    ("fallocate of a hole", |place| {
        allocate(place, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 1, 2)
    }),
    ("fallocate of zeros", |place| allocate(place, FallocateFlags::ZERO_RANGE, 2, 4)),
    ("fallocate of a range that is removed", |place| {
        allocate(place, FallocateFlags::COLLAPSE_RANGE, 0, 4096)
    }),
    ("fallocate of nothing", |place| allocate(place, FallocateFlags::empty(), 0, 0)),
    ("seek to data and holes", |place| {
        File::options().write(true).open(place.at("file"))?.write_all_at(b"far", FAR)?;
        let file = File::open(place.at("file"))?;
        let hole = seek(&file, SeekFrom::Hole(0))?;
        let data = seek(&file, SeekFrom::Data(hole))?;
        let end = seek(&file, SeekFrom::Hole(data))?;
        let after = seek(&file, SeekFrom::Data(end));
        Ok(format!("{} {} {} {:?}", hole < FAR, data == FAR, end, after.map_err(Errno::raw_os_error)))
    }),
    ("copy_file_range", |place| {
        let (from, to) = (place.open("host-file")?, File::create(place.at("new"))?);
        let count = rustix::fs::copy_file_range(&from, None, &to, None, 100)?;
        Ok(format!("{count} {}", place.text("new")?))
    }),
    ("sendfile", |place| {
        let (from, to) = (place.open("host-file")?, File::create(place.at("new"))?);
        let count = rustix::fs::sendfile(&to, &from, None, 100)?;
        Ok(format!("{count} {}", place.text("new")?))
    }),
    ("clone", |place| {
        let (from, to) = (place.open("host-file")?, File::create(place.at("new"))?);
        done(rustix::fs::ioctl_ficlone(&to, &from))
    }),
    ("fsync", |place| done(place.open("file")?.sync_all())),
    ("fdatasync", |place| done(place.open("file")?.sync_data())),
    ("fsync of a directory", |place| done(File::open(place.at("dir"))?.sync_all())),
    ("sync of the file system", |place| done(rustix::fs::syncfs(File::open(place.at("dir"))?))),
    ("map, and write through the mapping", |place| {
        let file = place.open("file")?;
        let mapping = Mapping::new(&file, 4, true, true)?;
        mapping.write(1, b"ap");
        let before = place.text("file")?;
        mapping.sync()?;
        Ok(format!("{before} {}", place.text("file")?))
    }),
    ("map, and write to the file", |place| {
        let file = place.open("file")?;
        let mapping = Mapping::new(&file, 4, false, true)?;
        file.write_all_at(b"new!", 0)?;
        let mut bytes = [0; 4];
        mapping.read(0, &mut bytes);
        Ok(bytes.escape_ascii().to_string())
    }),
    ("map privately, and write through the mapping", |place| {
        let mapping = Mapping::new(place.open("file")?, 4, true, false)?;
        mapping.write(0, b"mine");
        place.text("file")
    }),
    ("map, and make the file shorter", |place| {
        let file = place.open("file")?;
        file.set_len(8192)?;
        let mapping = Mapping::new(&file, 8192, false, true)?;
        file.set_len(10)?;
        in_child(|| {
            let mut byte = [1];
            mapping.read(10, &mut byte);
            assert_eq!(byte, [0]);
            mapping.read(4096, &mut byte);
            0
        })
    }),
    ("map a file for writing that is open for reading", |place| {
        done(Mapping::new(File::open(place.at("file"))?, 4, true, true))
    }),
    ("map, and close before writing", |place| {
        let mapping = Mapping::new(place.open("file")?, 4, true, true)?;
        mapping.write(0, b"late");
        drop(mapping);
        place.text("file")
    }),
    ("flock", |place| {
        let files = (place.open("file")?, place.open("file")?);
        flock(&files.0, FlockOperation::NonBlockingLockExclusive)?;
        let second = flock(&files.1, FlockOperation::NonBlockingLockExclusive);
        flock(&files.0, FlockOperation::Unlock)?;
        let third = flock(&files.1, FlockOperation::NonBlockingLockShared);
        Ok(format!("{} {}", shown(second), shown(third)))
    }),
    ("lock of a process", |place| {
        // Closing any of them would end the locks of the process.
        let files = (place.open("file")?, place.open("file")?);
        lock_of_process(&files.0)?;
        let same = lock_of_process(&files.1);
        let other = in_child(|| match place.open("file").and_then(lock_of_process) {
            Ok(()) => 0,
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => 1,
            Err(_) => 2,
        })?;
        Ok(format!("again {}, in another process {other}", same.is_ok()))
    }),
    ("lock of an open file", |place| {
        let files = (place.open("file")?, place.open("file")?);
        lock_description(&files.0)?;
        let second = lock_description(&files.1).is_ok();
        drop(files.0);
        Ok(format!("{second} {}", lock_description(&files.1).is_ok()))
    }),
    ("lock a directory", |place| {
        done(flock(File::open(place.at("dir"))?, FlockOperation::NonBlockingLockExclusive))
    }),
    ("run a script", |place| {
        let output = Command::new(place.at("program")).arg("x").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        Ok(format!("{} {}", words.first().is_some_and(|name| name.ends_with("/program")), words.len()))
    }),
    ("run a file that is not executable", |place| done(Command::new(place.at("file")).output())),
    ("run a set-user-id program as another user", |place| {
        let program = place.at("new");
        fs::copy("/proc/self/exe", &program)?;
        fs::set_permissions(&program, Permissions::from_mode(0o4755))?;
        let code = in_child(|| {
            let Ok(()) = become_stranger() else { return 100 };
            let Ok(output) = Command::new(&program).arg("user").output() else { return 101 };
            // The owner, or the user who has started it.
            match String::from_utf8_lossy(&output.stdout).trim() {
                "0" => 0,
                "4321" => 1,
                _ => 102,
            }
        });
        // Of no fixed size.
        fs::remove_file(&program)?;
        code
    }),
    ("write to a program that runs", |place| {
        fs::copy("/proc/self/exe", place.at("new"))?;
        let mut child = Command::new(place.at("new"))
            .args(["swap", "/nowhere"])
            .stdin(std::process::Stdio::null())
            .spawn()?;
        let opened = File::options().write(true).open(place.at("new"));
        child.kill()?;
        child.wait()?;
        fs::remove_file(place.at("new"))?;
        done(opened)
    }),
    ("write more than a limit of the process", |place| {
        in_child(|| {
            let limit = rustix::process::Rlimit { current: Some(6), maximum: Some(6) };
            if rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).is_err() {
                return 100;
            }
            let written = place.open("file").and_then(|file| file.write_at(b"0123456789", 0));
            written.map_or(101, |count| count as u8)
        })
    }),
    ("read ahead, and drop the cache", |place| {
        let file = place.open("host-file")?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::WillNeed)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        place.text("host-file")
    }),
    ("the times of a write", |place| {
        let before = fs::metadata(place.at("host-file"))?;
        std::thread::sleep(std::time::Duration::from_millis(20));
        place.open("host-file")?.write_all_at(b"x", 0)?;
        let after = fs::metadata(place.at("host-file"))?;
        let times =
            |stat: &fs::Metadata| [(stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec())];
        let (before, after) = (times(&before), times(&after));
        Ok(format!("modified {}, changed {}", after[0] > before[0], after[1] > before[1]))
    }),
];

fn allocate(place: &Place, mode: FallocateFlags, offset: u64, length: u64) -> io::Result<String> {
    fallocate(place.open("file")?.as_fd(), mode, offset, length)?;
    place.text("file").map(|text| if text.len() > 100 { String::new() } else { text })
}

/// Shows whether a lock was set.
fn shown(result: Result<(), Errno>) -> &'static str {
    match result {
        Ok(()) => "locked",
        Err(Errno::AGAIN) => "refused",
        Err(_) => "failed",
    }
}
