//! The client: an `msb` and its state folder.

use crate::create::SandboxBuilder;
use crate::error::{Error, Result};
use crate::failure::ReportedError;
use crate::metrics::SandboxMetrics;
use crate::msb::{Limit, Msb, Run, duration};
use crate::project::Project;
use crate::sandbox::{Sandbox, SandboxDetails};
use crate::storage::{Images, Snapshots, Volumes};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Runs `msb` for the lifecycle of sandboxes, volumes, images, snapshots and projects.
///
/// It is cheap to clone. Every call ends with [`Error::MsbNotFound`] if there is no `msb`, and with the error of `msb` if it
/// fails. Dropping a call ends its `msb`.
#[derive(Clone, Debug, Default)]
pub struct Client {
    msb: Arc<Msb>,
}

/// The options of a [`Client`].
#[derive(Debug, Default)]
#[must_use]
pub struct ClientBuilder {
    msb: Msb,
}

impl ClientBuilder {
    /// Sets the state folder; `MSB_HOME` or that of `msb` by default.
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        let home = home.into();
        self.msb.home = Some(std::path::absolute(&home).unwrap_or(home));
        self
    }

    /// Sets the program; `MSB`, or `msb` on `PATH` by default.
    pub fn msb(mut self, program: impl Into<PathBuf>) -> Self {
        self.msb.program = Some(program.into());
        self
    }

    /// Sets the driver, `krun` or `qemu`; the best that works on this machine by default.
    pub fn driver(mut self, driver: impl Into<String>) -> Self {
        self.msb.driver = Some(driver.into());
        self
    }

    /// Returns the client. Nothing is looked for until the first call.
    pub fn build(self) -> Client {
        Client { msb: Arc::new(self.msb) }
    }
}

/// A page of sandboxes, sorted by name.
#[derive(Debug)]
#[non_exhaustive]
pub struct SandboxPage {
    /// The sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// Continues after them, as [`List::cursor`]; `None` at the end.
    pub next_cursor: Option<String>,
}

/// Which sandboxes are listed.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct List {
    labels: BTreeMap<String, String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl List {
    /// All sandboxes of all projects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those that have this label too.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// At most this many, which is not 0.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Only those after the page with this [`SandboxPage::next_cursor`].
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }
}

/// The document of a command that changes sandboxes.
#[derive(Debug, Deserialize)]
pub(crate) struct Results {
    #[serde(default)]
    sandboxes: Vec<SandboxResult>,
}

#[derive(Debug, Deserialize)]
struct SandboxResult {
    error: Option<ReportedError>,
}

impl Results {
    /// Returns the first error of a sandbox.
    pub fn check(self) -> Result<()> {
        self.sandboxes.into_iter().find_map(|result| result.error).map_or(Ok(()), |error| Err(error.into()))
    }
}

/// A sandbox in the document of `ps`.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    pub full_name: String,
    pub state: String,
    #[serde(default)]
    pub ports: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListedSandboxes {
    pub sandboxes: Vec<Listed>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Inspected {
    sandboxes: Vec<SandboxDetails>,
}

/// Returns what `ps` tells about a sandbox.
pub(crate) async fn listed(msb: &Msb, name: &str) -> Result<Option<Listed>> {
    let all: ListedSandboxes = msb.json(Run::new(["ps", "--all"])).await?;
    Ok(all.sandboxes.into_iter().find(|entry| entry.full_name == name))
}

impl Client {
    /// Returns a client with the default `msb` and state folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the options of a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn msb(&self) -> &Arc<Msb> {
        &self.msb
    }

    /// Returns the options of a new sandbox. Its name is unique on this machine, and its image is a reference such as
    /// `alpine`, a path such as `./image`, or `snapshot:NAME`.
    pub fn sandbox(&self, name: impl Into<String>, image: impl Into<String>) -> SandboxBuilder {
        SandboxBuilder::new(self.clone(), name.into(), image.into())
    }

    /// Returns a sandbox by its full name.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn get(&self, name: &str) -> Result<Sandbox> {
        let (details, listed) = self.look(name).await?;
        Ok(Sandbox::new(self.clone(), details, listed))
    }

    /// Returns what `inspect` and `ps` tell about a sandbox.
    pub(crate) async fn look(&self, name: &str) -> Result<(SandboxDetails, Option<Listed>)> {
        let inspected: Inspected = self.msb.json(Run::new(["inspect", "--", name]).about(name)).await?;
        let listed = listed(&self.msb, name).await?;
        let found = inspected.sandboxes.into_iter().find(|details| details.full_name == name);
        let missing = || Error::new("sandbox-not-found", format!("there is no sandbox {name:?}")).about(name);
        Ok((found.ok_or_else(missing)?, listed))
    }

    /// Returns sandboxes of all projects.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn list(&self, list: List) -> Result<SandboxPage> {
        let mut run = Run::new(["ps", "--all"]);
        if list.limit == Some(0) {
            return Err(Error::invalid("the limit of a list is not 0"));
        }
        for (name, value) in &list.labels {
            run = run.arg(format!("--label={name}={value}"));
        }
        run = run.optional(list.limit.map(|limit| format!("--limit={limit}")));
        run = run.optional(list.cursor.map(|cursor| format!("--cursor={cursor}")));
        let page: ListedSandboxes = self.msb.json(run).await?;
        let next_cursor = page.next_cursor;
        let sandboxes = self.sandboxes(page.sandboxes).await?;
        Ok(SandboxPage { sandboxes, next_cursor })
    }

    /// Returns listed sandboxes, without those that were removed meanwhile.
    pub(crate) async fn sandboxes(&self, listed: Vec<Listed>) -> Result<Vec<Sandbox>> {
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let names = listed.iter().map(|entry| entry.full_name.as_str());
        let details = match self.msb.json(Run::new(["inspect", "--"]).args(names)).await {
            Ok(Inspected { sandboxes }) => sandboxes,
            Err(Error::SandboxNotFound(_)) => {
                let mut found = Vec::new();
                for entry in &listed {
                    match self.look(&entry.full_name).await {
                        Ok((details, _)) => found.push(details),
                        Err(Error::SandboxNotFound(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                found
            }
            Err(error) => return Err(error),
        };
        let mut listed: BTreeMap<String, Listed> =
            listed.into_iter().map(|entry| (entry.full_name.clone(), entry)).collect();
        let mut sandboxes: Vec<Sandbox> = details
            .into_iter()
            .map(|details| {
                let entry = listed.remove(&details.full_name);
                Sandbox::new(self.clone(), details, entry)
            })
            .collect();
        sandboxes.sort_by(|one, other| one.name().cmp(other.name()));
        Ok(sandboxes)
    }

    /// Returns a running sandbox that is connected; waits while it boots, at most for 10 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`], [`Error::SandboxNotRunning`] and [`Error::TimedOut`].
    pub async fn connect(&self, name: &str) -> Result<Sandbox> {
        let sandbox = self.get(name).await?;
        sandbox.connect().await?;
        Ok(sandbox)
    }

    /// Returns a running sandbox as [`Client::connect`] does, within a timeout.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`].
    pub async fn connect_with_timeout(&self, name: &str, timeout: Duration) -> Result<Sandbox> {
        let sandbox = self.get(name).await?;
        sandbox.connect_with_timeout(timeout).await?;
        Ok(sandbox)
    }

    /// Starts a sandbox, and waits until it is up; one that runs is no error.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn start(&self, name: &str) -> Result<()> {
        self.change(Run::new(["start", "--", name]).about(name)).await
    }

    /// Stops a sandbox, and kills it after 10 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn stop(&self, name: &str) -> Result<()> {
        self.change(Run::new(["stop", "--", name]).about(name)).await
    }

    /// Stops a sandbox, and kills it after a timeout.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn stop_with_timeout(&self, name: &str, timeout: Duration) -> Result<()> {
        let run = Run::new(["stop"]).arg(format!("--timeout={}", duration(timeout))).args(["--", name]);
        self.change(run.about(name).limit(Limit::After(timeout))).await
    }

    /// Ends a sandbox at once, without a shutdown.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.change(Run::new(["kill", "--", name]).about(name)).await
    }

    /// Removes a stopped sandbox with its disk.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`], and [`Error::SandboxRunning`] while it runs.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.change(Run::new(["rm", "--", name]).about(name)).await
    }

    /// Removes a sandbox with its disk; stops it before if it runs.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxNotFound`].
    pub async fn remove_by_force(&self, name: &str) -> Result<()> {
        self.change(Run::new(["rm", "--force", "--", name]).about(name)).await
    }

    /// Runs a command that changes one sandbox.
    pub(crate) async fn change(&self, run: Run) -> Result<()> {
        self.msb.json::<Results>(run).await?.check()
    }

    /// Returns the metrics of all running sandboxes, by name.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn all_metrics(&self) -> Result<BTreeMap<String, SandboxMetrics>> {
        let all: crate::metrics::Document = self.msb.json(Run::new(["metrics", "--all"])).await?;
        Ok(all.sandboxes.into_iter().map(|metrics| (metrics.name.clone(), metrics)).collect())
    }

    /// Returns the project of a folder, or of a Sandboxfile.
    pub fn project(&self, path: impl AsRef<Path>) -> Project {
        Project::new(self.clone(), path.as_ref())
    }

    /// Returns the volumes of all projects, and those of none.
    pub fn volumes(&self) -> Volumes {
        Volumes::new(self.msb.clone())
    }

    /// Returns the images of this machine.
    pub fn images(&self) -> Images {
        Images::new(self.msb.clone())
    }

    /// Returns the snapshots of this machine.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.msb.clone())
    }

    /// Returns the version of `msb`.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn version(&self) -> Result<String> {
        let output = self.msb.output(Run::new(["--version"])).await?;
        let text = String::from_utf8_lossy(&output);
        Ok(text.split_whitespace().next_back().unwrap_or_default().to_owned())
    }
}
