//! `msb up --watch`: follows the logs, applies what is saved, and copies what changes in `sync` folders.
//!
//! One event loop waits for all of it. Planning and applying block, so they have a thread of their own, and what is
//! saved meanwhile is taken up afterwards. A file that cannot be applied changes nothing: the next save tries again.

mod logs;
mod sync;

use crate::apply::interrupts;
use crate::cli::Global;
use crate::commands::event_loop;
use crate::commands::project::up::{self, Args, BroughtUp, bring_up};
use crate::error::{CliError, Exit};
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
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, LocalSet, spawn_blocking};

/// A project that is watched.
pub struct Watch {
    global: Global,
    verbosity: OutputOptions,
    watcher: Watcher,
    /// What a change of means planning anew.
    inputs: Watched,
}

/// One more planning and applying.
struct Attempt {
    /// What the files said, if they could be read.
    loaded: Option<Loaded>,
    /// Which sandboxes were asked for.
    outcome: Result<BTreeSet<SandboxName>, CliError>,
}

/// Refuses what nobody can watch, before it is read.
pub fn check(global: &Global) -> Result<(), CliError> {
    if global.files.iter().any(|file| file.as_os_str() == "-") {
        return Err(CliError::usage("standard input cannot be watched")
            .hint("put the Sandboxfile into a file, or leave --watch out"));
    }
    Ok(())
}

impl Watch {
    /// Begins to watch what a project was loaded from.
    pub fn begin(global: &Global, loaded: &Loaded) -> Result<Self, CliError> {
        let inputs = inputs(loaded)?;
        let watcher = Watcher::new(inputs.clone()).map_err(|error| cannot_watch(&error))?;
        Ok(Self { global: global.clone(), verbosity: OutputOptions::of(global), watcher, inputs })
    }

    /// Watches until Ctrl-C; the sandboxes go on afterwards.
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
                logs: LiveLogs::new(&home, &project, targets.clone(), since, &self.verbosity)?,
                syncs: Syncs::new(&home, &project, self.verbosity),
                targets,
            };
            self.show(&mut view, Some(loaded))?;
            let text =
                "watching for changes; Ctrl-C stops watching, the sandboxes go on (`msb down` removes them)";
            self.verbosity.say(text);
            self.watch(arguments, &project, &mut view).await
        });
        // A question that nobody has answered is not waited for.
        event_loop.shutdown_background();
        ended
    }

    async fn watch(
        &mut self,
        arguments: &Args,
        project: &ProjectName,
        view: &mut View,
    ) -> Result<ExitCode, CliError> {
        let no_signals = |error| CliError::new(format!("cannot listen for signals: {error}"));
        let _signals = interrupts::take_over();
        let mut interrupts = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(no_signals)?;
        let changes_something = Arc::new(AtomicBool::new(false));
        let mut attempt: Option<JoinHandle<Attempt>> = None;
        let (mut once_more, mut leaving) = (false, None);
        loop {
            let signalled = tokio::select! {
                biased;
                _ = interrupts.recv() => Some(ExitCode::from(Exit::Interrupted as u8)),
                _ = terminations.recv() => Some(ExitCode::from(Exit::Terminated as u8)),
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
                    once_more |= self.concerns_inputs(&batch);
                    view.syncs.changed(&batch);
                    None
                }
            };
            if let Some(code) = signalled {
                // The attempt has heard it as well, and comes to an end where that does no harm.
                let busy = attempt.is_some() && changes_something.load(Ordering::Relaxed);
                if !busy || leaving.is_some() {
                    return Ok(code);
                }
                leaving = Some(code);
            }
            if once_more && attempt.is_none() && leaving.is_none() {
                once_more = false;
                changes_something.store(false, Ordering::Relaxed);
                attempt = Some(self.try_again(arguments, project, &changes_something));
            }
        }
    }

    fn try_again(
        &self,
        arguments: &Args,
        project: &ProjectName,
        changes_something: &Arc<AtomicBool>,
    ) -> JoinHandle<Attempt> {
        let (global, arguments, project) = (self.global.clone(), arguments.clone(), project.clone());
        // Bars and the lines of logs would be drawn over each other.
        let verbosity = OutputOptions { bars: false, ..self.verbosity };
        let changes_something = changes_something.clone();
        spawn_blocking(move || {
            let loaded = match up::load(&global, &arguments) {
                Ok(loaded) => loaded,
                Err(error) => return Attempt { loaded: None, outcome: Err(error) },
            };
            if *loaded.model.project() != project {
                let message = format!("the project {project} is called {} now", loaded.model.project());
                let hint = format!("`msb -p {project} down`, then `msb up --watch` under the new name");
                return Attempt { loaded: None, outcome: Err(CliError::new(message).hint(hint)) };
            }
            let begins = || changes_something.store(true, Ordering::Relaxed);
            // Reports and annotations tell of the first time alone.
            let outcome = RunReport::open("up", &Reports::default(), false).and_then(|mut account| {
                bring_up(&global, &arguments, &loaded, (verbosity, &mut account), begins)
            });
            let outcome = outcome.map(|BroughtUp { home: _, project: _, targets }| targets);
            Attempt { loaded: Some(loaded), outcome }
        })
    }

    /// Shows how an attempt went. Gives its exit code if it failed.
    fn conclude(&mut self, attempt: Attempt, view: &mut View) -> Result<Option<ExitCode>, CliError> {
        let Attempt { loaded, outcome } = attempt;
        let failure = match outcome {
            Ok(targets) => {
                view.targets = targets;
                None
            }
            Err(error) => {
                let code = error.report(&self.verbosity);
                self.verbosity.say("not applied as a whole; the next save is tried again");
                Some(code)
            }
        };
        self.show(view, loaded.as_ref())?;
        Ok(failure)
    }

    /// Follows what runs now, and watches what the files name now.
    fn show(&mut self, view: &mut View, loaded: Option<&Loaded>) -> Result<(), CliError> {
        if let Some(loaded) = loaded {
            if let Err(error) = view.syncs.declare(&loaded.model, &view.targets) {
                error.report(&self.verbosity);
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

/// What goes on beside planning and applying.
struct View {
    logs: LiveLogs,
    syncs: Syncs,
    targets: BTreeSet<SandboxName>,
}

/// The end of an attempt; never, where there is none.
async fn finish(attempt: &mut Option<JoinHandle<Attempt>>) -> Attempt {
    match attempt {
        None => std::future::pending().await,
        Some(attempt) => attempt.await.unwrap_or_else(|_| Attempt {
            loaded: None,
            outcome: Err(CliError::new("planning and applying broke off: this is a mistake in msb")),
        }),
    }
}

/// What decides on the plan: the files that were read, and the contents of local images.
fn inputs(loaded: &Loaded) -> Result<Watched, CliError> {
    let here = current_folder()?;
    let read = loaded.read.iter().filter_map(|file| file.path.as_deref()).map(PathBuf::from);
    let files = read.chain(loaded.env_files.iter().cloned()).map(|file| here.join(file)).collect();
    let ignored = Arc::new(Patterns::none());
    let images: BTreeSet<&str> = loaded
        .model
        .sandboxes()
        .iter()
        .filter_map(|sandbox| match sandbox.image() {
            ImageReference::Local { path } => Some(path.as_str()),
            ImageReference::Registry { .. } => None,
        })
        .collect();
    let tree = |path| WatchedTree { root: PathBuf::from(path), ignored: Arc::clone(&ignored) };
    Ok(Watched { files, trees: images.into_iter().map(tree).collect() })
}

fn cannot_watch(error: &executor_client::watch::WatchError) -> CliError {
    CliError::from_error(error)
        .hint("folders beyond the kernel's limit need a larger fs.inotify.max_user_watches, or `ignore`")
}
