//! Many operations, each in a directory of its own with the same files, and what they change for the guest.

mod data;
mod metadata;
mod names;

use crate::errors;
use crate::system::{STRANGER, leave_groups};
use rustix::fs::{CWD, FileType, Mode, mknodat, symlink};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

/// An operation with its title. Its result is shown.
type Operation = (&'static str, fn(&Place) -> io::Result<String>);

/// The directory of an operation.
struct Place(PathBuf);

impl Place {
    /// Returns the path of a file in it.
    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<File> {
        File::options().read(true).write(true).open(self.at(name))
    }

    /// Returns the contents of a file, as text.
    fn text(&self, name: &str) -> io::Result<String> {
        Ok(fs::read(self.at(name))?.escape_ascii().to_string())
    }
}

/// The result of an operation that shows nothing.
fn done<T, E: Into<io::Error>>(result: Result<T, E>) -> io::Result<String> {
    result.map(|_| String::new()).map_err(Into::into)
}

fn operations() -> Vec<Operation> {
    // The first one shows the files before any operation.
    let start: Operation = ("at the start", |_| Ok(String::new()));
    [&[start][..], names::OPERATIONS, data::OPERATIONS, metadata::OPERATIONS].concat()
}

/// Prints the titles; the directory of an operation has the number of its line, from 0.
pub fn print_titles() {
    operations().iter().for_each(|(title, _)| println!("{title}"));
}

/// Makes the files of the directories with these numbers. Files whose names start with `host` are there already.
pub fn fill_all(directory: &Path, numbers: Range<usize>) -> io::Result<()> {
    leave_groups();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for number in numbers {
        let place = Place(directory.join(number.to_string()));
        fill(&place).map_err(|error| io::Error::other(format!("{}: {error}", place.0.display())))?;
    }
    Ok(())
}

fn fill(place: &Place) -> io::Result<()> {
    let mode = |name: &str, mode| fs::set_permissions(place.at(name), Permissions::from_mode(mode));
    // With some policies owners are the host's, and cannot be changed.
    let give = |name: &str, uid, gid| match lchown(place.at(name), uid, gid) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        result => result,
    };
    fs::write(place.at("file"), "data")?;
    fs::create_dir(place.at("dir"))?;
    fs::write(place.at("dir/inner"), "inner")?;
    fs::create_dir(place.at("sgid"))?;
    give("sgid", Some(0), Some(50))?;
    mode("sgid", 0o2775)?;
    symlink("file", place.at("link"))?;
    fs::write(place.at("program"), "#!/bin/sh\necho $0 $#\n")?;
    fs::create_dir(place.at("open"))?;
    mode("open", 0o777)?;
    fs::write(place.at("theirs"), "theirs")?;
    let (user, group) = STRANGER;
    for name in ["file", "dir", "link", "program"] {
        give(name, Some(1000), Some(1001))?;
    }
    give("theirs", Some(user), Some(group))?;
    mode("program", 0o6755)?;
    // With `off` there are none.
    let _ = mknodat(
        CWD,
        place.at("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    );
    Ok(())
}

/// Runs the operations with these numbers. `host` is the owner of the host's files, which is shown as such.
pub fn run_all(directory: &Path, numbers: Range<usize>, host: Option<(u32, u32)>) -> io::Result<()> {
    leave_groups();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut before = BTreeMap::new();
    let operations = operations().into_iter().enumerate();
    for (number, (title, operation)) in operations.skip(numbers.start).take(numbers.len()) {
        let place = Place(directory.join(number.to_string()));
        if number > 0 {
            before = lines(&place.0, host)?;
        }
        println!("# {title}");
        match operation(&place) {
            Ok(shown) if shown.is_empty() => println!("= ok"),
            Ok(shown) => println!("= ok: {shown}"),
            Err(error) => println!("= {}", errors::name(&error)),
        }
        print_differences(&before, &lines(&place.0, host)?);
    }
    Ok(())
}

/// Prints what is new, changed or gone.
fn print_differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    for file in before.keys().filter(|file| !after.contains_key(*file)) {
        println!("guest - {file}");
    }
    for (file, line) in after {
        match before.get(file) {
            None => println!("guest + {file}: {line}"),
            Some(known) if known != line => println!("guest * {file}: {line}"),
            Some(_) => {}
        }
    }
}

/// Returns a line per file.
fn lines(directory: &Path, host: Option<(u32, u32)>) -> io::Result<BTreeMap<String, String>> {
    let mut lines = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let name = path.strip_prefix(directory).map_err(io::Error::other)?;
            let name = name.as_os_str().as_bytes().escape_ascii().to_string();
            let shown = if name.len() > 100 { format!("{}…{}", &name[..3], name.len()) } else { name };
            lines.insert(shown, line(&path, host)?);
            if entry.file_type()?.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(lines)
}

fn line(path: &Path, host: Option<(u32, u32)>) -> io::Result<String> {
    let stat = fs::symlink_metadata(path)?;
    let kind = stat.file_type();
    let letter = [
        (kind.is_file(), 'f'),
        (kind.is_dir(), 'd'),
        (kind.is_symlink(), 'l'),
        (kind.is_char_device(), 'c'),
        (kind.is_block_device(), 'b'),
        (kind.is_fifo(), 'p'),
        (kind.is_socket(), 's'),
    ];
    let letter = letter.iter().find(|(is, _)| *is).map_or('?', |(_, letter)| *letter);
    // The sizes and links of directories are those of the host's file system.
    let sizes = if kind.is_dir() { String::new() } else { format!("{} {} ", stat.nlink(), stat.size()) };
    let owner = if host == Some((stat.uid(), stat.gid())) {
        "host".to_owned()
    } else {
        format!("{}:{}", stat.uid(), stat.gid())
    };
    let mut line = format!("{letter} {:04o} {sizes}{owner}", stat.mode() & 0o7777);
    if kind.is_symlink() {
        let target = fs::read_link(path)?.as_os_str().as_bytes().escape_ascii().to_string();
        let shown = if target.len() > 100 { format!("{} bytes", target.len()) } else { target };
        line.push_str(&format!(" -> {shown}"));
    }
    if stat.rdev() != 0 {
        line.push_str(&format!(
            " device {}:{}",
            rustix::fs::major(stat.rdev()),
            rustix::fs::minor(stat.rdev())
        ));
    }
    if stat.mtime() < 1_000_000 {
        line.push_str(&format!(" at {},{}", stat.atime(), stat.mtime()));
    }
    Ok(line)
}
