//! A project in a scratch directory with an `MSB_HOME` of its own, taken down and checked for leftovers on drop.

use crate::installation;
use crate::leftovers;
use crate::process::Process;
use crate::run::{Msb, Run};
use crate::small_fs::SmallFs;
use crate::wait::retry;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Stands for the path of the project's image in a test's Sandboxfile.
pub const IMAGE: &str = "@image";

/// The directory of that image: inside the project, as everything outside needs trust.
const IMAGE_DIRECTORY: &str = "test-image";

/// The images of `examples/`, by their directories.
const EXAMPLE_IMAGES: [&str; 4] = ["image", "client", "proxy", "app"];

/// A project directory and a home.
#[derive(Debug)]
pub struct Project {
    directory: PathBuf,
    home: PathBuf,
    /// Whether its sandboxes can be booted.
    boots: bool,
    small_home: Option<SmallFs>,
    // Dropped last: everything else is inside.
    _scratch: TempDir,
}

impl Project {
    /// Creates a project with this Sandboxfile.
    pub fn new(sandboxfile: &str) -> Self {
        Self::create(sandboxfile, true)
    }

    /// Creates a project whose sandboxes are never booted: its images hold a few files, and msb finds no guest kernel.
    pub fn without_guest(sandboxfile: &str) -> Self {
        Self::create(sandboxfile, false)
    }

    fn create(sandboxfile: &str, boots: bool) -> Self {
        let project = Self::in_scratch("project", boots);
        fs::create_dir(&project.directory).expect("a new directory");
        project.write("Sandboxfile", sandboxfile);
        project
    }

    /// Prepares a project whose directory does not exist yet.
    fn in_scratch(name: &str, boots: bool) -> Self {
        // A short path: that of a socket holds 107 bytes.
        let scratch =
            tempfile::Builder::new().prefix("msb-").rand_bytes(4).tempdir().expect("a scratch directory");
        let [directory, home] = [name, "home"].map(|name| scratch.path().join(name));
        Self { directory, home, boots, small_home: None, _scratch: scratch }
    }

    /// Creates a project whose home is a file system of its own. `None` if none can be mounted.
    pub fn with_small_home(sandboxfile: &str, mib: u32, inodes: u32) -> Option<Self> {
        let mut project = Self::new(sandboxfile);
        fs::create_dir(&project.home).expect("a new directory");
        project.small_home = Some(SmallFs::mount(&project.home, mib, inodes)?);
        Some(project)
    }

    /// The file system of a small home.
    pub fn small_home(&self) -> &SmallFs {
        self.small_home.as_ref().expect("the home is a small one")
    }

    /// An example in place, with a home of its own.
    pub fn example(name: &str) -> Self {
        let directory = installation::example(name);
        assert!(directory.join("image").is_dir(), "{name} has no image: make examples");
        let mut project = Self::in_scratch(name, true);
        project.directory = directory;
        project
    }

    /// A copy of an example, in a directory of the same name.
    pub fn copy_of(name: &str) -> Self {
        let project = Self::in_scratch(name, true);
        copy_tree(&installation::example(name), &project.directory, &["Sandboxfile.lock"]);
        project
    }

    /// A copy of an example whose sandboxes are never booted.
    pub fn copy_without_guest(name: &str) -> Self {
        let project = Self::in_scratch(name, false);
        let left_out = [&["Sandboxfile.lock"][..], &EXAMPLE_IMAGES].concat();
        copy_tree(&installation::example(name), &project.directory, &left_out);
        EXAMPLE_IMAGES.iter().for_each(|image| project.create_image(&project.directory.join(image)));
        project
    }

    /// The project's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its `MSB_HOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Writes a file into the project's directory.
    pub fn write(&self, name: &str, text: &str) {
        let mut text = text.to_owned();
        if text.contains(IMAGE) {
            let image = self.directory.join(IMAGE_DIRECTORY);
            if !image.exists() {
                self.create_image(&image);
            }
            text = text.replace(IMAGE, image.to_str().expect("UTF-8"));
        }
        fs::write(self.directory.join(name), text).expect("a writable directory");
    }

    /// Removes the Sandboxfile.
    pub fn remove_sandboxfile(&self) {
        fs::remove_file(self.directory.join("Sandboxfile")).expect("there is one");
    }

    /// Creates an image in `./image` and returns its path.
    pub fn own_image(&self) -> PathBuf {
        let image = self.directory.join("image");
        self.create_image(&image);
        image
    }

    /// Creates an image in `./image` with the program that exercises files, `/bin/exerciser`.
    pub fn exerciser_image(&self) {
        let image = self.own_image();
        fs::copy(installation::exerciser(), image.join("bin/exerciser")).expect("a writable directory");
    }

    fn create_image(&self, image: &Path) {
        if self.boots {
            copy_tree(&installation::image(), image, &[]);
        } else {
            for (path, text) in [("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), ("etc/motd", "hello\n")] {
                let path = image.join(path);
                fs::create_dir_all(path.parent().expect("a file of a directory")).expect("a new directory");
                fs::write(path, text).expect("a writable directory");
            }
        }
    }

    /// Copies an image of an example to `./NAME`.
    pub fn image_of(&self, example: &str, name: &str) -> PathBuf {
        let (from, image) = (installation::example(example).join(name), self.directory.join(name));
        assert!(from.is_dir(), "{example} has no image {name}: make examples webstack");
        copy_tree(&from, &image, &[]);
        image
    }

    /// Prepares `msb` with these arguments in the project's directory.
    pub fn msb(&self, arguments: &[&str]) -> Msb {
        self.msb_in(&self.directory, arguments)
    }

    /// Prepares `msb` with these arguments in another directory.
    pub fn msb_in(&self, directory: &Path, arguments: &[&str]) -> Msb {
        self.with_guest(Msb::new(&self.home, directory, arguments))
    }

    /// Prepares a shell's command line in the project's directory.
    pub fn shell(&self, line: &str) -> Msb {
        self.with_guest(Msb::shell(&self.home, &self.directory, line))
    }

    fn with_guest(&self, msb: Msb) -> Msb {
        if self.boots { msb.with_guest() } else { msb }
    }

    /// Runs `msb`.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.msb(arguments).run()
    }

    /// Runs `msb` and asserts that it succeeds.
    pub fn ok(&self, arguments: &[&str]) -> Run {
        self.run(arguments).ok()
    }

    /// Brings the project up and waits until everything is ready.
    pub fn up(&self) -> Run {
        self.ok(&["up", "-d", "--wait"])
    }

    /// Brings up a Sandboxfile that needs trust.
    pub fn up_trusted(&self) -> Run {
        self.ok(&["up", "-d", "--wait", "--trust"])
    }

    /// Applies a plan that destroys data.
    pub fn up_yes(&self) -> Run {
        self.ok(&["up", "-d", "--wait", "--yes"])
    }

    /// Takes the project down and asserts that nothing is left.
    pub fn down(&self) {
        self.ok(&["down"]);
        leftovers::assert_none(&self.home);
    }

    /// The name of the driver that msb chooses on this host.
    pub fn driver(&self) -> String {
        let report = self.ok(&["doctor", "--json"]).json();
        report["host"]["chosen"]["driver"].as_str().unwrap_or_default().to_owned()
    }

    /// Runs a command in a sandbox, asserts that it succeeds, and returns its standard output without the last line end.
    pub fn exec(&self, sandbox: &str, command: &[&str]) -> String {
        let arguments: Vec<_> = ["exec", sandbox, "--"].iter().chain(command).copied().collect();
        self.ok(&arguments).out().trim_end().to_owned()
    }

    /// Returns what `msb inspect` prints about a sandbox.
    pub fn inspect(&self, sandbox: &str) -> Value {
        self.ok(&["inspect", "--json", sandbox]).json()["sandboxes"][0].take()
    }

    /// Returns what `msb ps --all` prints about each sandbox.
    pub fn list(&self) -> Vec<Value> {
        match self.ok(&["ps", "--all", "--json"]).json()["sandboxes"].take() {
            Value::Array(sandboxes) => sandboxes,
            other => panic!("no list of sandboxes: {other}"),
        }
    }

    /// Returns the sandbox's log files whose names have this prefix.
    pub fn log_files(&self, sandbox: &str, prefix: &str) -> Vec<PathBuf> {
        let logs = self.inspect(sandbox)["logs"].take();
        let entries = fs::read_dir(logs.as_str().expect("a path")).expect("a readable directory");
        let paths = entries.map(|entry| entry.expect("a readable directory").path());
        let has_prefix = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        };
        paths.filter(has_prefix).collect()
    }

    /// Returns a sandbox's supervisor and VMM.
    pub fn processes(&self, sandbox: &str) -> Processes {
        let folders = fs::read_dir(self.home.join("sandboxes")).into_iter().flatten().flatten();
        let read = |path: PathBuf| -> Value {
            serde_json::from_slice(&fs::read(path).unwrap_or_default()).unwrap_or_default()
        };
        let folder = folders
            .map(|entry| entry.path())
            .find(|folder| read(folder.join("orders.json"))["name"] == *sandbox)
            .unwrap_or_else(|| panic!("there is no sandbox {sandbox}"));
        let state = read(folder.join("state.json"));
        let process = |name: &str| {
            let pid = state[name]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            pid.and_then(Process::find).unwrap_or_else(|| panic!("{sandbox} has no {name}: {state}"))
        };
        Processes { supervisor: process("supervisor"), vmm: process("vmm") }
    }

    /// Returns the file server of a sandbox's mounts.
    pub fn file_server(&self, sandbox: &str) -> Process {
        let supervisor = self.processes(sandbox).supervisor.pid;
        let is_server = |pid: i32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent =
                stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(1)?.parse().ok());
            command.split(|&byte| byte == 0).nth(1) == Some(b"share") && parent == Some(supervisor)
        };
        let pids = fs::read_dir("/proc").expect("processes").flatten();
        let mut servers = pids
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|&pid| is_server(pid))
            .filter_map(Process::find);
        let server = servers.next().expect("a file server");
        assert_eq!(servers.next(), None, "one server for all mounts");
        server
    }

    /// Waits until the standard output of an msb command contains a text.
    pub fn wait_for_output(&self, arguments: &[&str], text: &str) {
        retry(|| {
            let run = self.ok(arguments);
            if run.out().contains(text) {
                Ok(())
            } else {
                Err(format!("`msb {}` lacks {text:?}:\n{}", arguments.join(" "), run.out()))
            }
        });
    }

    /// Waits until the sandbox's system log contains these lines: events of its network are logged asynchronously.
    pub fn wait_for_log(&self, sandbox: &str, lines: &[&str]) {
        lines.iter().for_each(|line| self.wait_for_output(&["logs", sandbox, "--source", "system"], line));
    }

    /// Returns the id of the sandbox's current boot.
    pub fn boot_id(&self, sandbox: &str) -> String {
        self.exec(sandbox, &["cat", "/proc/sys/kernel/random/boot_id"])
    }

    /// Returns the ends of every sandbox's logs, for the message of a failed test.
    fn logs(&self) -> String {
        let mut text = String::new();
        let folders = fs::read_dir(self.home.join("sandboxes")).into_iter().flatten().flatten();
        for folder in folders.map(|entry| entry.path()) {
            for file in ["state.json", "logs/runtime.log", "logs/kernel.log", "logs/exec.log"] {
                let bytes = fs::read(folder.join(file)).unwrap_or_default();
                let end = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4096)..]).into_owned();
                if !end.is_empty() {
                    text.push_str(&format!("--- {}\n{end}\n", folder.join(file).display()));
                }
            }
        }
        text
    }
}

/// The processes of one sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    /// Its supervisor.
    pub supervisor: Process,
    /// Its virtual machine monitor.
    pub vmm: Process,
}

impl Drop for Project {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("{}", self.logs());
        }
        if leftovers::find(&self.home).is_empty() {
            return;
        }
        let run = std::panic::catch_unwind(|| self.run(&["down", "--timeout", "2s"]));
        let left = leftovers::find(&self.home);
        for process in crate::process::of_home(&self.home) {
            process.kill();
        }
        if !failed {
            match run {
                Ok(run) => drop(run.ok()),
                Err(cause) => std::panic::resume_unwind(cause),
            }
            assert!(left.is_empty(), "not removed:\n  {}", left.join("\n  "));
        }
    }
}

/// Copies a directory without some names of its top level.
fn copy_tree(from: &Path, to: &Path, left_out: &[&str]) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a readable directory") {
        let path = entry.expect("a readable directory").path();
        let name = path.file_name().expect("an entry has a name");
        if left_out.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let target = to.join(name);
        let kind = fs::symlink_metadata(&path).expect("an entry").file_type();
        if kind.is_symlink() {
            let link = fs::read_link(&path).expect("a link");
            std::os::unix::fs::symlink(link, &target).expect("a new link");
        } else if kind.is_dir() {
            copy_tree(&path, &target, &[]);
        } else {
            fs::copy(&path, &target).map(drop).expect("a readable file");
        }
    }
    let mode = fs::metadata(from).expect("a directory").permissions();
    fs::set_permissions(to, mode).expect("a directory of this user");
}
