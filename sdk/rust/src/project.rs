//! Projects: the sandboxes of a Sandboxfile.

use crate::client::{Client, ListedSandboxes};
use crate::error::{Error, Result};
use crate::failure::ReportedError;
use crate::lines::{JsonLines, Line};
use crate::msb::{Run, duration};
use crate::sandbox::Sandbox;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `up` would do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The name of the project.
    pub project: String,
    /// One change for each sandbox.
    pub changes: Vec<Change>,
    /// The steps by name, with what each ensures and which steps it is after.
    pub steps: Map<String, Value>,
    /// All that `msb plan --json` prints.
    pub document: Value,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// What happens to a sandbox.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The name without that of the project.
    pub name: String,
    /// `create`, `unchanged`, `live`, `start`, `stop`, `restart`, `replace` or `remove`.
    pub action: String,
    /// All else, such as the reasons, by the names of the JSON document.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// An event of a running `up` or `down`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProjectEvent {
    /// The kind, such as `plan`, `step_began`, `step_succeeded` or `finished`.
    pub kind: String,
    /// All members of the event, by the names of the JSON document.
    pub fields: Map<String, Value>,
}

/// The options of `up`.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    /// Only these sandboxes, and those that they depend on; all if it is empty.
    pub sandboxes: Vec<String>,
    /// Allows the Sandboxfile to reach beyond its folder this time.
    pub trust: bool,
    /// Applies a plan that destroys data.
    pub approve_losses: bool,
    /// Does not wait until all sandboxes are healthy, or running if they have no health check.
    pub no_wait: bool,
    /// The longest time of this wait; [`Error::TimedOut`] after it.
    pub wait_timeout: Option<Duration>,
}

/// The options of `down`.
#[derive(Clone, Debug, Default)]
pub struct DownOptions {
    /// Only these sandboxes; all if it is empty.
    pub sandboxes: Vec<String>,
    /// Removes volumes with their contents too.
    pub volumes: bool,
    /// The time for a guest to shut down before it is killed; 10 seconds by default.
    pub timeout: Option<Duration>,
}

/// The project of a folder or of a Sandboxfile.
#[derive(Clone, Debug)]
pub struct Project {
    client: Client,
    folder: PathBuf,
    options: Vec<String>,
}

impl Project {
    pub(crate) fn new(client: Client, path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if path.is_dir() {
            return Self { client, folder: path, options: Vec::new() };
        }
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        Self { client, folder, options: vec![format!("--file={}", path.display())] }
    }

    /// Sets the name of the project; that of the Sandboxfile by default.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.options.push(format!("--project={}", name.as_ref()));
        self
    }

    fn run(&self, command: &str) -> Run {
        Run::new(&self.options).arg(command).cwd(&self.folder)
    }

    /// Returns what `up` would do. With `trust`, the Sandboxfile may reach beyond its folder this time.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if it reaches beyond its folder without `trust`, and [`Error::InvalidSandboxfile`].
    pub async fn plan(&self, trust: bool) -> Result<Plan> {
        self.planned(self.run("plan").flag("--trust", trust)).await
    }

    /// Returns what `up` would do as [`Project::plan`] does, if the lock file pins every image.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] unless it does; also as [`Project::plan`].
    pub async fn plan_frozen(&self, trust: bool) -> Result<Plan> {
        self.planned(self.run("plan").arg("--frozen").flag("--trust", trust)).await
    }

    async fn planned(&self, run: Run) -> Result<Plan> {
        let document: Value = self.client.msb().json(run).await?;
        let unexpected = || Error::failed("msb plan printed an unexpected document");
        let project = document["plan"]["project"].as_str().ok_or_else(unexpected)?.to_owned();
        let changes = Deserialize::deserialize(&document["report"]["changes"]).map_err(|_| unexpected())?;
        let steps = document["plan"]["steps"].as_object().ok_or_else(unexpected)?.clone();
        Ok(Plan { project, changes, steps, document })
    }

    /// Creates, updates and starts the sandboxes. Returns its events, and is interrupted when they are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::MsbNotFound`]; others are errors of the events.
    pub fn up(&self, options: &UpOptions) -> Result<ProjectRun> {
        let UpOptions { sandboxes, trust, approve_losses, no_wait, wait_timeout } = options;
        let run = self.run("up").arg("--json").flag("--trust", *trust).flag("--yes", *approve_losses);
        let run = match wait_timeout {
            Some(timeout) => run.arg(format!("--wait-timeout={}", duration(*timeout))),
            None => run.flag("--wait", !no_wait),
        };
        self.start(&run.args(sandboxes))
    }

    /// Stops and removes the sandboxes. Returns its events, and is interrupted when they are dropped.
    ///
    /// # Errors
    ///
    /// As [`Project::up`].
    pub fn down(&self, options: &DownOptions) -> Result<ProjectRun> {
        let DownOptions { sandboxes, volumes, timeout } = options;
        let run = self.run("down").arg("--json").flag("--volumes", *volumes).flag("--yes", *volumes);
        let run = run.optional(timeout.map(|timeout| format!("--timeout={}", duration(timeout))));
        self.start(&run.args(sandboxes))
    }

    fn start(&self, run: &Run) -> Result<ProjectRun> {
        Ok(ProjectRun { lines: JsonLines::start(self.client.msb(), run)?, summary: None })
    }

    /// Returns the sandboxes of the project that exist.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        let listed: ListedSandboxes = self.client.msb().json(self.run("ps")).await?;
        self.client.sandboxes(listed.sandboxes).await
    }
}

/// A running `up` or `down`. Dropping it interrupts it.
#[derive(Debug)]
pub struct ProjectRun {
    lines: JsonLines,
    summary: Option<ProjectEvent>,
}

impl ProjectRun {
    /// Returns the next event; `None` at the end. A cancelled call loses nothing.
    ///
    /// # Errors
    ///
    /// The failure of `msb`, after the last event.
    pub async fn next(&mut self) -> Result<Option<ProjectEvent>> {
        match self.lines.next().await? {
            Line::Document(Value::Object(fields)) => {
                let kind = fields.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
                let event = ProjectEvent { kind, fields };
                if event.kind == "finished" {
                    self.summary = Some(event.clone());
                }
                Ok(Some(event))
            }
            Line::Document(_) => Err(Error::failed("msb printed an event that is no object")),
            Line::End(None) => Ok(None),
            Line::End(Some(error)) => Err(self.failure(error)),
        }
    }

    /// Returns the error of the last event, if `msb` has not printed it on standard error.
    fn failure(&self, error: Error) -> Error {
        let reported = self.summary.as_ref().and_then(|summary| summary.fields.get("error"));
        match (error, reported) {
            (Error::Failed(_), Some(reported)) => match ReportedError::deserialize(reported) {
                Ok(reported) => reported.into(),
                Err(_) => Error::failed(reported["message"].as_str().unwrap_or("msb failed")),
            },
            (error, _) => error,
        }
    }

    /// Returns the last event, whose kind is `finished`, after the end.
    pub fn summary(&self) -> Option<&ProjectEvent> {
        self.summary.as_ref()
    }

    /// Waits for the end, and returns the last event.
    ///
    /// # Errors
    ///
    /// The failure of `msb`.
    pub async fn wait(mut self) -> Result<Option<ProjectEvent>> {
        while self.next().await?.is_some() {}
        Ok(self.summary)
    }

    /// Interrupts it unless it has ended, and waits for its end.
    pub async fn close(mut self) {
        self.lines.close().await;
    }
}
