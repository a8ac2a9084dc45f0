//! A project with a home of its own, taken down and looked over when the test ends.

use crate::installation;
use crate::leftovers;
use crate::process::Process;
use crate::run::{Msb, Run};
use crate::small_fs::SmallFs;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// In a test's Sandboxfile, stands for the path of an image to boot from.
pub const IMAGE: &str = "@image";

/// How long it may take until what has happened is told of.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// Where that image is: in the project's folder, beyond which nothing is reached without trust.
const IMAGE_FOLDER: &str = "test-image";

/// A project folder and a home.
#[derive(Debug)]
pub struct Project {
    directory: PathBuf,
    home: PathBuf,
    small_home: Option<SmallFs>,
    // Dropped last: everything else lies in it.
    _scratch: TempDir,
}

impl Project {
    /// A new folder with this Sandboxfile in it.
    pub fn new(sandboxfile: &str) -> Self {
        let scratch = scratch();
        let directory = scratch.path().join("project");
        fs::create_dir(&directory).expect("a new folder can be made");
        let project =
            Self { directory, home: scratch.path().join("home"), small_home: None, _scratch: scratch };
        project.write("Sandboxfile", sandboxfile);
        project
    }

    /// The same with a home on a file system of its own. `None` where none can be mounted.
    pub fn with_small_home(sandboxfile: &str, mib: u32, inodes: u32) -> Option<Self> {
        let mut project = Self::new(sandboxfile);
        fs::create_dir(&project.home).expect("a new folder can be made");
        project.small_home = Some(SmallFs::mount(&project.home, mib, inodes)?);
        Some(project)
    }

    /// The file system of a small home.
    pub fn small_home(&self) -> &SmallFs {
        self.small_home.as_ref().expect("the home is a small one")
    }

    /// An example where it stands, with a home of its own.
    pub fn example(name: &str) -> Self {
        let scratch = scratch();
        let directory = installation::example(name);
        assert!(directory.join("image").is_dir(), "{name} has no image: make examples");
        Self { directory, home: scratch.path().join("home"), small_home: None, _scratch: scratch }
    }

    /// A copy of an example, in a folder of the same name.
    pub fn copy_of(name: &str) -> Self {
        let scratch = scratch();
        let directory = scratch.path().join(name);
        copy_tree(&installation::example(name), &directory);
        let lock = directory.join("Sandboxfile.lock");
        if lock.exists() {
            fs::remove_file(lock).expect("a copy can be changed");
        }
        Self { directory, home: scratch.path().join("home"), small_home: None, _scratch: scratch }
    }

    /// The project's folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its MSB_HOME.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Writes a file into the project's folder.
    pub fn write(&self, name: &str, text: &str) {
        let mut text = text.to_owned();
        if text.contains(IMAGE) {
            let image = self.directory.join(IMAGE_FOLDER);
            if !image.exists() {
                copy_tree(&installation::image(), &image);
            }
            text = text.replace(IMAGE, image.to_str().expect("UTF-8"));
        }
        fs::write(self.directory.join(name), text).expect("the folder can be written to");
    }

    /// Gives the project an image of its own in `./image`.
    pub fn own_image(&self) -> PathBuf {
        let image = self.directory.join("image");
        copy_tree(&installation::image(), &image);
        image
    }

    /// Copies an image of an example's to `./NAME`.
    pub fn image_of(&self, example: &str, name: &str) -> PathBuf {
        let (from, image) = (installation::example(example).join(name), self.directory.join(name));
        assert!(from.is_dir(), "{example} has no image {name}: make webstack");
        copy_tree(&from, &image);
        image
    }

    /// `msb` with these arguments, to be run in the project's folder.
    pub fn msb(&self, arguments: &[&str]) -> Msb {
        Msb::new(&self.home, &self.directory, arguments)
    }

    /// A shell's command line in the project's folder.
    pub fn shell(&self, line: &str) -> Msb {
        Msb::shell(&self.home, &self.directory, line)
    }

    /// Runs `msb`.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.msb(arguments).run()
    }

    /// Runs `msb` and asserts that it succeeds.
    pub fn ok(&self, arguments: &[&str]) -> Run {
        self.run(arguments).ok()
    }

    /// Brings the project up and waits until all is well.
    pub fn up(&self) -> Run {
        self.ok(&["up", "-d", "--wait"])
    }

    /// The same for a Sandboxfile that reaches beyond its folder and the public internet.
    pub fn up_trusted(&self) -> Run {
        self.ok(&["up", "-d", "--wait", "--trust"])
    }

    /// The same where the plan destroys data.
    pub fn up_at_any_price(&self) -> Run {
        self.ok(&["up", "-d", "--wait", "--yes"])
    }

    /// Takes the project down; nothing may be left.
    pub fn down(&self) {
        self.ok(&["down"]);
        leftovers::assert_none(&self.home);
    }

    /// The driver that msb chooses here.
    pub fn driver(&self) -> String {
        let report = self.ok(&["doctor", "--json"]).json();
        report["host"]["chosen"]["driver"].as_str().unwrap_or_default().to_owned()
    }

    /// Runs a command in a sandbox: its standard output, which must come with exit code 0.
    pub fn exec(&self, sandbox: &str, command: &[&str]) -> String {
        let arguments: Vec<_> = ["exec", sandbox, "--"].iter().chain(command).copied().collect();
        self.ok(&arguments).out().trim_end().to_owned()
    }

    /// The supervisor of a sandbox and the process of its virtual machine.
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

    /// Waits until msb has told these lines about a sandbox: what happens in its network is written down right after it
    /// has happened.
    pub fn is_told(&self, sandbox: &str, lines: &[&str]) {
        let began = Instant::now();
        loop {
            let log = self.ok(&["logs", sandbox, "--source", "system"]);
            let Some(missing) = lines.iter().find(|line| !log.out().contains(*line)) else { return };
            assert!(began.elapsed() < TOLD_WITHIN, "{missing} is not told of in\n{}", log.out());
        }
    }

    /// What tells one boot of a sandbox from the next.
    pub fn boot_id(&self, sandbox: &str) -> String {
        self.exec(sandbox, &["cat", "/proc/sys/kernel/random/boot_id"])
    }

    /// The logs of every sandbox, for the message of a failed test.
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
            assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        }
    }
}

/// A folder with a short path: a socket's path holds 107 bytes.
fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("msb-").rand_bytes(4).tempdir().expect("a scratch folder can be made")
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder can be made");
    for entry in fs::read_dir(from).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        let kind = fs::symlink_metadata(&path).expect("an entry can be looked at");
        if kind.is_symlink() {
            let link = fs::read_link(&path).expect("a link can be read");
            std::os::unix::fs::symlink(link, &target).expect("a link can be made");
        } else if kind.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).map(drop).expect("a file can be copied");
        }
    }
    let mode = fs::metadata(from).expect("a folder can be looked at").permissions();
    fs::set_permissions(to, mode).expect("a folder's mode can be set");
}
