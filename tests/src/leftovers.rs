//! What must not be left after `msb down`.

use crate::process;
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a signalled process may take to end after `down` has returned.
const TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// Finds the files of sandboxes and projects in a home, and its processes.
pub fn find(home: &Path) -> Vec<String> {
    let deadline = Instant::now() + TIMEOUT;
    let mut processes = process::of_home(home);
    while !processes.is_empty() && Instant::now() < deadline {
        std::thread::sleep(POLL);
        processes = process::of_home(home);
    }
    let mut found: Vec<String> =
        processes.iter().map(|process| format!("process {}", process::describe(process.pid))).collect();
    found.extend(files(home).iter().map(|path| format!("file {}", path.display())));
    found.extend(registry(home));
    found
}

/// Finds the registry of metrics of a home.
fn registry(home: &Path) -> Option<String> {
    let digest = Sha256::digest(home.as_os_str().as_bytes());
    let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let path = Path::new("/dev/shm").join(format!("msb-met-{hex}-v1"));
    path.exists().then(|| format!("file {}", path.display()))
}

/// Asserts that nothing is left.
pub fn assert_none(home: &Path) {
    let found = find(home);
    assert!(found.is_empty(), "not removed:\n  {}", found.join("\n  "));
}

/// Finds the files of sandboxes and projects. The catalog and the image cache may stay.
fn files(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            "catalog.db" | "catalog.db-wal" | "catalog.db-shm" | "config.json" | "guest" | "reserve" => {}
            "images" => found.extend(unfinished(&entry.path())),
            "run" | "sandboxes" | "snapshots" | "volumes" => collect(&entry.path(), &mut found),
            _ => found.push(entry.path()),
        }
    }
    found.retain(|path| !EMPTY_FOLDERS.iter().any(|kept| home.join(kept) == *path));
    found.sort();
    found
}

/// Directories that may stay if they are empty.
const EMPTY_FOLDERS: [&str; 6] =
    ["run", "run/projects", "run/sandboxes", "sandboxes", "snapshots", "volumes"];

/// Collects a directory and everything below it.
fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    found.push(path.to_owned());
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), found);
        }
    }
}

/// Finds temporary files and locks in the image cache.
fn unfinished(images: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(images, &mut found);
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.') || [".lock", ".part", ".tmp"].iter().any(|end| name.ends_with(end))
    });
    found
}
