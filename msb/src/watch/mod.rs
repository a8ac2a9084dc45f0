//! `msb up --watch`: follows the logs, applies saved changes, and copies changes in `sync` folders.
//!
//! One event loop waits for all events. Planning and applying block, so they run on another thread; files saved meanwhile
//! are applied afterwards. A file that cannot be applied changes nothing, and the next save tries again.

mod logs;
mod sync;

use crate::apply::interrupts;
use crate::cli::Global;
use crate::commands::event_loop;
use crate::commands::project::up::{Args, BroughtUp, Up};
use crate::error::CliError;
use crate::output::OutputOptions;
use crate::project::load::{Loaded, current_folder};
use crate::report::{Reports, RunReport};
use executor_client::sync::Patterns;
use executor_client::watch::{Batch, Watched, WatchedTree, Watcher};
use logs::LiveLogs;
use schemas::name::{ProjectName, SandboxName};
use schemas::spec::ImageReference;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use sync::Syncs;
use tokio::task::{JoinHandle, LocalSet, spawn_blocking};

/// A watched project.
pub struct Watch {
    global: Global,
    output: OutputOptions,
    watcher: Watcher,
    /// The inputs of the plan, whose changes cause another one.
    inputs: Watched,
}

/// An attempt to apply changed files.
struct Attempt {
    /// The loaded project, if it is valid.
    loaded: Option<Loaded>,
    /// The selected sandboxes.
    outcome: Result<BTreeSet<SandboxName>, CliError>,
}

impl Attempt {
    fn failed(error: CliError) -> Self {
        Self { loaded: None, outcome: Err(error) }
    }
}

/// Checks that the Sandboxfile can be watched, before it is read.
///
/// # Errors
///
/// If it is standard input.
pub fn check(global: &Global) -> Result<(), CliError> {
    if global.files.iter().any(|file| file.as_os_str() == "-") {
        return Err(CliError::usage("standard input cannot be watched")
            .hint("save the Sandboxfile as a file, or omit --watch"));
    }
    Ok(())
}

impl Watch {
    /// Starts to watch the inputs of a project.
    ///
    /// # Errors
    ///
    /// If they cannot be watched.
    pub fn begin(global: &Global, loaded: &Loaded) -> Result<Self, CliError> {
        let inputs = inputs(loaded)?;
        let watcher = Watcher::new(inputs.clone()).map_err(|error| cannot_watch(&error))?;
        Ok(Self { global: global.clone(), output: OutputOptions::of(global), watcher, inputs })
    }

    /// Watches until Ctrl-C. The sandboxes keep running afterwards.
    ///
    /// # Errors
    ///
    /// If files or signals cannot be watched, or sandboxes cannot be observed.
    pub fn run(
        mut self,
        arguments: &Args,
        loaded: &Loaded,
        BroughtUp { home, project, targets }: BroughtUp,
        since: SystemTime,
    ) -> Result<ExitCode, CliError> {
        crate::output::exit_when_stdout_closes();
        let event_loop = event_loop()?;
        let ended = LocalSet::new().block_on(&event_loop, async {
            let mut view = View {
                logs: LiveLogs::new(&home, &project, targets.clone(), since, &self.output)?,
                syncs: Syncs::new(&home, &project, self.output),
                targets,
            };
            self.show(&mut view, Some(loaded))?;
            let text =
                "watching for changes; Ctrl-C stops watching, the sandboxes keep running (`msb down` removes them)";
            self.output.say(text);
            self.watch(arguments, &project, &mut view).await
        });
        // Does not wait for an attempt that is blocked by a prompt.
        event_loop.shutdown_background();
        ended
    }

    async fn watch(
        &mut self,
        arguments: &Args,
        project: &ProjectName,
        view: &mut View,
    ) -> Result<ExitCode, CliError> {
        let mut signals = interrupts::subscribe()?;
        let changes_something = Arc::new(AtomicBool::new(false));
        let mut attempt: Option<JoinHandle<Attempt>> = None;
        let (mut is_outdated, mut leaving) = (false, None);
        loop {
            let signalled = tokio::select! {
                biased;
                Some(exit) = signals.recv() => Some(exit.into()),
                finished = finish(&mut attempt) => {
                    attempt = None;
                    let failure = self.conclude(finished, view)?;
                    if let Some(code) = leaving {
                        return Ok(failure.unwrap_or(code));
                    }
                    None
                }
                batch = self.watcher.next() => {
                    let batch = batch.map_err(|error| cannot_watch(&error))?;
                    is_outdated |= self.concerns_inputs(&batch);
                    view.syncs.changed(&batch);
                    None
                }
            };
            if let Some(code) = signalled {
                // The attempt also gets the signal, and ends in order.
                let busy = attempt.is_some() && changes_something.load(Ordering::Relaxed);
                if !busy || leaving.is_some() {
                    return Ok(code);
                }
                leaving = Some(code);
            }
            if is_outdated && attempt.is_none() && leaving.is_none() {
                is_outdated = false;
                changes_something.store(false, Ordering::Relaxed);
                attempt = Some(self.start_attempt(arguments, project, &changes_something));
            }
        }
    }

    fn start_attempt(
        &self,
        arguments: &Args,
        project: &ProjectName,
        changes_something: &Arc<AtomicBool>,
    ) -> JoinHandle<Attempt> {
        let (global, arguments, project) = (self.global.clone(), arguments.clone(), project.clone());
        // Bars would mix with lines of logs.
        let output = OutputOptions { bars: false, ..self.output };
        let changes_something = changes_something.clone();
        spawn_blocking(move || {
            let up = Up { global: &global, arguments: &arguments, output };
            let loaded = match up.load() {
                Ok(loaded) => loaded,
                Err(error) => return Attempt::failed(error),
            };
            if *loaded.model.project() != project {
                let message = format!("the project {project} is now called {}", loaded.model.project());
                let hint = format!("run `msb -p {project} down`, then `msb up --watch` with the new name");
                return Attempt::failed(CliError::new(message).hint(hint));
            }
            let on_change = || changes_something.store(true, Ordering::Relaxed);
            // Only the first `up` writes reports and annotations.
            let outcome = RunReport::open("up", &Reports::default(), false)
                .and_then(|mut run_report| up.bring_up(&loaded, &mut run_report, on_change));
            Attempt { outcome: outcome.map(|brought_up| brought_up.targets), loaded: Some(loaded) }
        })
    }

    /// Shows the outcome of an attempt. Returns its exit code if it failed.
    fn conclude(&mut self, attempt: Attempt, view: &mut View) -> Result<Option<ExitCode>, CliError> {
        let Attempt { loaded, outcome } = attempt;
        let failure = match outcome {
            Ok(targets) => {
                view.targets = targets;
                None
            }
            Err(error) => {
                let code = error.report(&self.output);
                self.output.say("not fully applied; the next save tries again");
                Some(code)
            }
        };
        self.show(view, loaded.as_ref())?;
        Ok(failure)
    }

    /// Updates the followed sandboxes and the watched files.
    fn show(&mut self, view: &mut View, loaded: Option<&Loaded>) -> Result<(), CliError> {
        if let Some(loaded) = loaded {
            if let Err(error) = view.syncs.declare(&loaded.model, &view.targets) {
                error.report(&self.output);
            }
            self.inputs = inputs(loaded)?;
            let mut watched = self.inputs.clone();
            watched.trees.extend(view.syncs.trees());
            self.watcher.want(watched).map_err(|error| cannot_watch(&error))?;
        }
        view.logs.refresh()?;
        view.syncs.refresh()
    }

    fn concerns_inputs(&self, batch: &Batch) -> bool {
        let Watched { files, trees } = &self.inputs;
        let is_input =
            |path: &PathBuf| files.contains(path) || trees.iter().any(|tree| path.starts_with(&tree.root));
        batch.anything || batch.paths.iter().any(is_input)
    }
}

/// The work between attempts.
struct View {
    logs: LiveLogs,
    syncs: Syncs,
    targets: BTreeSet<SandboxName>,
}

/// Waits for an attempt, forever if there is none.
async fn finish(attempt: &mut Option<JoinHandle<Attempt>>) -> Attempt {
    match attempt {
        None => std::future::pending().await,
        Some(attempt) => attempt
            .await
            .unwrap_or_else(|_| Attempt::failed(CliError::new("`up` panicked: this is a bug in msb"))),
    }
}

/// Returns the inputs of the plan: the files that were read, contents of a `file` included, and local images.
fn inputs(loaded: &Loaded) -> Result<Watched, CliError> {
    let here = current_folder()?;
    let read = loaded.read.iter().filter_map(|file| file.path.as_deref()).map(PathBuf::from);
    let copied = loaded.model.sandboxes().iter().flat_map(|sandbox| sandbox.definition().files.values());
    let copied = copied.filter_map(|file| file.from.as_deref()).map(PathBuf::from);
    let files = read.chain(loaded.env_files.iter().cloned()).chain(copied);
    let files = files.map(|file| here.join(file)).collect();
    let ignored = Arc::new(Patterns::none());
    let images: BTreeSet<&str> = loaded
        .model
        .sandboxes()
        .iter()
        .filter_map(|sandbox| match sandbox.image() {
            ImageReference::Local { path } => Some(path.as_str()),
            ImageReference::Registry { .. } | ImageReference::Snapshot { .. } => None,
        })
        .collect();
    let tree = |path| WatchedTree { root: PathBuf::from(path), ignored: Arc::clone(&ignored) };
    Ok(Watched { files, trees: images.into_iter().map(tree).collect() })
}

fn cannot_watch(error: &executor_client::watch::WatchError) -> CliError {
    CliError::from_error(error)
        .hint("raise fs.inotify.max_user_watches to watch more folders, or exclude some with `ignore`")
}
