//! Runs `msb` as a child process, which ends when the call is dropped. Its output is bounded in size and time.

use crate::error::{Error, Result};
use crate::failure::failure;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// The longest run of an ordinary command.
const SHORT: Duration = Duration::from_secs(600);
/// The longest run of a command that may transfer images.
const LONG: Duration = Duration::from_secs(3600);
/// The largest document on standard output, in bytes.
const STDOUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The end of standard error that is kept, in bytes.
const STDERR_BYTES_MAX: usize = 256 * 1024;
/// The time for `msb` to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// An `msb` with its state folder.
#[derive(Debug, Default)]
pub(crate) struct Msb {
    pub home: Option<PathBuf>,
    pub program: Option<PathBuf>,
    pub driver: Option<String>,
}

/// The arguments of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    args: Vec<OsString>,
    cwd: Option<PathBuf>,
    env: Vec<(String, String)>,
    name: Option<String>,
    limit: Limit,
}

/// The longest time of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Limit {
    #[default]
    Short,
    /// For commands that may transfer images.
    Long,
    /// That of an ordinary command, after a wait that the caller has limited.
    After(Duration),
    /// For waits that the caller limits.
    None,
}

impl Run {
    pub fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Self { args, ..Self::default() }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds an argument if there is one.
    pub fn optional(self, arg: Option<impl AsRef<OsStr>>) -> Self {
        self.args(arg)
    }

    /// Adds a flag if it is set.
    pub fn flag(self, flag: &str, is_set: bool) -> Self {
        self.optional(is_set.then_some(flag))
    }

    /// Sets what failures are about.
    pub fn about(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub fn cwd(mut self, cwd: &Path) -> Self {
        self.cwd = Some(cwd.to_owned());
        self
    }

    pub fn env(mut self, env: &[(String, String)]) -> Self {
        self.env.extend_from_slice(env);
        self
    }

    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    pub fn subject(&self) -> Option<&str> {
        self.name.as_deref()
    }

    #[cfg(test)]
    pub fn words(&self) -> Vec<&str> {
        self.args.iter().filter_map(|arg| arg.to_str()).collect()
    }
}

/// A running `msb`, which is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Option<Child>,
}

/// Formats a time as `msb` reads it.
pub(crate) fn duration(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

impl Msb {
    /// Returns the path of the program: the argument, `MSB`, or on `PATH`.
    pub fn path(&self) -> Result<PathBuf> {
        let named = self
            .program
            .clone()
            .or_else(|| std::env::var_os("MSB").filter(|it| !it.is_empty()).map(Into::into));
        let named = named.unwrap_or_else(|| "msb".into());
        let candidates: Vec<PathBuf> = if named.components().count() > 1 {
            vec![named.clone()]
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|folder| folder.join(&named)).collect()
        };
        let is_program =
            |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
        let found = candidates.into_iter().find(is_program);
        let found = found.and_then(|path| std::path::absolute(path).ok());
        found.ok_or_else(|| {
            let hint = "install msb, set MSB to its path, or pass it to Client::builder";
            Error::new("msb-not-found", format!("there is no program {:?}", named.display())).with_hint(hint)
        })
    }

    fn command(&self, run: &Run) -> Result<std::process::Command> {
        use std::os::unix::process::CommandExt;
        let path = self.path()?;
        if run.args.iter().any(|arg| arg.as_encoded_bytes().contains(&0)) {
            return Err(Error::invalid("an argument of msb must not contain NUL"));
        }
        let mut command = std::process::Command::new(path);
        command
            .args(&run.args)
            // It would change what a command means.
            .env_remove("MSB_PROJECT")
            .envs(self.home.as_ref().map(|home| ("MSB_HOME", home)))
            .envs(self.driver.as_ref().map(|driver| ("MSB_DRIVER", driver)))
            .envs(run.env.iter().map(|(name, value)| (name, value)))
            .current_dir(run.cwd.as_deref().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            // Signals of the terminal are for this program.
            .process_group(0);
        Ok(command)
    }

    fn spawn(&self, run: &Run) -> Result<(Running, ChildStdout, ChildStderr)> {
        let mut command = Command::from(self.command(run)?);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let path = PathBuf::from(command.as_std().get_program());
        let mut child = command.spawn().map_err(|source| Error::host("start", &path, source))?;
        match (child.stdout.take(), child.stderr.take()) {
            (Some(stdout), Some(stderr)) => Ok((Running { child: Some(child) }, stdout, stderr)),
            _ => Err(Error::failed("msb has no output")),
        }
    }

    /// Runs `msb` to its end, and returns its standard output.
    pub async fn output(&self, run: Run) -> Result<Vec<u8>> {
        let (mut running, stdout, stderr) = self.spawn(&run)?;
        let work = async {
            let (stdout, stderr) = tokio::join!(head(stdout), tail(stderr));
            (stdout, stderr, running.wait().await)
        };
        let limit = match run.limit {
            Limit::Short => Some(SHORT),
            Limit::Long => Some(LONG),
            Limit::After(time) => Some(SHORT.saturating_add(time)),
            Limit::None => None,
        };
        let (stdout, stderr, code) = match limit {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| {
                let command =
                    run.args.first().map_or_else(String::new, |arg| arg.to_string_lossy().into_owned());
                Error::timed_out(format!("msb {command} did not end within {} s", limit.as_secs()))
            })?,
        };
        // An `msb` whose output is not read to its end fails too.
        let stdout =
            stdout.ok_or_else(|| Error::new("too-large", "msb printed a document that is too large"))?;
        match code? {
            0 => Ok(stdout),
            code => Err(failure(code, &stderr, run.subject())),
        }
    }

    /// Runs a command with `--json`, and returns its document.
    pub async fn json<T: DeserializeOwned>(&self, mut run: Run) -> Result<T> {
        // Before the operands.
        let at = run.args.iter().position(|arg| arg == "--").unwrap_or(run.args.len());
        run.args.insert(at, "--json".into());
        let command = run.args.first().map_or_else(String::new, |arg| arg.to_string_lossy().into_owned());
        let output = self.output(run).await?;
        serde_json::from_slice(&output)
            .map_err(|error| Error::failed(format!("msb {command} printed an unexpected document: {error}")))
    }

    /// Starts a command that outlives this program, and whose result nobody reads.
    pub fn spawn_detached(&self, run: &Run) {
        if let Ok(mut command) = self.command(run) {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            // A process of `std`, which needs no runtime. Its zombie is reaped by a thread of its own.
            if let Ok(mut child) = command.spawn() {
                let _ = std::thread::Builder::new().name("msb".into()).spawn(move || child.wait());
            }
        }
    }

    /// Starts a command whose output is read as it comes.
    pub fn start(&self, run: &Run) -> Result<(Running, ChildStdout, ChildStderr)> {
        self.spawn(run)
    }
}

impl Running {
    /// Waits for the end, and returns the exit code: 128 + n for signal n.
    pub async fn wait(&mut self) -> Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        let Some(child) = &mut self.child else { return Err(Error::failed("msb has ended")) };
        let status = child.wait().await.map_err(|source| Error::host("wait for", "msb", source))?;
        self.child = None;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    /// Ends `msb`: SIGTERM, and SIGKILL if it does not react.
    pub async fn end(&mut self) {
        if let Some(child) = self.child.take() {
            end(child).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        // Without a runtime it is killed at once.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(end(child));
        }
    }
}

async fn end(mut child: Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It is not reaped yet, so the number is still its own.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(END_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Reads a stream to its end; `None` if it is too long.
async fn head(mut stream: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    let read = (&mut stream).take(STDOUT_BYTES_MAX as u64 + 1).read_to_end(&mut kept).await;
    (read.is_ok() && kept.len() <= STDOUT_BYTES_MAX).then_some(kept)
}

/// Reads a stream to its end, and returns the last part of it.
pub(crate) async fn tail(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut kept).await {
        if kept.len() > 2 * STDERR_BYTES_MAX {
            kept.drain(..kept.len() - STDERR_BYTES_MAX);
        }
    }
    kept.drain(..kept.len().saturating_sub(STDERR_BYTES_MAX));
    kept
}
