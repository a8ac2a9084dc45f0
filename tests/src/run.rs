//! Runs of `msb` in a clean environment, and their results.

use crate::installation;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// More than any command of these tests takes on an emulated host inside an emulated host.
const TIMEOUT: Duration = Duration::from_secs(240);
/// How long output may stay open after the end of the command: a process that it started may keep it open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// A command line of `msb` that is not started yet.
#[derive(Debug)]
pub struct Msb {
    command: Command,
    input: Vec<u8>,
    shown: String,
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// The command line, as a user would type it.
    pub shown: String,
    /// The exit code; 128 + n for signal n.
    pub code: i32,
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error.
    pub stderr: Vec<u8>,
}

impl Msb {
    /// Prepares `msb` with arguments.
    pub fn new(home: &Path, directory: &Path, arguments: &[&str]) -> Self {
        Self::of(&installation::program(), home, directory, arguments)
    }

    /// Prepares another `msb` than the one under test.
    pub fn of(program: &Path, home: &Path, directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::prepared(command, home, directory, format!("msb {}", arguments.join(" ")))
    }

    /// Prepares a shell's command line; its `msb` is the one under test.
    pub fn shell(home: &Path, directory: &Path, line: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        Self::prepared(command, home, directory, line.to_owned())
    }

    fn prepared(mut command: Command, home: &Path, directory: &Path, shown: String) -> Self {
        command.current_dir(directory).env_clear().env("MSB_HOME", home).env("HOME", home);
        command.env("PATH", search_path()).env("LANG", "C.UTF-8").env("CI", "true").env("NO_COLOR", "1");
        for kept in ["MSB_DRIVER", "TMPDIR", "LD_LIBRARY_PATH"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        Self { command, input: Vec::new(), shown }
    }

    /// Names the guest kernel and the initramfs in its environment.
    pub fn with_guest(mut self) -> Self {
        self.command.envs(installation::guest());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets standard input.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Returns the underlying command.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it with its output discarded. The caller waits for it.
    pub fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", self.shown))
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            self.command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", self.shown));
        let mut stdin = child.stdin.take().expect("piped");
        let input = self.input;
        // A command need not read all of its input.
        std::thread::spawn(move || stdin.write_all(&input));
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Running { shown: self.shown, child, stdout, stderr }
    }

    /// Starts it and waits for its end.
    pub fn run(self) -> Run {
        self.start().finish()
    }
}

/// A started run.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Child,
    stdout: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
}

impl Running {
    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is small")
    }

    /// Waits for its end and returns its result.
    pub fn finish(mut self) -> Run {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(POLL),
                None => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    panic!("`{}` did not end within {TIMEOUT:?}{}", self.shown, self.said());
                }
            }
        };
        let held =
            |name| panic!("`{}` has ended, but a process that it started holds its {name}", self.shown);
        let stdout = self.stdout.recv_timeout(OUTPUT_TIMEOUT).unwrap_or_else(|_| held("stdout"));
        let stderr = self.stderr.recv_timeout(OUTPUT_TIMEOUT).unwrap_or_else(|_| held("stderr"));
        Run { shown: self.shown, code: exit_code(status), stdout, stderr }
    }

    fn said(&self) -> String {
        let part = |output: &mpsc::Receiver<Vec<u8>>| {
            String::from_utf8_lossy(&output.recv_timeout(OUTPUT_TIMEOUT).unwrap_or_default()).into_owned()
        };
        format!("\n--- stdout\n{}\n--- stderr\n{}", part(&self.stdout), part(&self.stderr))
    }
}

impl Run {
    /// Standard output as text.
    pub fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|error| self.fail(&format!("stdout: {error}")))
    }

    /// Standard error as text.
    pub fn err(&self) -> &str {
        std::str::from_utf8(&self.stderr).unwrap_or_else(|error| self.fail(&format!("stderr: {error}")))
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| self.fail(&format!("not JSON: {error}")))
    }

    /// Asserts on the exit code.
    pub fn exits(self, code: i32) -> Self {
        if self.code != code {
            self.fail(&format!("expected exit code {code}"));
        }
        self
    }

    /// Asserts that it succeeded.
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts on the whole of standard output.
    pub fn prints(self, text: &str) -> Self {
        if self.stdout != text.as_bytes() {
            self.fail(&format!("expected {text:?} on stdout"));
        }
        self
    }

    /// Asserts that standard output contains a text.
    pub fn prints_some(self, text: &str) -> Self {
        if !String::from_utf8_lossy(&self.stdout).contains(text) {
            self.fail(&format!("expected {text:?} in stdout"));
        }
        self
    }

    /// Asserts that standard error contains a text.
    pub fn says(self, text: &str) -> Self {
        if !String::from_utf8_lossy(&self.stderr).contains(text) {
            self.fail(&format!("expected {text:?} in stderr"));
        }
        self
    }

    /// Fails the test with the run's command line and output.
    pub fn fail(&self, why: &str) -> ! {
        panic!(
            "{why}\n$ {}\n[exit {}]\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            self.code,
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr),
        )
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// Returns the tests' own search path, after the directory of the `msb` under test.
fn search_path() -> OsString {
    let program = installation::program();
    let mut folders = vec![program.parent().expect("an absolute path").to_owned()];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    // mkfs.ext4 and debugfs are not on every user's path.
    folders.extend(["/usr/sbin", "/sbin"].map(Into::into));
    std::env::join_paths(folders).expect("no folder holds a colon")
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
