//! The guest's initramfs: the measuring program and git.

use super::output;
use crate::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("guest.c");

/// Creates an initramfs with the measuring program, and with this host's git and its libraries.
pub fn initramfs(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    fs::create_dir(&root)?;
    let source = folder.join("guest.c");
    fs::write(&source, SOURCE)?;
    let mut compile = Command::new("cc");
    compile.args(["-static", "-O2", "-s", "-o"]).arg(root.join("init")).arg(&source);
    output(compile)?;
    let mut which = Command::new("sh");
    which.args(["-c", "command -v git"]);
    let git = output(which)?;
    fs::copy(git.trim(), root.join("git"))?;
    let mut libraries = Command::new("ldd");
    libraries.arg(git.trim());
    // `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the loader.
    for word in output(libraries)?.split_ascii_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(word.trim_start_matches('/'));
        fs::create_dir_all(target.parent().ok_or("a library without a folder")?)?;
        fs::copy(word, target)?;
    }
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | cpio -o -H newc --quiet >../initramfs"]).current_dir(&root);
    output(pack)?;
    Ok(folder.join("initramfs"))
}
