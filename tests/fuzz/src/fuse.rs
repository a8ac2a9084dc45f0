//! The file system of mounts: FUSE requests of a hostile guest on a directory of the host.

use crate::bytes::Bytes;
use executor_share::{Limits, Share, ShareFs, SharePolicy, check_attributes};
use fuse_backend_rs::abi::fuse_abi::InHeader;
use fuse_backend_rs::api::server::Server;
use fuse_backend_rs::transport::{FuseBuf, FuseDevWriter, Reader};
use rules::mount_text::{HostPerms, StatVirt};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use vm_memory::ByteValued;

/// A quota keeps allocations from filling the disk.
const QUOTA_BYTES: u64 = 8 << 20;

/// The size of replies, as for the largest read of one page.
const REPLY_BYTES: usize = 16 << 10;

/// The opcodes with their bodies in the protocol; the low bits of a byte select one.
const OPCODES: &[u32] = &[
    1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31,
    34, 35, 39, 42, 43, 44, 45, 46, 26, 38, 47, 48, 51,
];

/// A directory of the host with a share and files outside of it.
struct Host {
    _scratch: TempDir,
    share: PathBuf,
    outside: PathBuf,
}

/// Requests, one after another: a byte for the opcode, one for the inode, one for the length, and the body. The first
/// byte of an input is the policy. No request panics, nothing outside of the share changes, and no file of the host gets
/// the rights of its owner.
pub fn requests(bytes: &[u8]) {
    let host = make_host();
    let mut input = Bytes(bytes);
    let policy = policy(input.byte());
    let source =
        rustix::fs::open(&host.share, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("the share");
    let share = Share { name: "share".to_owned(), source, policy };
    let limits = Limits { descriptors: 64, inodes: 200 };
    let server = Server::new(ShareFs::new(vec![share], limits).expect("a directory"));
    let nowhere = File::options().write(true).open("/dev/null").expect("the null device");
    let mut reply = vec![0; REPLY_BYTES];
    for unique in 1..200 {
        if input.0.is_empty() {
            break;
        }
        let mut message = message(&mut input, unique);
        let reader = Reader::<()>::from_fuse_buffer(FuseBuf::new(&mut message)).expect("a buffer");
        let writer = FuseDevWriter::<()>::new(nowhere.as_raw_fd(), &mut reply).expect("a buffer");
        // Errors are messages that are malformed.
        let _ = server.handle_message(reader, writer.into(), None, None);
    }
    drop(server);
    check(&host);
}

fn message(input: &mut Bytes<'_>, unique: u64) -> Vec<u8> {
    let (opcode, node, length) = (input.byte(), input.byte(), input.byte());
    let body = input.take(usize::from(length).min(input.0.len()));
    let mut header = InHeader {
        len: (size_of::<InHeader>() + body.len()) as u32,
        opcode: OPCODES[usize::from(opcode & 0x3f) % OPCODES.len()],
        unique,
        nodeid: u64::from(node),
        uid: u32::from(node) * 500,
        gid: u32::from(opcode),
        ..InHeader::default()
    };
    // A length that is not that of the message.
    if opcode & 0x80 != 0 {
        header.len = u32::from_le_bytes([length, node, opcode & 0x1f, 0]);
    }
    [header.as_slice(), body].concat()
}

fn policy(byte: u8) -> SharePolicy {
    SharePolicy {
        read_only: byte & 0x20 != 0,
        stat_virt: StatVirt::ALL[usize::from(byte & 3) % StatVirt::ALL.len()],
        host_perms: HostPerms::ALL[usize::from(byte >> 2 & 1)],
        size_bytes: Some(QUOTA_BYTES),
        owner: None,
        disk: false,
    }
}

fn make_host() -> Host {
    // In memory where that has attributes.
    let in_memory = tempfile::tempdir_in("/dev/shm")
        .ok()
        .filter(|folder| File::open(folder.path()).is_ok_and(|open| check_attributes(&open, false).is_ok()));
    let scratch = in_memory.unwrap_or_else(|| tempfile::tempdir().expect("a directory"));
    let (share, outside) = (scratch.path().join("share"), scratch.path().join("outside"));
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("name"), "canary").expect("a file");
    fill(&share);
    Host { _scratch: scratch, share, outside }
}

/// Makes the share as every input finds it.
fn fill(share: &Path) {
    fs::create_dir_all(share.join("dir/sub")).expect("a directory");
    fs::write(share.join("file"), "data").expect("a file");
    fs::set_permissions(share.join("file"), PermissionsExt::from_mode(0o644)).expect("a mode");
    fs::write(share.join("dir/name"), "inner").expect("a file");
    symlink("../outside", share.join("link")).expect("a link");
    symlink("../outside/name", share.join("name")).expect("a link");
}

fn check(host: &Host) {
    assert_eq!(fs::read(host.outside.join("name")).expect("the canary"), b"canary");
    assert_eq!(fs::read_dir(&host.outside).expect("the folder").count(), 1, "a file was added outside");
    let mode = fs::metadata(host.outside.join("name")).expect("the canary").mode();
    assert_eq!(mode & 0o7111, 0, "the canary has other permissions");
    let parent = host.share.parent().expect("a folder");
    assert_eq!(fs::read_dir(parent).expect("the folder").count(), 2, "a file was added beside the share");
    let mut folders = vec![host.share.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(stat) = entry.metadata() else { continue };
            assert_eq!(stat.mode() & 0o6000, 0, "{:?} has the rights of its owner", entry.path());
            if stat.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}
