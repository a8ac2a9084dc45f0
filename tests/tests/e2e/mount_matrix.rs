//! Many operations in a guest under every policy of mounts: what the guest sees, and what the host has afterwards.
//!
//! `UPDATE_GOLDEN=1` writes the table. It is the same for every driver and every user of the host.

use rustix::fs::{getxattr, listxattr};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use tests::{Project, installation};

/// The known table.
const TABLE: &str = include_str!("mount_matrix.txt");

/// The attribute with the guest's owner and mode.
const OVERRIDE: &str = "user.msb.override_stat";

/// The policies: the name in the table and of the directory, and the properties of the mount.
const POLICIES: [(&str, &str); 7] = [
    ("strict+private", ""),
    ("strict+mirror", "host-perms=\"mirror\""),
    ("relaxed+private", "stat-virt=\"relaxed\""),
    ("relaxed+mirror", "stat-virt=\"relaxed\" host-perms=\"mirror\""),
    ("off+private", "stat-virt=\"off\""),
    ("off+mirror", "stat-virt=\"off\" host-perms=\"mirror\""),
    ("strict+private,ro", "readonly=#true"),
];

/// The policy whose files another mount of the same directory makes.
const READ_ONLY: &str = "strict+private,ro";

fn project() -> Project {
    let mut mounts = String::new();
    for (name, properties) in POLICIES {
        writeln!(mounts, "mount \"./{name}\" to=\"/{name}\" {properties}").expect("memory");
    }
    let project = Project::new("project \"matrix\"\n");
    project.exerciser_image();
    project.write(
        "Sandboxfile",
        &format!(
            "project \"matrix\"\nsandbox \"box\" {{\nimage \"./image\"\n{mounts}\nmount \"./{READ_ONLY}\" to=\"/fill\"\n}}"
        ),
    );
    project
}

/// Makes the host's files of each operation.
fn fill(directory: &Path, count: usize) {
    for number in 0..count {
        let place = directory.join(number.to_string());
        fs::create_dir_all(place.join("host-dir")).expect("a new directory");
        fs::write(place.join("host-file"), "host").expect("a new file");
        symlink("nowhere", place.join("host-link")).expect("a new link");
        for (path, mode) in
            [(place.join("host-file"), 0o640), (place.join("host-dir"), 0o750), (place, 0o755)]
        {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of this user");
        }
    }
}

/// Returns a line per file of the host.
fn lines(directory: &Path) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            let name = path.strip_prefix(directory).expect("a path below").as_os_str().as_bytes();
            let name = name.escape_ascii().to_string();
            let shown = if name.len() > 100 { format!("{}…{}", &name[..3], name.len()) } else { name };
            lines.insert(shown, line(&path));
            if fs::symlink_metadata(&path).expect("a file").is_dir() {
                folders.push(path);
            }
        }
    }
    lines
}

fn line(path: &Path) -> String {
    let stat = fs::symlink_metadata(path).expect("a file");
    assert_eq!(stat.uid(), rustix::process::geteuid().as_raw(), "{} belongs to another", path.display());
    let kind = stat.file_type();
    let letter = if kind.is_file() {
        'f'
    } else if kind.is_dir() {
        'd'
    } else if kind.is_symlink() {
        'l'
    } else if kind.is_fifo() {
        'p'
    } else if kind.is_socket() {
        's'
    } else {
        '?'
    };
    let sizes = if kind.is_dir() { String::new() } else { format!(" {} {}", stat.nlink(), stat.size()) };
    let mut line = format!("{letter} {:04o}{sizes}", stat.mode() & 0o7777);
    if kind.is_symlink() {
        let target = fs::read_link(path).expect("a link");
        let target = target.as_os_str().as_bytes();
        if target.len() > 100 {
            write!(line, " -> {} bytes", target.len()).expect("memory");
        } else {
            write!(line, " -> {}", target.escape_ascii()).expect("memory");
        }
    }
    if kind.is_file() || kind.is_dir() {
        line.push_str(&attributes(path));
    }
    if stat.mtime() < 1_000_000 {
        // Listing a directory for this table sets its time of access.
        let accessed = if kind.is_dir() { "now".to_owned() } else { stat.atime().to_string() };
        write!(line, " at {accessed},{}", stat.mtime()).expect("memory");
    }
    line
}

/// Shows the attributes of a file.
fn attributes(path: &Path) -> String {
    let mut value = [0; 64];
    let mut text = match getxattr(path, OVERRIDE, &mut value[..]) {
        Ok(20) => {
            let number = |at: usize| u32::from_le_bytes(value[at..at + 4].try_into().expect("four bytes"));
            format!(" override {}:{} {:o} {:#x}", number(4), number(8), number(12), number(16))
        }
        // An ordinary user cannot ask for that of a file that nobody may read.
        Err(Errno::NODATA | Errno::ACCESS) => " no override".to_owned(),
        other => panic!("{other:?}"),
    };
    let mut names = [0; 4096];
    let length = listxattr(path, &mut names[..]).expect("attributes");
    for name in names[..length].split(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(name);
        if name.starts_with("user.") && name != OVERRIDE {
            write!(text, " {name}").expect("memory");
        }
    }
    text
}

fn host_differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for file in before.keys().filter(|file| !after.contains_key(*file)) {
        writeln!(text, "host  - {file}").expect("memory");
    }
    for (file, line) in after {
        match before.get(file) {
            None => writeln!(text, "host  + {file}: {line}").expect("memory"),
            Some(known) if known != line => writeln!(text, "host  * {file}: {line}").expect("memory"),
            Some(_) => {}
        }
    }
    text
}

/// Runs all operations under a policy, and returns what each of them has as its result.
fn results(project: &Project, policy: &str, titles: &[&str]) -> Vec<String> {
    let directory = project.directory().join(policy);
    fill(&directory, titles.len());
    let mount = format!("/{policy}");
    let filled = if policy == READ_ONLY { "/fill" } else { &mount };
    project.exec("box", &["/bin/exerciser", "fill", filled, &titles.len().to_string()]);
    let stat = fs::metadata(&directory).expect("a directory");
    let (uid, gid) = (stat.uid().to_string(), stat.gid().to_string());
    let mut command = vec!["/bin/exerciser", "matrix", &mount];
    if policy.starts_with("off") {
        command.extend([uid.as_str(), &gid]);
    }
    let before = lines(&directory.join("0"));
    let shown = format!("\n{}", project.exec("box", &command));
    let found: Vec<&str> = shown.split("\n# ").skip(1).collect();
    assert_eq!(found.len(), titles.len(), "{policy}:\n{shown}");
    let result = |(number, (text, title)): (usize, (&&str, &&str))| {
        let (found, text) = text.split_once('\n').unwrap_or((*text, ""));
        assert_eq!(found, *title);
        let after = lines(&directory.join(number.to_string()));
        let host = if number == 0 {
            host_differences(&BTreeMap::new(), &after)
        } else {
            host_differences(&before, &after)
        };
        format!("{}\n{host}", text.trim_end())
    };
    found.iter().zip(titles).enumerate().map(result).collect()
}

#[test]
fn every_operation_does_what_the_table_says() {
    let titles = Command::new(installation::exerciser()).arg("titles").output().expect("it runs");
    let titles = String::from_utf8(titles.stdout).expect("text");
    let titles: Vec<&str> = titles.lines().collect();
    let project = project();
    for (policy, _) in POLICIES {
        fs::create_dir(project.directory().join(policy)).expect("a new directory");
    }
    project.up();
    let results: Vec<_> =
        POLICIES.iter().map(|(policy, _)| (*policy, results(&project, policy, &titles))).collect();
    project.down();

    let mut table = String::from(
        "Operations of a guest under every policy. `+` is a new file, `*` one that changed, `-` one that is gone: kind\n\
         and permissions, links and size, then the owner, or on the host the override and the names of attributes.\n",
    );
    for (number, title) in titles.iter().enumerate() {
        let mut same: Vec<(Vec<&str>, &str)> = Vec::new();
        for (policy, results) in &results {
            match same.iter_mut().find(|(_, known)| *known == results[number]) {
                Some((policies, _)) => policies.push(*policy),
                None => same.push((vec![*policy], results[number].as_str())),
            }
        }
        writeln!(table, "\n{title}").expect("memory");
        for (policies, text) in same {
            let (result, changes) = text.split_once('\n').unwrap_or((text, ""));
            writeln!(table, "  {}: {}", policies.join(" "), result.trim_start_matches("= ")).expect("memory");
            changes.lines().for_each(|line| writeln!(table, "    {line}").expect("memory"));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/mount_matrix.txt");
        fs::write(path, &table).expect("a writable directory");
        return;
    }
    let mut different = String::new();
    for (title, (known, found)) in titles.iter().zip(sections(TABLE).zip(sections(&table))) {
        if known != found {
            write!(different, "{title}\n--- known\n{known}\n--- found\n{found}\n").expect("memory");
        }
    }
    assert!(different.is_empty(), "UPDATE_GOLDEN=1 writes the table:\n{different}");
    assert_eq!(TABLE, table, "UPDATE_GOLDEN=1 writes the table");
}

/// The sections of a table, each with its title.
fn sections(table: &str) -> impl Iterator<Item = &str> {
    table.split("\n\n").skip(1)
}
