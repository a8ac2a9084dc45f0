//! Lists the contents of an ext4 image in the format of [`tests::listing`].

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tests::listing::{Line, attributes, contents, print, stated};

/// Lists an ext4 image with e2fsprogs.
pub fn of_image(image: &Path) -> String {
    let mut lines = Vec::new();
    let mut level: Vec<(Vec<u8>, u64)> = vec![(Vec::new(), 2)];
    while !level.is_empty() {
        let requests: Vec<String> = level.iter().map(|(_, inode)| format!("stat <{inode}>")).collect();
        let stats = debugfs(image, &requests);
        let mut next = Vec::new();
        for ((path, inode), stat) in level.into_iter().zip(stats) {
            let stat = String::from_utf8_lossy(&stat).into_owned();
            lines.push(Line { text: line(image, inode, &stat), path: path.clone(), inode: (0, inode) });
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

/// The output of debugfs for each request.
fn debugfs(image: &Path, requests: &[String]) -> Vec<Vec<u8>> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut commands = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut commands, (requests.join("\n") + "\n").as_bytes()).unwrap();
    let output =
        Command::new("debugfs").env("PATH", path).arg("-f").arg(commands.path()).arg(image).output().unwrap();
    // Each request is echoed before its output.
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
