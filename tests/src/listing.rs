//! Listings of directory trees that can be compared.

use crate::oci::digest_of;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Later modification times are of the test run, not of an archive.
const ARCHIVED_UNTIL: i64 = 1_700_100_000;

const READABLE: &str = "the tree can be read";

/// One entry of a tree.
#[derive(Debug)]
pub struct Line {
    /// Its path relative to the root.
    pub path: Vec<u8>,
    /// Its device and inode number, which hard links share.
    pub inode: (u64, u64),
    /// Its description without the path.
    pub text: String,
}

/// Formats a modification time; `-` if it is not of an archive.
pub fn stated(seconds: i64, nanoseconds: i64) -> String {
    if seconds == 0 || seconds > ARCHIVED_UNTIL {
        "-".to_owned()
    } else {
        format!("{seconds}.{nanoseconds:09}")
    }
}

/// Formats the length and the digest of a file's contents.
pub fn contents(bytes: &[u8]) -> String {
    let digest = digest_of(bytes);
    format!("{} {}", bytes.len(), &digest["sha256:".len()..][..12])
}

/// Formats extended attributes, sorted by name.
pub fn attributes(all: BTreeMap<String, Vec<u8>>) -> String {
    all.into_iter().map(|(name, value)| format!(" {name}={}", hex(&value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Prints lines sorted by path; further names of an inode refer to its first one.
pub fn print(mut lines: Vec<Line>) -> String {
    lines.sort_by(|a, b| a.path.cmp(&b.path));
    let mut first: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut text = String::new();
    for Line { path, inode, text: line } in lines {
        let shown = path.escape_ascii().to_string();
        match first.get(&inode) {
            Some(first) => text += &format!("/{shown} = {first}\n"),
            None => {
                first.insert(inode, format!("/{shown}"));
                text += &format!("/{shown} {line}\n");
            }
        }
    }
    text
}

/// Whether two listings agree. A time `-` of the first one matches any time: umoci leaves some directories with the time of
/// unpacking.
pub fn agree(expected: &str, found: &str) -> bool {
    let times = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let is_time = |word: &str| word == "-" || word.contains('.') && word.parse::<f64>().is_ok();
    expected.lines().count() == found.lines().count()
        && expected.lines().zip(found.lines()).all(|(expected, found)| {
            let (expected, found) = (times(expected), times(found));
            expected.len() == found.len()
                && expected.iter().zip(&found).all(|(a, b)| a == b || a == "-" && is_time(b))
        })
}

/// Lists a directory without some names of its top level. Needs root, to read owners and all files.
pub fn of_directory(root: &Path, but: &[&str]) -> String {
    let mut lines = Vec::new();
    directory(root, root, &mut lines, but);
    print(lines)
}

fn directory(root: &Path, path: &Path, lines: &mut Vec<Line>, but: &[&str]) {
    let metadata = path.symlink_metadata().expect(READABLE);
    let kind = metadata.file_type();
    let device = || format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_file() {
        format!("file {}", contents(&std::fs::read(path).expect(READABLE)))
    } else if kind.is_symlink() {
        format!("link {}", std::fs::read_link(path).expect(READABLE).as_os_str().as_bytes().escape_ascii())
    } else if kind.is_char_device() {
        format!("character {}", device())
    } else if kind.is_block_device() {
        format!("block {}", device())
    } else {
        "fifo".to_owned()
    };
    let mode = if kind.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 };
    let owners = format!("{mode:04o} {}:{}", metadata.uid(), metadata.gid());
    let time = stated(metadata.mtime(), metadata.mtime_nsec());
    let mut extended = BTreeMap::new();
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect(READABLE);
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8(name.to_vec()).expect(READABLE);
        if name.starts_with("user.") || name == "security.capability" {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, &name, &mut value[..]).expect(READABLE);
            extended.insert(name, value[..length].to_vec());
        }
    }
    let text = format!("{what} {owners} {time}{}", attributes(extended));
    let relative = path.strip_prefix(root).expect(READABLE).as_os_str().as_bytes().to_vec();
    lines.push(Line { path: relative, inode: (metadata.dev(), metadata.ino()), text });
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).expect(READABLE) {
            let entry = entry.expect(READABLE);
            if !but.iter().any(|name| entry.file_name() == *name) {
                directory(root, &entry.path(), lines, &[]);
            }
        }
    }
}
