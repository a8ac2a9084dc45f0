//! All policies times many operations: what the guest sees and what the host has, as one table.
//!
//! `UPDATE_GOLDEN=1` writes it.

use super::guest::{Called, Guest};
use super::matrix_operations::OPERATIONS;
use crate::SharePolicy;
use crate::stat_override::StatOverride;
use rules::mount_text::{HostPerms, StatVirt};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fs/tests/matrix.txt");

/// An operation of the guest; its result is shown.
pub type Operation = fn(&Guest) -> Called<String>;

fn policies() -> Vec<(String, SharePolicy)> {
    let mut policies = Vec::new();
    for stat_virt in [StatVirt::Strict, StatVirt::Relaxed, StatVirt::Off] {
        for host_perms in [HostPerms::Private, HostPerms::Mirror] {
            let policy = SharePolicy { stat_virt, host_perms, ..SharePolicy::default() };
            policies.push((format!("{stat_virt}+{host_perms}"), policy));
        }
    }
    let read_only = SharePolicy { read_only: true, ..SharePolicy::default() };
    policies.push(("strict+private,ro".to_owned(), read_only));
    policies
}

/// Fills a directory: files that were there before, and files that the guest made.
fn fill(path: &Path, policy: SharePolicy) {
    std::fs::write(path.join("host-file"), "host").unwrap();
    std::fs::set_permissions(path.join("host-file"), PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::create_dir(path.join("host-dir")).unwrap();
    std::fs::set_permissions(path.join("host-dir"), PermissionsExt::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("../../outside", path.join("host-link")).unwrap();
    let guest = Guest::new(path, SharePolicy { read_only: false, ..policy });
    guest.write("file", b"data").unwrap();
    guest.mkdir("dir", 0o755).unwrap();
    guest.write("dir/inner", b"").unwrap();
    guest.mkdir("sgid", 0o755).unwrap();
    // With `off` the group is the host's, and the bit has no effect on it.
    let _ = guest.chown("sgid", 0, 50);
    guest.chmod("sgid", 0o2775).unwrap();
    guest.symlink("file", "link").unwrap();
    guest.write("program", b"#!").unwrap();
    guest.chmod("program", 0o6755).unwrap();
    let _ = guest.mknod("null", libc::S_IFCHR | 0o666, 0x0103);
}

/// A line per file: for the guest if it has one, else for the host.
fn lines(path: &Path, guest: Option<&Guest>) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let names: Vec<String> = match guest {
            Some(guest) => guest.list(&folder).unwrap().into_iter().map(|(name, _)| name).collect(),
            None => std::fs::read_dir(path.join(&folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect(),
        };
        for name in names {
            let file = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let (line, is_directory) = match guest {
                Some(guest) => guest_line(guest, &file),
                None => host_line(&path.join(&file)),
            };
            if is_directory {
                folders.push(file.clone());
            }
            lines.insert(file, line);
        }
    }
    lines
}

fn guest_line(guest: &Guest, file: &str) -> (String, bool) {
    let stat = guest.stat(file).unwrap();
    let own = guest.fs.inodes.get(guest.fs.roots[0]).unwrap().share.virtualizes();
    let user = rustix::process::geteuid().as_raw();
    // With `off` the owner is whoever runs the test.
    let owner = if !own && stat.st_uid == user {
        "host".to_owned()
    } else {
        format!("{}:{}", stat.st_uid, stat.st_gid)
    };
    let target = guest.readlink(file).map_or_else(|_| String::new(), |target| format!(" -> {target}"));
    let device = if stat.st_rdev > 0 { format!(" device {:#x}", stat.st_rdev) } else { String::new() };
    let times = if stat.st_mtime < 1_000_000 {
        format!(" at {},{}", stat.st_atime, stat.st_mtime)
    } else {
        String::new()
    };
    (
        format!("{}{owner}{target}{device}{times}", common(stat.st_mode, stat.st_nlink, stat.st_size)),
        is_directory(stat.st_mode),
    )
}

fn host_line(path: &Path) -> (String, bool) {
    let stat = path.symlink_metadata().unwrap();
    let target =
        std::fs::read_link(path).map_or_else(|_| String::new(), |target| format!(" -> {}", target.display()));
    let mut value = [0; 64];
    // Pipes are not opened.
    let replacement = if stat.is_file() || stat.is_dir() {
        std::fs::File::open(path)
            .ok()
            .and_then(|file| rustix::fs::fgetxattr(&file, crate::stat_override::NAME, &mut value[..]).ok())
            .map_or("no override".to_owned(), |length| {
                let found = StatOverride::from_bytes(&value[..length]).unwrap();
                format!("override {}:{} {:o} {:#x}", found.uid, found.gid, found.mode, found.rdev)
            })
    } else {
        String::new()
    };
    let size = i64::try_from(stat.size()).unwrap();
    (format!("{}{replacement}{target}", common(stat.mode(), stat.nlink(), size)), stat.is_dir())
}

fn is_directory(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}

/// The mode, and where it does not depend on the host's file system, the number of links and the size.
fn common(mode: u32, links: u64, size: i64) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFREG => 'f',
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '?',
    };
    let sizes = if kind == 'd' { String::new() } else { format!("{links} {size} ") };
    format!("{kind} {:04o} {sizes}", mode & 0o7777)
}

/// Writes the differences between two listings.
fn differences(side: &str, before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (file, line) in before {
        if !after.contains_key(file) {
            writeln!(text, "    {side} - {file}").unwrap();
        } else if after[file] != *line {
            writeln!(text, "    {side} * {file}: {}", after[file]).unwrap();
        }
    }
    for (file, line) in after {
        if !before.contains_key(file) {
            writeln!(text, "    {side} + {file}: {line}").unwrap();
        }
    }
    text
}

fn run(policy: SharePolicy, operation: Operation) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("share");
    std::fs::create_dir(&path).unwrap();
    fill(&path, policy);
    let guest = Guest::new(&path, policy);
    let before = (lines(&path, Some(&guest)), lines(&path, None));
    let mut text = match operation(&guest) {
        Ok(shown) if shown.is_empty() => "ok\n".to_owned(),
        Ok(shown) => format!("ok: {shown}\n"),
        Err(error) => format!("{}\n", errno_name(error)),
    };
    let after = (lines(&path, Some(&guest)), lines(&path, None));
    text += &differences("guest", &before.0, &after.0);
    text += &differences("host ", &before.1, &after.1);
    // Nothing is left open, and nothing looked up but the root.
    assert_eq!((guest.fs.handles.len(), guest.fs.inodes.usage()), (0, (1, 1)), "{text}");
    text
}

fn errno_name(error: i32) -> String {
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EBADF, "EBADF"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ENXIO, "ENXIO"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ENODATA, "ENODATA"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ESTALE, "ESTALE"),
    ];
    names
        .iter()
        .find(|(number, _)| *number == error)
        .map_or(format!("errno {error}"), |(_, name)| (*name).to_owned())
}

/// Shows the files that all operations start with.
fn start(policy: SharePolicy) -> String {
    let scratch = tempfile::tempdir().unwrap();
    fill(scratch.path(), policy);
    let guest = Guest::new(scratch.path(), policy);
    let empty = BTreeMap::new();
    differences("guest", &empty, &lines(scratch.path(), Some(&guest)))
        + &differences("host ", &empty, &lines(scratch.path(), None))
}

/// Adds a section: policies with the same result share it.
fn section(table: &mut String, title: &str, result: impl Fn(SharePolicy) -> String) {
    let mut results: Vec<(Vec<String>, String)> = Vec::new();
    for (name, policy) in policies() {
        let text = result(policy);
        match results.iter_mut().find(|(_, known)| *known == text) {
            Some((names, _)) => names.push(name),
            None => results.push((vec![name], text)),
        }
    }
    writeln!(table, "{title}").unwrap();
    for (names, text) in results {
        let separator = if text.starts_with('\n') { "" } else { " " };
        writeln!(table, "  {}:{separator}{}", names.join(" "), text.trim_end()).unwrap();
    }
    table.push('\n');
}

#[test]
fn every_policy_does_what_the_table_says() {
    let mut table = String::from(
        "Operations of the guest under every policy. `+` is a new file, `*` one that changed, `-` one that is gone:\n\
         kind and permissions, links and size, then the owner, or on the host the override.\n\n",
    );
    section(&mut table, "at the start", |policy| format!("\n{}", start(policy)));
    for (title, operation) in OPERATIONS {
        section(&mut table, title, |policy| run(policy, *operation));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let known = std::fs::read(TABLE).unwrap_or_default();
    let known = String::from_utf8_lossy(&known);
    for (line, (known, found)) in known.lines().zip(table.lines()).enumerate() {
        assert_eq!(known, found, "line {} differs from the table, which UPDATE_GOLDEN=1 writes", line + 1);
    }
    assert_eq!(known.lines().count(), table.lines().count(), "UPDATE_GOLDEN=1 writes the table");
    assert!(OPERATIONS.len() >= 60 && std::ffi::OsStr::new(TABLE).as_bytes().ends_with(b".txt"));
}
