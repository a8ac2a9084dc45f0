//! A mount of this host, used by real system calls.
#![allow(unsafe_code, reason = "namespaces have no safe interface")]

use crate::server::share;
use executor_share::{Limits, ShareFs, fuse};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{IoSlice, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// Mounts FUSE where only this thread and its children see it; `None` if this user may not.
pub fn mount_here(folder: &Path) -> Option<OwnedFd> {
    // SAFETY: the table of descriptors stays shared.
    if unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.is_err() {
        eprintln!("skipped: this user may not mount");
        return None;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let options = CString::new(options).unwrap();
    mount("test", folder, "fuse", MountFlags::NODEV | MountFlags::NOSUID, &*options).unwrap();
    Some(device.into())
}

/// Sends a descriptor as the VM's process does.
pub fn send(socket: &UnixStream, descriptor: &impl AsFd) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::empty()).unwrap();
}

#[test]
fn a_mount_is_served_until_it_is_gone() {
    let (source, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(device) = mount_here(folder.path()) else { return };
    let fs = ShareFs::new(vec![share("src", source.path())], Limits::default()).unwrap();
    let server = std::thread::spawn(move || fuse::serve(Arc::new(fs), device));
    let at = |name: &str| folder.path().join("0").join(name);
    let on_host = |name: &str| source.path().join(name);

    // More than one request of 1 MiB each way.
    let contents: Vec<u8> = (0..3_000_007_u32).flat_map(u32::to_le_bytes).take(3_000_007).collect();
    fs::write(at("file"), &contents).unwrap();
    assert!(fs::read(on_host("file")).unwrap() == contents);
    assert!(fs::read(at("file")).unwrap() == contents);
    let mut file = File::options().read(true).write(true).open(at("file")).unwrap();
    file.write_at(b"changed", 1_048_570).unwrap();
    file.seek(SeekFrom::Start(1_048_570)).unwrap();
    let mut changed = [0; 7];
    file.read_exact(&mut changed).unwrap();
    assert_eq!(&changed, b"changed");
    file.set_len(10).unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::metadata(on_host("file")).unwrap().len(), 10);

    fs::create_dir(at("folder")).unwrap();
    for number in 0..2000 {
        File::create(at("folder").join(number.to_string())).unwrap().write_all(b"x").unwrap();
    }
    let listed = fs::read_dir(at("folder")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(listed.count(), 2000);
    fs::rename(at("folder/7"), at("seven")).unwrap();
    fs::hard_link(at("seven"), at("link")).unwrap();
    symlink("seven", at("symlink")).unwrap();
    assert_eq!(fs::metadata(at("symlink")).unwrap().nlink(), 2);
    fs::set_permissions(at("seven"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(fs::metadata(at("link")).unwrap().mode() & 0o7777, 0o640);
    // The policy keeps modes out of the host.
    assert_eq!(fs::metadata(on_host("link")).unwrap().mode() & 0o7777, 0o600);
    fs::remove_dir_all(at("folder")).unwrap();
    assert!(!on_host("folder").exists());
    let missing = fs::read(at("missing")).unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);

    // More requests at a time than threads.
    std::thread::scope(|scope| {
        for number in 0..16 {
            let name = at(&format!("many-{number}"));
            scope.spawn(move || {
                let contents = vec![number; 300_000];
                for _ in 0..5 {
                    fs::write(&name, &contents).unwrap();
                    assert!(fs::read(&name).unwrap() == contents);
                }
            });
        }
    });

    drop(file);
    // A process that another test is starting has copies of all descriptors until it executes its program.
    while unmount(folder.path(), UnmountFlags::empty()) == Err(rustix::io::Errno::BUSY) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    server.join().unwrap().unwrap();
}

#[test]
fn only_a_fuse_device_is_accepted() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    send(&theirs, &File::open("/dev/null").unwrap());
    assert!(matches!(fuse::receive_device(&ours), Err(fuse::FuseError::Device { .. })));
    (&theirs).write_all(&[0]).unwrap();
    assert!(matches!(fuse::receive_device(&ours), Err(fuse::FuseError::Device { .. })));
    if let Ok(device) = File::options().read(true).write(true).open("/dev/fuse") {
        send(&theirs, &device);
        assert!(fuse::receive_device(&ours).unwrap().is_some());
    }
    // The VM's process ends before it has mounted anything.
    drop(theirs);
    assert!(fuse::receive_device(&ours).unwrap().is_none());
}
