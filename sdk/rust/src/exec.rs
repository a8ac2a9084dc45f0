//! Starting commands.

use crate::error::{Error, ExecTimeout, Result};
use crate::guest::Guest;
use crate::process::{ExecOutput, Process};
use protocol::latest::{ExecRequest, Rlimit as WireRlimit};
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most output that `exec` collects unless another limit is set, in bytes.
pub(crate) const MAX_OUTPUT_BYTES: usize = 256 * 1024 * 1024;
/// The default time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// A resource limit of a command, or of every process of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// The resource in lower case without `RLIMIT_`, such as `nofile`, `nproc`, `as` or `cpu`.
    pub resource: String,
    /// The soft limit, in the unit of the resource; `None` is unlimited.
    pub soft: Option<u64>,
    /// The hard limit, in the unit of the resource; `None` is unlimited.
    pub hard: Option<u64>,
}

impl Rlimit {
    /// Returns the limit as `msb` reads it.
    pub(crate) fn argument(&self) -> Result<String> {
        let Self { resource, soft, hard } = self;
        if resource.is_empty() || resource.contains('=') {
            return Err(Error::invalid(format!("{resource:?} is not a resource of a limit")));
        }
        let text = |limit: Option<u64>| limit.map_or_else(|| "unlimited".into(), |number| number.to_string());
        Ok(format!("{resource}={}:{}", text(*soft), text(*hard)))
    }
}

/// A command to run: await it for its [`ExecOutput`], or [`start`](Self::start) it for a running [`Process`].
///
/// Awaiting it runs the command to its end. A non-zero exit code is no error. Dropping the future ends the command: SIGTERM,
/// then SIGKILL after the grace period. The errors are:
///
/// - [`Error::ExecTimeout`]: it was ended at its timeout; has the output until then.
/// - [`Error::ExecFailed`]: it could not be started.
/// - [`Error::ConnectionLost`]: the sandbox ended before the command did.
/// - [`Error::SandboxNotRunning`], [`Error::SandboxPaused`]: the sandbox does not run.
/// - [`Error::Unresponsive`]: the guest answers neither the request nor pings, for 20 seconds.
/// - [`Error::TooLarge`]: its output exceeds the limit; it was ended.
/// - [`Error::InvalidArgument`].
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is awaited or started"]
pub struct Exec {
    guest: Arc<Guest>,
    request: ExecRequest,
    stdin: Stdin,
    timeout: Option<Duration>,
    grace: Duration,
    max_output: usize,
    invalid: Option<String>,
}

/// The standard input of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stdin {
    Empty,
    Bytes(Vec<u8>),
    Pipe,
}

impl Exec {
    pub(crate) fn new<A: Into<String>>(
        guest: Arc<Guest>,
        cmd: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut request = ExecRequest::command(&[cmd.into()]);
        request.args = args.into_iter().map(Into::into).collect();
        (request.stdin_acks, request.output_acks, request.report_signal) = (true, true, true);
        let mut exec = Self {
            guest,
            request,
            stdin: Stdin::Empty,
            timeout: None,
            grace: GRACE,
            max_output: MAX_OUTPUT_BYTES,
            invalid: None,
        };
        if exec.request.cmd.is_empty() {
            exec.refuse("the name of the program is empty");
        }
        if exec.request.cmd.contains('\0') || exec.request.args.iter().any(|arg| arg.contains('\0')) {
            exec.refuse("an argument of a command must not contain NUL");
        }
        exec
    }

    /// Keeps the first mistake, for the error of the call.
    fn refuse(&mut self, why: impl Into<String>) {
        self.invalid.get_or_insert_with(|| why.into());
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        let arg = arg.into();
        if arg.contains('\0') {
            self.refuse("an argument of a command must not contain NUL");
        }
        self.request.args.push(arg);
        self
    }

    /// Sets the working directory; that of the sandbox by default.
    pub fn cwd(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        if path.contains('\0') {
            self.refuse("cwd must not contain NUL");
        }
        self.request.cwd = Some(path);
        self
    }

    /// Sets the user as `name|uid[:group|gid]`; that of the sandbox by default.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.request.user = Some(user.into());
        self
    }

    /// Sets an environment variable, in addition to those of the sandbox, over which it takes precedence.
    pub fn env(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            self.refuse(format!("{name:?} is not an environment variable"));
        }
        self.request.env.push(format!("{name}={value}"));
        self
    }

    /// Sets environment variables, as [`Exec::env`] does.
    pub fn envs<K: AsRef<str>, V: AsRef<str>>(self, vars: impl IntoIterator<Item = (K, V)>) -> Self {
        vars.into_iter().fold(self, |exec, (name, value)| exec.env(name, value))
    }

    /// Ends the command after this time, with [`Error::ExecTimeout`]. Only when it is awaited; a [`Process`] has none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the standard input, which is empty by default.
    pub fn stdin(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(data.into());
        self
    }

    /// Keeps the standard input open, for [`Process::stdin`].
    pub fn stdin_pipe(mut self) -> Self {
        self.stdin = Stdin::Pipe;
        self
    }

    /// Gives the command a terminal of this size, whose output is all standard output.
    pub fn tty(mut self, rows: u16, cols: u16) -> Self {
        if rows == 0 || cols == 0 {
            self.refuse("a terminal has at least one row and one column");
        }
        (self.request.tty, self.request.rows, self.request.cols) = (true, rows, cols);
        self
    }

    /// Sets a resource limit.
    pub fn rlimit(mut self, limit: Rlimit) -> Self {
        let Rlimit { resource, soft, hard } = limit;
        let (soft, hard) = (soft.unwrap_or(u64::MAX), hard.unwrap_or(u64::MAX));
        self.request.rlimits.push(WireRlimit { resource, soft, hard });
        self
    }

    /// Sets the most output that awaiting it collects, in bytes; 256 MiB by default.
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// Sets the time between SIGTERM and SIGKILL when the command is ended; half a second by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts the command, and returns when it runs.
    ///
    /// # Errors
    ///
    /// As of awaiting it, except for [`Error::ExecTimeout`] and [`Error::TooLarge`].
    pub async fn start(mut self) -> Result<Process> {
        if matches!(&self.stdin, Stdin::Bytes(_)) {
            self.refuse(
                "`stdin` is for a command that is awaited; start it with `stdin_pipe`, and write to `stdin`",
            );
        }
        if self.timeout.is_some() {
            self.refuse("`timeout` is for a command that is awaited; use `wait_with_timeout`");
        }
        self.begin().await
    }

    async fn begin(&self) -> Result<Process> {
        if let Some(why) = &self.invalid {
            return Err(Error::invalid(why.clone()));
        }
        let has_input = match &self.stdin {
            Stdin::Empty => self.request.tty,
            Stdin::Bytes(data) => !data.is_empty(),
            Stdin::Pipe => true,
        };
        let link = self.guest.link().await?;
        let started = Process::start(link, self.request.clone(), has_input, self.grace).await;
        match started {
            Ok(process) => Ok(process),
            Err(error) => Err(self.guest.explain(error).await),
        }
    }

    async fn run(mut self) -> Result<ExecOutput> {
        if self.stdin == Stdin::Pipe {
            self.refuse("`stdin_pipe` is for a command that is started");
        }
        if self.request.tty && self.stdin != Stdin::Empty {
            self.refuse(
                "`stdin` and `tty` exclude each other; a started command with a terminal has an input",
            );
        }
        // A timeout beyond the clock's range is none.
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut process = self.begin().await?;
        let input = process.stdin.take();
        let data = match std::mem::replace(&mut self.stdin, Stdin::Empty) {
            Stdin::Bytes(data) => data,
            Stdin::Empty | Stdin::Pipe => Vec::new(),
        };
        let feed = async {
            if let Some(mut input) = input {
                // A command with a terminal keeps its input; any other may end without reading all of it.
                if !self.request.tty && input.write(&data).await.is_ok() {
                    let _ = input.close().await;
                }
            }
            std::future::pending().await
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = tokio::select! {
            biased;
            // Output without end must not delay the deadline.
            () = executor_client::deadline::until(deadline), if deadline.is_some() => None,
            ended = process.collect_into(&mut stdout, &mut stderr, self.max_output) => Some(ended?),
            () = feed => None,
        };
        if let Some(status) = ended {
            return Ok(ExecOutput { status, stdout, stderr });
        }
        // A guest that does not end it is not waited for any longer.
        let _ = process.end().await;
        let timeout = self.timeout.unwrap_or_default();
        Err(Error::ExecTimeout(Box::new(ExecTimeout { timeout, stdout, stderr })))
    }
}

impl IntoFuture for Exec {
    type Output = Result<ExecOutput>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
