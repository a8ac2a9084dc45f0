//! Synchronization of `sync` folders, with one task per sandbox.

use crate::error::CliError;
use crate::output::{OutputOptions, escape_controls, words};
use executor::catalog::Catalog;
use executor::observe::observe_sandboxes;
use executor_client::agent::{AgentClient, AgentError};
use executor_client::sync::{Changed, Patterns, SyncReport, SyncRule, Syncer};
use executor_client::watch::{Batch, WatchedTree};
use executor_host::home::{Home, RunFolder};
use executor_host::process::ProcessIdentity;
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxId, SandboxName, full_name};
use schemas::snapshot::Status;
use schemas::spec::Sync;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Maximum number of failures to list for a batch.
const LISTED_MAX: usize = 3;

/// The sandboxes with `sync` folders.
pub struct Syncs {
    home: Home,
    project: ProjectName,
    output: OutputOptions,
    tasks: BTreeMap<SandboxName, Task>,
}

/// The synchronization of a sandbox.
struct Task {
    declared: BTreeMap<String, Sync>,
    rules: Vec<SyncRule>,
    boot: Option<BootId>,
    changes: Rc<Changes>,
    handle: JoinHandle<()>,
}

/// Identifies one boot of a VM: sandbox, supervisor and number of restarts.
type BootId = (SandboxId, ProcessIdentity, u32);

/// Changes that a task has not copied yet.
#[derive(Default)]
struct Changes {
    pending: RefCell<Pending>,
    changed: Notify,
}

#[derive(Default)]
struct Pending {
    batch: Batch,
    /// Whether the VM or its disk is another one, whose contents are unknown.
    is_new: bool,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Syncs {
    /// Synchronizes nothing yet.
    pub fn new(home: &Home, project: &ProjectName, output: OutputOptions) -> Self {
        Self { home: home.clone(), project: project.clone(), output, tasks: BTreeMap::new() }
    }

    /// Sets the folders to synchronize, of these sandboxes or of all.
    ///
    /// # Errors
    ///
    /// If a pattern is invalid.
    pub fn declare(&mut self, model: &Model, targets: &BTreeSet<SandboxName>) -> Result<(), CliError> {
        let mut tasks = BTreeMap::new();
        for sandbox in model.sandboxes() {
            let (name, declared) = (sandbox.name(), &sandbox.definition().sync);
            if declared.is_empty() || !(targets.is_empty() || targets.contains(name)) {
                continue;
            }
            let task = match self.tasks.remove(name).filter(|task| task.declared == *declared) {
                Some(task) => task,
                None => self.task(name, declared)?,
            };
            tasks.insert(name.clone(), task);
        }
        self.tasks = tasks;
        Ok(())
    }

    fn task(&self, name: &SandboxName, declared: &BTreeMap<String, Sync>) -> Result<Task, CliError> {
        let rule = |(target, sync): (&String, &Sync)| {
            let Sync { source, ignore } = sync;
            let ignored = Patterns::new(ignore.iter().map(String::as_str))
                .map_err(|error| CliError::from_error(&error).because(format!("in a sync of {name}")))?;
            let (source, ignored) = (PathBuf::from(source), Arc::new(ignored));
            Ok(SyncRule { source, target: target.clone(), ignored })
        };
        let rules = declared.iter().map(rule).collect::<Result<Vec<_>, CliError>>()?;
        let changes = Rc::new(Changes::default());
        let worker = Worker {
            name: name.to_string(),
            folder: self.home.sandbox_run(&full_name(&self.project, name)),
            syncers: rules.iter().cloned().map(Syncer::new).collect(),
            client: None,
            output: self.output,
        };
        let handle = tokio::task::spawn_local(worker.run(Rc::clone(&changes)));
        Ok(Task { declared: declared.clone(), rules, boot: None, changes, handle })
    }

    /// Returns the folders to watch.
    pub fn trees(&self) -> impl Iterator<Item = WatchedTree> {
        let rules = self.tasks.values().flat_map(|task| &task.rules);
        rules.map(|rule| WatchedTree { root: rule.source.clone(), ignored: Arc::clone(&rule.ignored) })
    }

    /// Observes the running sandboxes. A new VM gets all files.
    ///
    /// # Errors
    ///
    /// If they cannot be observed.
    pub fn refresh(&mut self) -> Result<(), CliError> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let catalog = Catalog::open(&self.home.catalog())?;
        for seen in observe_sandboxes(&self.home, &catalog, Some(&self.project))? {
            let Some(task) = self.tasks.get_mut(&seen.row.name) else { continue };
            let running = matches!(seen.status, Status::Running { .. });
            let state = seen.state.as_ref().filter(|_| running);
            let boot = state.map(|state| (seen.row.id.clone(), state.supervisor, state.restarts));
            if boot.is_some() && boot != task.boot {
                let anything = Batch { anything: true, ..Batch::default() };
                task.changes.add(anything, true);
            }
            task.boot = boot;
        }
        Ok(())
    }

    /// Forwards changed paths to the tasks of running sandboxes.
    pub fn changed(&self, batch: &Batch) {
        for task in self.tasks.values().filter(|task| task.boot.is_some()) {
            let concerned = |path: &PathBuf| {
                task.rules.iter().any(|rule| path.starts_with(&rule.source) || rule.source.starts_with(path))
            };
            let paths = batch.paths.iter().filter(|path| concerned(path)).cloned().collect();
            task.changes.add(Batch { paths, anything: batch.anything }, false);
        }
    }
}

impl Changes {
    fn add(&self, batch: Batch, is_new: bool) {
        if batch.is_empty() {
            return;
        }
        let mut pending = self.pending.borrow_mut();
        pending.batch.extend(batch);
        pending.is_new |= is_new;
        self.changed.notify_one();
    }
}

/// Synchronizes the folders of a sandbox.
struct Worker {
    name: String,
    folder: RunFolder,
    syncers: Vec<Syncer>,
    client: Option<AgentClient>,
    output: OutputOptions,
}

impl Worker {
    async fn run(mut self, changes: Rc<Changes>) {
        loop {
            changes.changed.notified().await;
            let Pending { batch, is_new } = changes.pending.take();
            if is_new {
                self.client = None;
                self.syncers.iter_mut().for_each(Syncer::doubt);
            }
            let changed = if batch.anything { Changed::Anything } else { Changed::Paths(&batch.paths) };
            for index in 0..self.syncers.len() {
                if self.syncers[index].concerns(changed) {
                    self.sync(index, changed).await;
                }
            }
        }
    }

    async fn sync(&mut self, index: usize, changed: Changed<'_>) {
        let mut changed = changed;
        // The second attempt reaches a VM that was restarted meanwhile.
        for is_last in [false, true] {
            match self.sync_once(index, changed).await {
                Ok(report) => {
                    let text = text(&self.name, self.syncers[index].rule(), &report);
                    return text.into_iter().for_each(|line| self.output.say(&line));
                }
                Err(error) => {
                    self.client = None;
                    self.syncers[index].doubt();
                    changed = Changed::Anything;
                    if is_last || matches!(error, AgentError::UnsupportedOperation { .. }) {
                        CliError::from_error(&error)
                            .because(format!("while copying changes into {}", self.name))
                            .report(&self.output);
                        return;
                    }
                }
            }
        }
    }

    async fn sync_once(&mut self, index: usize, changed: Changed<'_>) -> Result<SyncReport, AgentError> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => AgentClient::connect(&self.folder.agent_socket()).await?,
        };
        let report = self.syncers[index].run(&mut client, changed).await?;
        self.client = Some(client);
        Ok(report)
    }
}

/// Formats a batch as one line, with a line for each of the first failures.
fn text(name: &str, rule: &SyncRule, report: &SyncReport) -> Vec<String> {
    let SyncReport { copied, bytes: _, removed, example, failures, failed } = report;
    let (target, count) = (rule.target.trim_end_matches('/'), copied + removed);
    let mut lines = Vec::new();
    match (count, example) {
        (0, _) => {}
        (1, Some(path)) if !path.as_os_str().is_empty() => {
            let verb = if *removed == 1 { "removed" } else { "synced" };
            lines.push(format!("{name}: {verb} {target}/{}", path.display()));
        }
        _ => {
            let files = words::count(*copied, "file", "files");
            let mut line = format!("{name}: synced {files} to {}", rule.target);
            if *removed > 0 {
                line.push_str(&format!(", removed {removed}"));
            }
            lines.push(line);
        }
    }
    let listed = failures.iter().take(LISTED_MAX);
    lines.extend(
        listed.map(|failure| format!("{name}: not synced: {}: {}", failure.path.display(), failure.why)),
    );
    let rest = failed.saturating_sub(failures.len().min(LISTED_MAX) as u64);
    if rest > 0 {
        lines.push(format!("{name}: not synced: {rest} more"));
    }
    lines.iter().map(|line| escape_controls(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_client::sync::SyncFailure;

    #[test]
    fn a_batch_is_one_line() {
        let rule = SyncRule {
            source: "/src".into(),
            target: "/app".to_owned(),
            ignored: Arc::new(Patterns::none()),
        };
        let lines = |report: SyncReport| text("web", &rule, &report);
        let one = |copied, removed| SyncReport {
            copied,
            removed,
            example: Some("lib/a\x1b.py".into()),
            ..SyncReport::default()
        };
        assert_eq!(lines(SyncReport::default()), [""; 0]);
        assert_eq!(lines(one(1, 0)), ["web: synced /app/lib/a\\u{1b}.py"]);
        assert_eq!(lines(one(0, 1)), ["web: removed /app/lib/a\\u{1b}.py"]);
        assert_eq!(lines(one(3, 1)), ["web: synced 3 files to /app, removed 1"]);
        let failure = |_| SyncFailure { path: "a".into(), why: "no\nroom".into() };
        let report =
            SyncReport { failed: 20, failures: (0..8).map(failure).collect(), ..SyncReport::default() };
        let failed = lines(report);
        assert_eq!(failed.len(), LISTED_MAX + 1);
        assert_eq!(
            (failed[0].as_str(), failed[3].as_str()),
            ("web: not synced: a: no\\nroom", "web: not synced: 17 more")
        );
    }
}
