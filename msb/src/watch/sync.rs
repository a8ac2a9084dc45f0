//! Keeps the `sync` folders of running sandboxes up to date, each sandbox at its own pace.

use crate::error::CliError;
use crate::output::{OutputOptions, escape_controls};
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

/// Failures that are listed of one batch; the rest is counted.
const LISTED_MAX: usize = 3;

/// All sandboxes with `sync` folders.
pub struct Syncs {
    home: Home,
    project: ProjectName,
    verbosity: OutputOptions,
    tasks: BTreeMap<SandboxName, Task>,
}

/// One sandbox, and who keeps it up to date.
struct Task {
    declared: BTreeMap<String, Sync>,
    rules: Vec<SyncRule>,
    incarnation: Option<Incarnation>,
    orders: Rc<LaunchSpec>,
    handle: JoinHandle<()>,
}

/// What a machine is told from the next one by.
type Incarnation = (SandboxId, ProcessIdentity, u32);

#[derive(Default)]
struct LaunchSpec {
    waiting: RefCell<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// It is another machine than before, or another disk.
    doubt: bool,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Syncs {
    /// Knows of no folder yet.
    pub fn new(home: &Home, project: &ProjectName, verbosity: OutputOptions) -> Self {
        Self { home: home.clone(), project: project.clone(), verbosity, tasks: BTreeMap::new() }
    }

    /// What is to be kept up to date from now on; of these sandboxes, or of all.
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
        let orders = Rc::new(LaunchSpec::default());
        let keeper = Keeper {
            name: name.to_string(),
            folder: self.home.sandbox_run(&full_name(&self.project, name)),
            syncers: rules.iter().cloned().map(Syncer::new).collect(),
            client: None,
            verbosity: self.verbosity,
        };
        let handle = tokio::task::spawn_local(keeper.keep(Rc::clone(&orders)));
        Ok(Task { declared: declared.clone(), rules, incarnation: None, orders, handle })
    }

    /// The folders that are to be watched.
    pub fn trees(&self) -> impl Iterator<Item = WatchedTree> {
        let rules = self.tasks.values().flat_map(|task| &task.rules);
        rules.map(|rule| WatchedTree { root: rule.source.clone(), ignored: Arc::clone(&rule.ignored) })
    }

    /// Looks which machines run. One that is new gets everything.
    pub fn refresh(&mut self) -> Result<(), CliError> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let catalog = Catalog::open(&self.home.catalog())?;
        for seen in observe_sandboxes(&self.home, &catalog, Some(&self.project))? {
            let Some(task) = self.tasks.get_mut(&seen.row.name) else { continue };
            let running = matches!(seen.status, Status::Running { .. });
            let state = seen.state.as_ref().filter(|_| running);
            let incarnation = state.map(|state| (seen.row.id.clone(), state.supervisor, state.restarts));
            if incarnation.is_some() && incarnation != task.incarnation {
                let anything = Batch { anything: true, ..Batch::default() };
                task.orders.give(anything, true);
            }
            task.incarnation = incarnation;
        }
        Ok(())
    }

    /// Passes on what has changed.
    pub fn changed(&self, batch: &Batch) {
        for task in self.tasks.values().filter(|task| task.incarnation.is_some()) {
            let concerned = |path: &PathBuf| {
                task.rules.iter().any(|rule| path.starts_with(&rule.source) || rule.source.starts_with(path))
            };
            let paths = batch.paths.iter().filter(|path| concerned(path)).cloned().collect();
            task.orders.give(Batch { paths, anything: batch.anything }, false);
        }
    }
}

impl LaunchSpec {
    fn give(&self, batch: Batch, doubt: bool) {
        if batch.is_empty() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.batch.extend(batch);
        waiting.doubt |= doubt;
        self.changed.notify_one();
    }
}

/// Keeps one sandbox up to date.
struct Keeper {
    name: String,
    folder: RunFolder,
    syncers: Vec<Syncer>,
    client: Option<AgentClient>,
    verbosity: OutputOptions,
}

impl Keeper {
    async fn keep(mut self, orders: Rc<LaunchSpec>) {
        loop {
            orders.changed.notified().await;
            let Waiting { batch, doubt } = orders.waiting.take();
            if doubt {
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
        // A machine that was started anew meanwhile is reached at the second attempt.
        for last_attempt in [false, true] {
            match self.sync_once(index, changed).await {
                Ok(report) => {
                    let text = text(&self.name, self.syncers[index].rule(), &report);
                    return text.into_iter().for_each(|line| self.verbosity.say(&line));
                }
                Err(error) => {
                    self.client = None;
                    self.syncers[index].doubt();
                    changed = Changed::Anything;
                    let hopeless = matches!(error, AgentError::UnsupportedOperation { .. });
                    if last_attempt || hopeless {
                        let failure = CliError::from_error(&error);
                        let name = &self.name;
                        failure
                            .because(format!("while copying what has changed into {name}"))
                            .report(&self.verbosity);
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

/// One line for a batch, and one for each of its first failures.
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
            let files = if *copied == 1 { "file" } else { "files" };
            let mut line = format!("{name}: synced {copied} {files} to {}", rule.target);
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
