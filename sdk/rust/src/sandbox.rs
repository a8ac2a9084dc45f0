//! One sandbox: its lifecycle.

use crate::client::{Client, Listed};
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::files::Files;
use crate::guest::Guest;
use crate::logs::{LogEntry, LogQuery, LogStream};
use crate::metrics::{MetricsStream, SandboxMetrics};
use crate::msb::{Limit, Run, duration};
use crate::port::Port;
use crate::process::ExitStatus;
use crate::storage::Snapshot;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The states of a sandbox that has ended.
const ENDED: [&str; 5] = ["stopped", "exited", "failed", "crashed", "created"];
/// The time between two looks at the state of a sandbox.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What `msb inspect --json` tells about a sandbox.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct SandboxDetails {
    /// The name without that of the project.
    #[serde(rename = "name")]
    pub short_name: String,
    /// The full name.
    pub full_name: String,
    /// The project, unless the sandbox was created on its own.
    #[serde(default)]
    pub project: Option<String>,
    /// The id.
    pub id: String,
    /// The state.
    pub state: String,
    /// The socket of the relay, which is there while it runs.
    pub agent_socket: PathBuf,
    /// All else, by the names of the JSON document.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// A sandbox, as [`Client::get`] returns it, or [`SandboxBuilder::create`](crate::SandboxBuilder::create).
///
/// One that `create` returned is owned: [`close`](Self::close) stops it, and removes it if it is ephemeral. Dropping it starts the
/// same without waiting for it; so prefer `close`, above all at the end of a program. [`detach`](Self::detach) gives up the
/// ownership.
///
/// Its commands and files share a connection, which is opened at the first use, and again after a restart.
#[derive(Debug)]
pub struct Sandbox {
    client: Client,
    details: SandboxDetails,
    status: String,
    labels: BTreeMap<String, String>,
    ports: Vec<Port>,
    guest: Arc<Guest>,
    secrets: Vec<(String, String)>,
    scope: Scope,
}

/// What the end of the scope does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Nothing,
    Stop,
    Remove,
}

impl Sandbox {
    pub(crate) fn new(client: Client, details: SandboxDetails, listed: Option<Listed>) -> Self {
        let guest =
            Guest::of_sandbox(details.agent_socket.clone(), client.msb().clone(), details.full_name.clone());
        let mut sandbox = Self {
            client,
            status: String::new(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
            guest,
            details,
            secrets: Vec::new(),
            scope: Scope::Nothing,
        };
        sandbox.update(listed);
        sandbox
    }

    fn update(&mut self, listed: Option<Listed>) {
        let definition = &self.details.others.get("spec").unwrap_or(&Value::Null)["definition"];
        self.labels = Deserialize::deserialize(&definition["labels"]).unwrap_or_default();
        let declared: Vec<Port> = Deserialize::deserialize(&definition["ports"]).unwrap_or_default();
        match listed {
            Some(Listed { state, ports, .. }) => {
                self.status = state;
                self.ports = Port::real(declared, &ports);
            }
            None => {
                self.status.clone_from(&self.details.state);
                self.ports = declared;
            }
        }
    }

    pub(crate) fn own(&mut self, is_ephemeral: bool, secrets: Vec<(String, String)>) {
        self.scope = if is_ephemeral { Scope::Remove } else { Scope::Stop };
        self.secrets = secrets;
    }

    /// Returns the full name.
    pub fn name(&self) -> &str {
        &self.details.full_name
    }

    /// Returns the state when it was last looked at: `running`, `paused`, `stopped`, `exited`, ….
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Returns the labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Returns the ports of the host that lead into it, with the real ports while it runs.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// Returns what `msb inspect` tells about it.
    pub fn details(&self) -> &SandboxDetails {
        &self.details
    }

    /// Whether the end of the scope stops or removes it.
    pub fn is_owned(&self) -> bool {
        self.scope != Scope::Nothing
    }

    /// Gives up the ownership: the end of the scope does nothing.
    pub fn detach(&mut self) {
        self.scope = Scope::Nothing;
    }

    /// Takes the ownership: the end of the scope stops it.
    pub fn stop_on_drop(&mut self) {
        self.scope = Scope::Stop;
    }

    /// Ends the scope: closes the connection, which ends the commands that this object has started, and stops the sandbox
    /// if it is owned, or removes it if it is ephemeral.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn close(mut self) -> Result<()> {
        self.guest.close().await;
        match self.scope {
            Scope::Nothing => {}
            Scope::Remove => match self.client.remove_by_force(self.name()).await {
                Ok(()) | Err(Error::SandboxNotFound(_)) => {}
                Err(error) => return Err(error),
            },
            Scope::Stop => {
                self.refresh().await?;
                if !ENDED.contains(&self.status.as_str()) {
                    self.stop().await?;
                }
            }
        }
        // If this call is cancelled before, dropping it does what is left.
        self.scope = Scope::Nothing;
        Ok(())
    }

    // The lifecycle.

    /// Looks at the sandbox again.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`] if it is gone.
    pub async fn refresh(&mut self) -> Result<()> {
        let (details, listed) = self.client.look(self.name()).await?;
        self.details = details;
        self.update(listed);
        Ok(())
    }

    async fn change(&mut self, run: Run) -> Result<()> {
        let run = run.args(["--", self.name()]).about(self.name()).env(&self.secrets);
        self.client.change(run).await?;
        self.refresh().await
    }

    /// Starts it, and waits until it is up; one that runs is no error.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn start(&mut self) -> Result<()> {
        self.change(Run::new(["start"])).await
    }

    /// Shuts it down, and kills it after 10 seconds. Its disk is kept.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn stop(&mut self) -> Result<()> {
        self.change(Run::new(["stop"])).await
    }

    /// Shuts it down, and kills it after a timeout.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn stop_with_timeout(&mut self, timeout: Duration) -> Result<()> {
        let run = Run::new(["stop"]).arg(format!("--timeout={}", duration(timeout)));
        self.change(run.limit(Limit::After(timeout))).await
    }

    /// Stops it as [`Sandbox::stop`] does, and starts it again.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn restart(&mut self) -> Result<()> {
        self.change(Run::new(["restart"])).await
    }

    /// Stops it as [`Sandbox::stop_with_timeout`] does, and starts it again.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn restart_with_timeout(&mut self, timeout: Duration) -> Result<()> {
        let run = Run::new(["restart"]).arg(format!("--timeout={}", duration(timeout)));
        self.change(run.limit(Limit::After(timeout))).await
    }

    /// Ends it at once, without a shutdown.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn kill(&mut self) -> Result<()> {
        self.change(Run::new(["kill"])).await
    }

    /// Pauses it: nothing runs in it until [`Sandbox::resume`].
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn pause(&mut self) -> Result<()> {
        self.change(Run::new(["pause"])).await
    }

    /// Resumes it, and corrects its clock.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn resume(&mut self) -> Result<()> {
        self.change(Run::new(["resume"])).await
    }

    /// Removes it with its disk.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxRunning`] while it runs.
    pub async fn remove(mut self) -> Result<()> {
        self.guest.close().await;
        self.client.remove(self.name()).await?;
        self.scope = Scope::Nothing;
        Ok(())
    }

    /// Removes it with its disk; stops it before if it runs.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn remove_by_force(mut self) -> Result<()> {
        self.guest.close().await;
        self.client.remove_by_force(self.name()).await?;
        self.scope = Scope::Nothing;
        Ok(())
    }

    /// Waits for the end of the sandbox, and returns the exit code of its main process.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotRunning`] if it is stopped before that.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let run = Run::new(["wait", "--", self.name()]).about(self.name()).limit(Limit::None);
        // Its exit code is that of the main process, so its result is looked up.
        let waited = self.client.msb().output(run).await;
        if let Err(error @ (Error::MsbNotFound(_) | Error::Host { .. })) = waited {
            return Err(error);
        }
        self.refresh().await?;
        if !ENDED.contains(&self.status.as_str()) {
            let text = format!("{} is {} after the wait for its end", self.name(), self.status);
            return Err(Error::failed(text).about(self.name()));
        }
        let ended = self.details.others.get("last_exit").unwrap_or(&Value::Null);
        let number = |name: &str| ended[name].as_i64().and_then(|number| i32::try_from(number).ok());
        match (ended["kind"].as_str(), number("code"), number("signal")) {
            (Some("code"), Some(exit_code), _) => Ok(ExitStatus { exit_code, signal: None }),
            (Some("signal"), _, Some(signal)) => {
                Ok(ExitStatus { exit_code: 128 + signal, signal: Some(signal) })
            }
            _ => {
                let text = format!("{} was stopped before its main process ended", self.name());
                Err(Error::new("sandbox-not-running", text).about(self.name()))
            }
        }
    }

    /// Waits for the end of the sandbox, at most for a time.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; also as [`Sandbox::wait`].
    pub async fn wait_with_timeout(&mut self, timeout: Duration) -> Result<ExitStatus> {
        match tokio::time::timeout(timeout, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                let text = format!("{} did not end within {timeout:?}", self.name());
                Err(Error::timed_out(text).about(self.name()))
            }
        }
    }

    /// Waits until the sandbox has this status, at most for a time.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and [`Error::SandboxNotFound`] if it is removed.
    pub async fn wait_for_status(&mut self, status: &str, timeout: Duration) -> Result<()> {
        let reached = async {
            loop {
                self.refresh().await?;
                if self.status == status {
                    return Ok(());
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        match tokio::time::timeout(timeout, reached).await {
            Ok(reached) => reached,
            Err(_) => {
                let text = format!("{} was {} after {timeout:?}, not {status}", self.name(), self.status);
                Err(Error::timed_out(text).about(self.name()))
            }
        }
    }

    // The guest.

    /// Connects to the guest now rather than at the first command; waits while it boots, at most for 10 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotRunning`] and [`Error::TimedOut`].
    pub async fn connect(&self) -> Result<()> {
        self.guest.link().await.map(drop)
    }

    /// Connects to the guest as [`Sandbox::connect`] does, within a timeout.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::connect`].
    pub async fn connect_with_timeout(&self, timeout: Duration) -> Result<()> {
        self.guest.connect(timeout).await.map(drop)
    }

    /// Returns a command of a program and its arguments, to await or to start. The name is a path if it contains a `/`, or
    /// else searched on PATH.
    pub fn exec<A: Into<String>>(&self, cmd: impl Into<String>, args: impl IntoIterator<Item = A>) -> Exec {
        Exec::new(self.guest.clone(), cmd, args)
    }

    /// Returns a command that runs a script with `/bin/sh -c`, to await or to start.
    pub fn shell(&self, script: impl Into<String>) -> Exec {
        Exec::new(self.guest.clone(), "/bin/sh", ["-c".to_owned(), script.into()])
    }

    /// Returns the files of the guest.
    pub fn fs(&self) -> Files {
        Files::new(self.guest.clone())
    }

    /// Pings the guest's agent, and returns the time until the answer.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotRunning`], and [`Error::Unresponsive`] after 20 seconds.
    pub async fn ping(&self) -> Result<Duration> {
        let link = self.guest.link().await?;
        match link.while_alive(link.ping()).await {
            Ok(time) => Ok(time),
            Err(error) => Err(self.guest.explain(error).await),
        }
    }

    /// Counts as activity of the sandbox, which puts off its idle timeout. Returns the number of sessions and touches since
    /// the boot.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedOperation`] if the agent is too old; also as [`Sandbox::ping`].
    pub async fn touch(&self) -> Result<u64> {
        let link = self.guest.link().await?;
        match link.touch().await {
            Ok(count) => Ok(count),
            Err(error) => Err(self.guest.explain(error).await),
        }
    }

    // Logs, metrics and snapshots.

    /// Returns the entries of its log that a query selects, of a stopped sandbox too.
    ///
    /// # Errors
    ///
    /// [`Error::MissedRotation`] if entries after the cursor were removed by rotation, and [`Error::InvalidCursor`].
    pub async fn logs(&self, query: &LogQuery) -> Result<Vec<LogEntry>> {
        self.log_stream(query)?.collect().await
    }

    /// Starts to read its log. With [`LogQuery::follow`], the stream waits for new entries until the sandbox ends.
    ///
    /// # Errors
    ///
    /// [`Error::MsbNotFound`].
    pub fn log_stream(&self, query: &LogQuery) -> Result<LogStream> {
        LogStream::start(self.client.msb(), self.name(), query)
    }

    /// Returns its metrics.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotRunning`].
    pub async fn metrics(&self) -> Result<SandboxMetrics> {
        crate::metrics::of_sandbox(self.client.msb(), self.name()).await
    }

    /// Starts to measure it again and again, until it ends.
    ///
    /// # Errors
    ///
    /// [`Error::MsbNotFound`], and [`Error::InvalidArgument`] for an interval of 0.
    pub fn metrics_stream(&self, interval: Duration) -> Result<MetricsStream> {
        MetricsStream::start(self.client.msb(), self.name(), interval)
    }

    /// Creates a snapshot of its disk.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotExists`].
    pub async fn snapshot(&self, name: &str) -> Result<Snapshot> {
        self.client.snapshots().create(self.name(), name).await
    }

    /// Returns the path of the folder with its logs.
    pub fn log_folder(&self) -> Option<&Path> {
        self.details.others.get("logs").and_then(Value::as_str).map(Path::new)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let command = match self.scope {
            Scope::Nothing => return,
            Scope::Stop => ["stop", "--"].as_slice(),
            Scope::Remove => ["rm", "--force", "--"].as_slice(),
        };
        self.client.msb().spawn_detached(&Run::new(command).arg(self.name()));
    }
}
