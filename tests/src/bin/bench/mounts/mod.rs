//! Files of the host in a guest: a mount and both kinds of volume, beside virtiofsd and 9p.
//!
//! One guest under QEMU has all of them, so that they have the same processor, kernel and devices. Its first process
//! (`guest.c`) measures one file system after the other, in several rounds. All files are on one file system of the host,
//! and in the host's cache. Cold is after `drop_caches` in the guest; warm is 2 s after the same operation.
//!
//! virtiofsd has its default policy, `--cache auto`: the guest trusts what it has cached for a second. `--cache always` is
//! shown beside it: it never notices changes of the host. 9p has QEMU's local back end without its caches, which is its
//! default, and the largest messages that its device takes.

mod guest;
mod report;

use crate::Result;
use crate::large::Row;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use report::Report;

/// The numbers of directories, and of files per directory; `guest.c` has the same.
const FOLDERS: usize = 100;
const FILES: usize = 100;
/// The memory of the guest: enough for one stream in its cache beside the inodes of all file systems.
const MEMORY_MIB: &str = "768";
/// The size of the disk.
const DISK: &str = "1G";
/// The version of virtiofsd, built from the registry.
const VIRTIOFSD: &str = "1.14.0";
/// The longest wait for virtiofsd's socket.
const SOCKET_PATIENCE: Duration = Duration::from_secs(10);
/// The file systems that have a directory of the host each.
const DIRECTORIES: [&str; 5] = ["mount", "volume", "virtiofsd", "virtiofsd-always", "9p"];
/// The product's QEMU, with three devices more: the same command line for all. Its jail would not let it use them; the file
/// server is in its own.
const QEMU: &str = r#"#!/bin/sh
exec QEMU "$@" \
    -chardev socket,id=virtiofsd,path=FOLDER/virtiofsd.socket \
    -device vhost-user-fs-device,chardev=virtiofsd,tag=virtiofsd,queue-size=1024 \
    -chardev socket,id=always,path=FOLDER/virtiofsd-always.socket \
    -device vhost-user-fs-device,chardev=always,tag=virtiofsd-always,queue-size=1024 \
    -fsdev local,id=plan9,path=FOLDER/9p,security_model=none,multidevs=remap \
    -device virtio-9p-device,fsdev=plan9,mount_tag=9p
"#;

/// Measures all file systems, or those that `MSB_BENCH_MOUNTS` names, separated by commas. `MSB_BENCH_FOLDERS` is a smaller
/// number of directories, for a quicker run.
pub fn measure(runs: usize) -> Result<(Report, Vec<Row>)> {
    eprintln!("bench: preparing mounts of {} files", folders()? * FILES);
    let kernel = kernel()?;
    let virtiofsd = virtiofsd()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    make_trees(path)?;
    let initramfs = guest::initramfs(path)?;
    let mut servers = Vec::new();
    for (name, cache) in [("virtiofsd", "auto"), ("virtiofsd-always", "always")] {
        servers.push(Server::start(&virtiofsd, &path.join(name), cache)?);
    }
    let report = boot(path, [&kernel, &initramfs], runs)?;
    drop(servers);
    let rows = report.goals();
    Ok((report, rows))
}

/// Returns the number of directories.
fn folders() -> Result<usize> {
    let fewer = std::env::var("MSB_BENCH_FOLDERS").ok();
    Ok(fewer.map(|text| text.parse()).transpose()?.unwrap_or(FOLDERS))
}

/// Returns a kernel that has 9p beside what the product's has.
fn kernel() -> Result<PathBuf> {
    let root = tests::installation::root();
    let mut build = Command::new(root.join("agentd/kernel/build"));
    build.arg("--with").arg(root.join("tests/src/bin/bench/mounts/9p.config"));
    Ok(output(build)?.trim().into())
}

/// Returns virtiofsd, built on the first call.
fn virtiofsd() -> Result<PathBuf> {
    let cache = match (std::env::var_os("MSB_CACHE"), std::env::var_os("XDG_CACHE_HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(caches)) => Path::new(&caches).join("msb"),
        (None, None) => Path::new(&std::env::var_os("HOME").ok_or("HOME is not set")?).join(".cache/msb"),
    };
    let folder = cache.join(format!("virtiofsd-{VIRTIOFSD}"));
    let program = folder.join("bin/virtiofsd");
    if !program.is_file() {
        let mut install = Command::new("cargo");
        install.args(["install", "virtiofsd", "--version", VIRTIOFSD, "--locked", "--root"]).arg(&folder);
        output(install)?;
    }
    Ok(program)
}

/// Makes a git repository, a copy of it per file system, and the disk.
fn make_trees(folder: &Path) -> Result<()> {
    let first = folder.join(DIRECTORIES[0]);
    let tree = first.join("tree");
    for number in 0..folders()? {
        let below = format!("folder{number:02}");
        fs::create_dir_all(first.join("made").join(&below))?;
        fs::create_dir_all(tree.join(&below))?;
        for file in 0..FILES {
            let text = format!("file {file} of {below}\n").repeat(1 + file % 100);
            fs::write(tree.join(&below).join(format!("file{file:02}.txt")), text)?;
        }
    }
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        // Without a `git gc` in the background, which would go on while the tree is copied.
        for setting in
            ["user.name=bench", "user.email=bench@localhost", "gc.auto=0", "maintenance.auto=false"]
        {
            git.args(["-c", setting]);
        }
        git.arg("-C").arg(&tree).args(arguments);
        output(git).map(drop)
    };
    git(&["init", "--quiet"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "--message", "all"])?;
    git(&["gc", "--quiet"])?;
    for name in &DIRECTORIES[1..] {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(&first).arg(folder.join(name));
        output(copy)?;
    }
    let mut format = Command::new("mkfs.ext4");
    format.args(["-q", "-d"]).arg(&first).arg(folder.join("disk")).arg(DISK);
    output(format).map(drop)
}

/// Boots the guest, and collects its figures.
fn boot(folder: &Path, [kernel, initramfs]: [&Path; 2], runs: usize) -> Result<Report> {
    let wrapper = folder.join("bin/qemu-system-x86_64");
    fs::create_dir(folder.join("bin"))?;
    let qemu = output({
        let mut which = Command::new("sh");
        which.args(["-c", "command -v qemu-system-x86_64"]);
        which
    })?;
    let folder_name = folder.to_str().ok_or("a folder's name is not UTF-8")?;
    fs::write(&wrapper, QEMU.replace("QEMU", qemu.trim()).replace("FOLDER", folder_name))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let mut search = folder.join("bin").into_os_string();
    search.push(":");
    search.push(std::env::var_os("PATH").unwrap_or_default());
    let program = std::env::current_exe()?.with_file_name("examples").join("mounted");
    let mut mounted = Command::new(program);
    mounted.args([
        "--driver",
        "qemu",
        "--without-jail",
        "--memory",
        MEMORY_MIB,
        "--append",
        &format!("rounds={runs}"),
    ]);
    for (variable, word) in [("MSB_BENCH_MOUNTS", "only"), ("MSB_BENCH_FOLDERS", "folders")] {
        if let Some(value) = std::env::var_os(variable) {
            mounted.args(["--append", &format!("{word}={}", value.to_string_lossy())]);
        }
    }
    mounted.arg("--disk").arg(folder.join("disk")).arg(kernel).arg(initramfs);
    mounted.args(["mount", "volume"].map(|name| folder.join(name))).env("PATH", search);
    let mut child = mounted.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut report = Report::of_files(folders()? * FILES);
    let mut complete = false;
    for line in BufReader::new(child.stdout.take().ok_or("no stdout")?).lines() {
        let line = line?;
        let line = line.trim();
        match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["@", name, phase, nanoseconds] => {
                report.add(name, phase, Duration::from_nanos(nanoseconds.parse()?));
            }
            ["round", round] => eprintln!("bench: mounts, round {round} of {runs}"),
            ["done"] => complete = true,
            _ => eprintln!("bench: the guest: {line}"),
        }
    }
    child.wait()?;
    if complete { Ok(report) } else { Err("the guest ended early".into()) }
}

/// Runs a command, and returns its output.
fn output(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?} failed: {}", output.status).into())
}

/// A running virtiofsd, killed with its guard.
struct Server(Child);

impl Server {
    /// Serves a directory at a socket with its name, and waits for that.
    fn start(program: &Path, directory: &Path, cache: &str) -> Result<Self> {
        let socket = directory.with_extension("socket");
        let mut command = Command::new(program);
        // Its sandbox costs nothing at run time, but is not everywhere possible.
        command.args(["--sandbox", "none", "--log-level", "error", "--cache", cache]);
        command.arg("--shared-dir").arg(directory).arg("--socket-path").arg(&socket);
        let server = Self(command.stdin(Stdio::null()).spawn()?);
        let began = Instant::now();
        while !socket.exists() {
            if began.elapsed() > SOCKET_PATIENCE {
                return Err("virtiofsd does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended with the guest, or not.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
