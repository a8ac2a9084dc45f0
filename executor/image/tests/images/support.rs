//! Shared fixtures: building images, and e2fsprogs.

use executor_image::{ImageError, Progress, build, resolve};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tool of e2fsprogs, which is not on every user's PATH.
fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Panics unless e2fsck reports nothing.
pub fn check(image: &Path) {
    let output = tool("e2fsck").args(["-f", "-n"]).arg(image).output().expect("e2fsprogs is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    // Anything but the passes and the summary is a problem.
    let complaints: Vec<_> =
        text.lines().filter(|line| !line.starts_with("Pass ") && !line.contains(" files (")).collect();
    assert!(complaints.is_empty(), "{text}");
}

/// The output of debugfs for a request.
pub fn debugfs(image: &Path, request: &str) -> String {
    let output = tool("debugfs").args(["-R", request]).arg(image).output().expect("e2fsprogs is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Modifies an image with debugfs.
pub fn debugfs_write(image: &Path, request: &str) {
    let output =
        tool("debugfs").args(["-w", "-R", request]).arg(image).output().expect("e2fsprogs is installed");
    assert!(output.status.success(), "{output:?}");
}

/// A file's contents in an image.
pub fn cat(image: &Path, path: &str) -> Vec<u8> {
    tool("debugfs")
        .args(["-R", &format!("cat {path}")])
        .arg(image)
        .output()
        .expect("e2fsprogs is installed")
        .stdout
}

/// `type mode uid gid size` of a path in an image.
pub fn stat(image: &Path, path: &str) -> String {
    let text = debugfs(image, &format!("stat {path}"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let after = |key: &str| words.iter().position(|word| *word == key).map_or("?", |index| words[index + 1]);
    let (kind, mode) = (after("Type:"), after("Mode:"));
    format!("{kind} {mode} {}:{} {}", after("User:"), after("Group:"), after("Size:"))
}

/// Resolves and builds.
pub fn make(source: &Path, store: &Path) -> Result<PathBuf, ImageError> {
    let resolved = resolve(source, None, store)?;
    build(source, &resolved.digest, store, &mut |_: Progress| {})
}

/// An error and its causes on one line.
pub fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
