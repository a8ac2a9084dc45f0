//! What `up` and `down` share: planning and applying under the project's lock, Ctrl-C, the wait's time limit.

pub mod confirm;
pub mod create;
pub mod ephemeral;
pub mod interrupts;
pub mod lifecycle;

use crate::apply::confirm::Consent;
use crate::commands::event_loop;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output::OutputOptions;
use crate::progress::{Progress, StepRecord, stream};
use executor::apply::{Applier, ApplyError, Interrupt, Outcome, ProjectLock, Settings, StepResult, Waiting};
use executor::catalog::Catalog;
use executor::images::ImageQuery;
use executor::launch::BootSettings;
use executor_host::home::Home;
use planner::Rollback;
use schemas::name::{ProjectName, SandboxName};
use schemas::plan::{Ensure, PlanGraph, StepId};
use schemas::report::Report;
use schemas::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a guest has to shut down when `up` restarts, replaces or removes it.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How applying went.
pub struct ApplyResult {
    /// How each step ended.
    pub results: BTreeMap<StepId, StepResult>,
    /// The same in the order of their ends, for whoever tells of it.
    pub steps: Vec<StepRecord>,
    /// What msb exits with when a signal cut it short.
    pub interrupted: Option<Exit>,
    /// Whether the time limit ended it.
    pub timed_out: bool,
}

impl ApplyResult {
    /// The steps that may have changed something.
    fn started(&self) -> BTreeSet<StepId> {
        let changed = |result: &StepResult| match result {
            StepResult::Succeeded { outcome, .. } => *outcome != Outcome::NotNeeded,
            StepResult::Failed(_) | StepResult::Interrupted => true,
            StepResult::Skipped { .. } => false,
        };
        self.results.iter().filter(|(_, result)| changed(result)).map(|(id, _)| id.clone()).collect()
    }

    /// Returns the sandboxes whose steps did not finish, as a comma-separated list.
    pub fn unfinished(&self, plan: &PlanGraph) -> String {
        self.left(plan, |_| true)
    }

    /// What an interrupt has left: what was not done, and who was only waited for.
    pub fn left_by_interrupt(&self, plan: &PlanGraph) -> String {
        let undone = self.left(plan, |ensure| !matches!(ensure, Ensure::Condition { .. }));
        let all = self.unfinished(plan);
        match (undone.as_str(), all.as_str()) {
            ("", "") => "interrupted; nothing is left undone".to_owned(),
            ("", waited) => format!("interrupted while waiting for {waited}; nothing else is left undone"),
            (undone, _) => format!("interrupted; left undone: {undone}"),
        }
    }

    /// The sandboxes of such steps as did not come to their ends.
    fn left(&self, plan: &PlanGraph, counts: impl Fn(&Ensure) -> bool) -> String {
        let open = self
            .results
            .iter()
            .filter(|(_, result)| matches!(result, StepResult::Interrupted | StepResult::Skipped { .. }));
        let ensures = open.filter_map(|(id, _)| Some(&plan.steps.get(id)?.ensure));
        let names: BTreeSet<_> = ensures
            .filter(|ensure| counts(ensure))
            .filter_map(|ensure| Some(ensure.identity()?.name.as_str()))
            .collect();
        schemas::listing::names(names)
    }

    /// How many steps failed.
    pub fn failures(&self) -> usize {
        self.results.values().filter(|result| matches!(result, StepResult::Failed(_))).count()
    }
}

/// Settings of an `up`. Without `boot` nothing can be started.
pub fn settings(
    home: &Home,
    boot: Option<BootSettings>,
    parallel: Option<usize>,
    fail_fast: bool,
    folder: &Path,
) -> Result<Settings, CliError> {
    Ok(Settings {
        boot,
        supervise: host::supervise_command(home)?,
        parallel,
        fail_fast,
        stop_timeout: STOP_TIMEOUT,
        kill: false,
        waiting: Waiting::default(),
        registries: Arc::new(host::registries(home)?),
        folder: Some(folder.to_owned()),
        pools: host::pools(home)?,
    })
}

/// Settings of a `down`: it boots nothing, so it works without a kernel and without a driver.
pub fn settings_without_boot(home: &Home, stop_timeout: Duration) -> Result<Settings, CliError> {
    let supervise = host::supervise_command(home)?;
    let registries = Arc::default();
    Ok(Settings {
        boot: None,
        supervise,
        parallel: None,
        fail_fast: false,
        stop_timeout,
        kill: false,
        waiting: Waiting::default(),
        registries,
        folder: None,
        pools: executor_net::Pools::default(),
    })
}

/// A project under its lock.
pub struct LockedProject {
    pub home: Home,
    pub catalog: Arc<Catalog>,
    pub lock: ProjectLock,
    pub project: ProjectName,
    /// The images that the desired state names.
    pub images: ImageQuery,
    pub verbosity: OutputOptions,
    /// How a plan that destroys data gets its consent.
    pub consent: Consent,
    /// `up` or `down`.
    pub command: &'static str,
}

/// What came of a desired state.
pub struct Converged {
    pub plan: PlanGraph,
    pub report: Report,
    /// How applying went; nothing where nothing was to do.
    pub applied: Option<ApplyResult>,
    /// How taking it back went, where that was asked for and something failed.
    pub rolled_back: Option<RolledBack>,
}

/// How taking back went.
pub struct RolledBack {
    /// How many steps of that failed.
    pub failures: usize,
    /// The sandboxes whose disk is lost.
    pub lost: BTreeSet<SandboxName>,
}

/// What is asked for beside the plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// How long it all may take.
    pub time_limit: Option<Duration>,
    /// Whether a failure has everything taken back.
    pub roll_back: bool,
}

/// How often a plan is made anew because the project went on by itself while it was made.
const ATTEMPTS: u32 = 5;

/// Plans and applies. A job that ends in between makes the plan stale: then it is made once more.
pub fn converge(
    locked: &LockedProject,
    plan: impl Fn(&Snapshot) -> Result<(PlanGraph, Report), CliError>,
    settings: impl Fn() -> Result<Settings, CliError>,
    show: impl Fn(&PlanGraph, &Report) -> String,
    options: ApplyOptions,
) -> Result<Converged, CliError> {
    let LockedProject { home, catalog, lock: _, project, images, verbosity, consent, command } = locked;
    let (mut shown, mut agreed) = (String::new(), Vec::new());
    let mut attempt = 1;
    loop {
        let query = if attempt == 1 { images.clone() } else { images.again() };
        let before = executor::observe::observe(home, catalog, project, &query)?;
        let (plan, report) = plan(&before)?;
        if plan.is_empty() {
            return Ok(Converged { plan, report, applied: None, rolled_back: None });
        }
        let text = show(&plan, &report);
        if text != shown && !text.is_empty() {
            verbosity.say(text.trim_end());
            shown = text;
        }
        if verbosity.events {
            stream::plan(command, &plan, &report);
        }
        let losses = report.losses();
        // Nobody is asked the same twice when the plan is made anew.
        if losses != agreed {
            consent.obtain(&losses)?;
            agreed = losses;
        }
        let applied = match carry_out(locked, &plan, settings()?, options.time_limit)? {
            Ok(applied) => applied,
            Err(ApplyError::Stale { .. }) if attempt < ATTEMPTS => {
                interrupts::check()?;
                attempt += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let failed = applied.interrupted.is_none() && (applied.timed_out || applied.failures() > 0);
        let rolled_back = if options.roll_back && failed {
            Some(roll_back(locked, &plan, &applied, &before, &settings)?)
        } else {
            None
        };
        return Ok(Converged { plan, report, applied: Some(applied), rolled_back });
    }
}

/// Carries out one plan, with its progress on display.
fn carry_out(
    locked: &LockedProject,
    plan: &PlanGraph,
    settings: Settings,
    time_limit: Option<Duration>,
) -> Result<Result<ApplyResult, ApplyError>, CliError> {
    let progress = Arc::new(Progress::new(plan, &locked.verbosity));
    let applier = Arc::new(Applier {
        home: locked.home.clone(),
        catalog: locked.catalog.clone(),
        settings,
        reporter: progress.clone(),
    });
    let event_loop = event_loop()?;
    let applied = event_loop.block_on(async {
        let interrupts = Interrupts::catch(time_limit, &progress)?;
        let results = applier.apply(plan, &locked.lock, &locked.images, interrupts.receiver()).await;
        Ok::<_, CliError>(results.map(|results| interrupts.judge(results)))
    });
    // A build that was told to stop now is not waited for; it leaves nothing half-made in sight.
    event_loop.shutdown_background();
    let steps = progress.finish();
    Ok(applied?.map(|applied| ApplyResult { steps, ..applied }))
}

/// Takes back what was applied of a plan.
fn roll_back(
    locked: &LockedProject,
    plan: &PlanGraph,
    applied: &ApplyResult,
    before: &Snapshot,
    settings: &impl Fn() -> Result<Settings, CliError>,
) -> Result<RolledBack, CliError> {
    locked.verbosity.say("taking back what was done:");
    let started = applied.started();
    let mut attempt = 1;
    loop {
        let LockedProject { home, catalog, project, images, .. } = locked;
        let now = executor::observe::observe(home, catalog, project, &images.again())?;
        let Rollback { plan, lost } = planner::rollback(plan, &started, before, &now);
        if plan.is_empty() {
            return Ok(RolledBack { failures: 0, lost });
        }
        if locked.verbosity.events {
            stream::rollback(&plan);
        }
        let settings = Settings { fail_fast: false, ..settings()? };
        match carry_out(locked, &plan, settings, None)? {
            // What was skipped for a failure, or for a signal, is still there.
            Ok(applied) => {
                let done = |result: &&StepResult| matches!(result, StepResult::Succeeded { .. });
                let failures = applied.results.len() - applied.results.values().filter(done).count();
                return Ok(RolledBack { failures, lost });
            }
            Err(ApplyError::Stale { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ctrl-C once finishes what has started, twice leaves everything as it is; so does the time limit.
struct Interrupts {
    sender: Arc<watch::Sender<Interrupt>>,
    terminated: Arc<AtomicBool>,
    timed_out: Arc<AtomicBool>,
}

impl Interrupts {
    fn catch(time_limit: Option<Duration>, progress: &Arc<Progress>) -> Result<Self, CliError> {
        let sender = Arc::new(watch::Sender::new(Interrupt::None));
        let [terminated, timed_out] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let mut signals = interrupts::hear()?;
        {
            let (sender, terminated, progress) = (sender.clone(), terminated.clone(), progress.clone());
            tokio::spawn(async move {
                while let Some(exit) = signals.recv().await {
                    terminated.store(exit == Exit::Terminated, Ordering::Relaxed);
                    if *sender.borrow() == Interrupt::None {
                        progress.say(
                            "stopping: what has started is finished first; a second Ctrl-C leaves it as it is",
                        );
                    }
                    sender.send_modify(|interrupt| {
                        *interrupt =
                            if *interrupt == Interrupt::None { Interrupt::Finish } else { Interrupt::Now };
                    });
                }
            });
        }
        if let Some(limit) = time_limit {
            let (sender, timed_out) = (sender.clone(), timed_out.clone());
            tokio::spawn(async move {
                tokio::time::sleep(limit).await;
                timed_out.store(true, Ordering::Relaxed);
                sender.send_replace(Interrupt::Now);
            });
        }
        Ok(Self { sender, terminated, timed_out })
    }

    fn receiver(&self) -> watch::Receiver<Interrupt> {
        self.sender.subscribe()
    }

    /// What came too late to stop anything has not interrupted anything.
    fn judge(&self, results: BTreeMap<StepId, StepResult>) -> ApplyResult {
        let complete = results.values().all(|result| matches!(result, StepResult::Succeeded { .. }));
        let timed_out = !complete && self.timed_out.load(Ordering::Relaxed);
        let interrupted = !complete && !timed_out && *self.sender.borrow() > Interrupt::None;
        let terminated = self.terminated.load(Ordering::Relaxed);
        let interrupted =
            interrupted.then_some(if terminated { Exit::Terminated } else { Exit::Interrupted });
        ApplyResult { results, steps: Vec::new(), interrupted, timed_out }
    }
}

/// The chain of steps that decided how long it all took: `db 0.9s → api 1.2s`.
pub fn critical_chain(plan: &PlanGraph, results: &BTreeMap<StepId, StepResult>) -> Option<String> {
    let times = |id: &StepId| match results.get(id) {
        Some(StepResult::Succeeded { began, ended, .. }) => Some((*began, *ended)),
        _ => None,
    };
    let last_of = |ids: &mut dyn Iterator<Item = &StepId>| -> Option<(StepId, Instant)> {
        ids.filter_map(|id| times(id).map(|(_, ended)| (id.clone(), ended))).max_by_key(|(_, ended)| *ended)
    };
    let mut chain: Vec<(String, Duration)> = Vec::new();
    let mut current = last_of(&mut plan.steps.keys())?.0;
    loop {
        let step = plan.steps.get(&current)?;
        let (began, ended) = times(&current)?;
        let about = match &step.ensure {
            Ensure::Image { .. } => "image".to_owned(),
            ensure => ensure.identity()?.name.to_string(),
        };
        match chain.last_mut() {
            Some((name, total)) if *name == about => *total += ended - began,
            _ => chain.push((about, ended - began)),
        }
        match last_of(&mut step.after.iter()) {
            Some((before, _)) => current = before,
            None => break,
        }
    }
    chain.reverse();
    let links: Vec<_> = chain.into_iter().map(|(name, took)| format!("{name} {}", seconds(took))).collect();
    (links.len() > 1).then(|| links.join(" → "))
}

/// A time as people read it.
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1}s", time.as_secs_f64())
    }
}
