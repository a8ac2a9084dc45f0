//! Many operations in a guest under every policy of mounts: what the guest sees, and what the host has afterwards.
//!
//! `UPDATE_GOLDEN=1` writes the table. It is the same for every driver and every user of the host. `E2E_MATRIX` names the
//! policies to run instead of all, separated by spaces: under an emulated libkrun each takes some minutes.

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

/// The most operations of one command: each has a time limit.
const PIECE: usize = 40;

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
    let stat = fs::metadata(&directory).expect("a directory");
    let host = [stat.uid().to_string(), stat.gid().to_string()];
    let host = if policy.starts_with("off") { &host[..] } else { &[] };
    let exercise = |command: &str, mount: &str, host: &[String]| {
        let piece = |from: usize| {
            let numbers = [from, titles.len().min(from + PIECE)].map(|number| number.to_string());
            let mut words = vec!["/bin/exerciser", command, mount, &numbers[0], &numbers[1]];
            words.extend(host.iter().map(String::as_str));
            format!("\n{}", project.exec("box", &words))
        };
        (0..titles.len()).step_by(PIECE).map(piece).collect::<String>()
    };
    exercise("fill", filled, &[]);
    let before = lines(&directory.join("0"));
    let shown = exercise("matrix", &mount, host);
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
    let wanted = std::env::var("E2E_MATRIX").ok();
    let is_wanted = |policy: &str| wanted.as_ref().is_none_or(|all| all.split(' ').any(|one| one == policy));
    let policies = POLICIES.iter().map(|(policy, _)| *policy).filter(|policy| is_wanted(policy));
    let results: Vec<_> = policies.map(|policy| (policy, results(&project, policy, &titles))).collect();
    project.down();
    assert!(!results.is_empty(), "`{wanted:?}` names no policy");
    let is_krun = std::env::var("MSB_DRIVER").is_ok_and(|driver| driver == "krun");
    if wanted.is_some() || is_krun {
        let mut different = String::new();
        for (policy, results) in &results {
            let known = known(policy);
            for (title, found) in titles.iter().zip(results) {
                let known = match *title {
                    // libkrun's server drops the flag, and renames.
                    "rename with a whiteout" if is_krun => known["rename"].replace("dir/new", "new"),
                    title => known.get(title).cloned().unwrap_or_default(),
                };
                let found = in_table(found);
                if known != found {
                    writeln!(different, "{policy}: {title}\n--- known\n{known}--- found\n{found}")
                        .expect("memory");
                }
            }
        }
        assert!(different.is_empty(), "{different}");
        return;
    }

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
        for (policies, result) in same {
            write!(table, "  {}: {}", policies.join(" "), in_table(result)).expect("memory");
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

/// Returns the result of an operation as it is in the table, after the policies.
fn in_table(result: &str) -> String {
    let (result, changes) = result.split_once('\n').unwrap_or((result, ""));
    let mut text = format!("{}\n", result.trim_start_matches("= "));
    changes.lines().for_each(|line| writeln!(text, "    {line}").expect("memory"));
    text
}

/// Returns the known results under a policy by their titles.
fn known(policy: &str) -> BTreeMap<&'static str, String> {
    let of_section = |section: &'static str| {
        let title = section.lines().next().unwrap_or_default();
        let (mut known, mut is_of_policy) = (String::new(), false);
        for line in section.lines().skip(1) {
            let line = match line.strip_prefix("  ").and_then(|line| line.split_once(": ")) {
                Some((policies, result)) if !policies.starts_with(' ') => {
                    is_of_policy = policies.split(' ').any(|one| one == policy);
                    result
                }
                _ => line,
            };
            if is_of_policy {
                writeln!(known, "{line}").expect("memory");
            }
        }
        (title, known)
    };
    sections(TABLE).map(of_section).collect()
}

/// The sections of a table, each with its title.
fn sections(table: &str) -> impl Iterator<Item = &str> {
    table.split("\n\n").skip(1)
}
