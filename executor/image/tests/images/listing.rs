//! Lists a tree, from a directory and from an ext4 image, in the same words.

use schemas::digest::Digest;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

/// What was changed later than this was changed by nobody's archive.
const STATED_UNTIL: i64 = 1_700_100_000;

/// What is said about one inode.
struct Line {
    path: Vec<u8>,
    inode: u64,
    text: String,
}

fn stated(seconds: i64, nanoseconds: i64) -> String {
    if seconds == 0 || seconds > STATED_UNTIL {
        "-".to_owned()
    } else {
        format!("{seconds}.{nanoseconds:09}")
    }
}

fn contents(bytes: &[u8]) -> String {
    format!("{} {}", bytes.len(), Digest::of_bytes(bytes).short())
}

fn attributes(all: BTreeMap<String, Vec<u8>>) -> String {
    all.into_iter().map(|(name, value)| format!(" {name}={}", schemas::digest::hex(&value))).collect()
}

/// Sorted by path; of names of the same inode all but the first only say which that is.
fn print(mut lines: Vec<Line>) -> String {
    lines.sort_by(|a, b| a.path.cmp(&b.path));
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
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

/// Whether two listings say the same. Times that the first one does not know may be any in the second: umoci
/// leaves some directories with the time of unpacking.
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

/// Lists a directory of the host. Owners are seen as they are: that takes root.
pub fn of_directory(root: &Path) -> String {
    let mut lines = Vec::new();
    directory(root, root, &mut lines);
    print(lines)
}

fn directory(root: &Path, path: &Path, lines: &mut Vec<Line>) {
    let metadata = path.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let device = || format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let what = if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_file() {
        format!("file {}", contents(&std::fs::read(path).unwrap()))
    } else if kind.is_symlink() {
        format!("link {}", std::fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii())
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
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8(name.to_vec()).unwrap();
        if name.starts_with("user.") || name == "security.capability" {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, &name, &mut value[..]).unwrap();
            extended.insert(name, value[..length].to_vec());
        }
    }
    let text = format!("{what} {owners} {time}{}", attributes(extended));
    let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
    lines.push(Line { path: relative, inode: metadata.ino(), text });
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            directory(root, &entry.unwrap().path(), lines);
        }
    }
}

/// Lists an ext4 image, as e2fsprogs reads it.
pub fn of_image(image: &Path) -> String {
    let mut lines = Vec::new();
    let mut level: Vec<(Vec<u8>, u64)> = vec![(Vec::new(), 2)];
    while !level.is_empty() {
        let requests: Vec<String> = level.iter().map(|(_, inode)| format!("stat <{inode}>")).collect();
        let stats = debugfs(image, &requests);
        let mut next = Vec::new();
        for ((path, inode), stat) in level.into_iter().zip(stats) {
            let stat = String::from_utf8_lossy(&stat).into_owned();
            lines.push(Line { text: line(image, inode, &stat), path: path.clone(), inode });
            if stat.contains("Type: directory") {
                let listing = debugfs(image, &[format!("ls -p <{inode}>")]).remove(0);
                for entry in listing.split(|&byte| byte == b'\n').filter(|line| line.first() == Some(&b'/')) {
                    let fields: Vec<&[u8]> = entry.split(|&byte| byte == b'/').collect();
                    let number = std::str::from_utf8(fields[1]).unwrap().parse().unwrap();
                    if number == 0 || matches!(fields[5], b"." | b"..") {
                        continue;
                    }
                    let slash = if path.is_empty() { &b""[..] } else { b"/" };
                    next.push(([&path, slash, fields[5]].concat(), number));
                }
            }
        }
        level = next;
    }
    print(lines)
}

fn line(image: &Path, inode: u64, stat: &str) -> String {
    let words: Vec<&str> = stat.split_whitespace().collect();
    let after = |key: &str| words.iter().position(|word| *word == key).map_or("?", |index| words[index + 1]);
    let device = || {
        let (major, minor) = after("number:").split_once(':').unwrap();
        format!("{}:{}", major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap())
    };
    let cat = || debugfs(image, &[format!("cat <{inode}>")]).remove(0);
    let (what, mode) = match after("Type:") {
        "directory" => ("directory".to_owned(), after("Mode:")),
        "regular" => (format!("file {}", contents(&cat())), after("Mode:")),
        "symlink" => {
            let fast = stat.split_once("Fast link dest: \"").map(|(_, rest)| rest.split_once('"').unwrap().0);
            let target = fast.map_or_else(cat, |fast| fast.as_bytes().to_vec());
            (format!("link {}", target.escape_ascii()), "0777")
        }
        "character" => (format!("character {}", device()), after("Mode:")),
        "block" => (format!("block {}", device()), after("Mode:")),
        other => (other.to_lowercase(), after("Mode:")),
    };
    let (low, extra) = after("mtime:").trim_start_matches("0x").split_once(':').unwrap();
    let seconds = i64::from(u32::from_str_radix(low, 16).unwrap() as i32);
    let nanoseconds = i64::from_str_radix(extra, 16).unwrap() >> 2;
    let mut extended = BTreeMap::new();
    if stat.contains("Extended attributes") {
        for name in debugfs(image, &[format!("ea_list <{inode}>")]).remove(0).split(|&byte| byte == b'\n') {
            let name = String::from_utf8_lossy(name).trim().to_owned();
            let name = name.split([' ', '=']).next().unwrap_or_default();
            if name.contains('.') {
                let file = tempfile::NamedTempFile::new().unwrap();
                debugfs(image, &[format!("ea_get -f {} <{inode}> {name}", file.path().display())]);
                extended.insert(name.to_owned(), std::fs::read(file.path()).unwrap());
            }
        }
    }
    let mode = u32::from_str_radix(mode, 8).unwrap();
    // It prints numbers above 31 bits as negative ones.
    let id = |key: &str| after(key).parse::<i64>().unwrap() as u32;
    let owners = format!("{mode:04o} {}:{}", id("User:"), id("Group:"));
    format!("{what} {owners} {}{}", stated(seconds, nanoseconds), attributes(extended))
}

/// The answers of debugfs to several requests, each as it was printed.
fn debugfs(image: &Path, requests: &[String]) -> Vec<Vec<u8>> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut commands = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut commands, (requests.join("\n") + "\n").as_bytes()).unwrap();
    let output =
        Command::new("debugfs").env("PATH", path).arg("-f").arg(commands.path()).arg(image).output().unwrap();
    // Each request is repeated in front of its answer.
    let mut rest = &output.stdout[..];
    let find =
        |bytes: &[u8], what: &str| bytes.windows(what.len()).position(|window| window == what.as_bytes());
    let mut answers = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let start =
            find(rest, &format!("debugfs: {request}\n")).unwrap() + "debugfs: \n".len() + request.len();
        rest = &rest[start..];
        let end = match requests.get(index + 1) {
            Some(next) => find(rest, &format!("debugfs: {next}\n")).unwrap(),
            None => rest.len(),
        };
        answers.push(rest[..end].to_vec());
    }
    answers
}
