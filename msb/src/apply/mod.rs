//! Planning and applying under the project's lock, with interrupts, time limit and rollback.

pub mod confirm;
pub mod create;
pub mod ephemeral;
pub mod interrupts;
pub mod lifecycle;

use crate::apply::confirm::{Consent, ConsentTo};
use crate::commands::event_loop_with_threads;
use crate::error::{CliError, ErrorCode};
use crate::host::{self, Machine};
use crate::output::{self, OutputOptions};
use crate::progress::{Progress, StepRecord, stream};
use executor::apply::{Applier, ApplyError, Interrupt, Outcome, ProjectLock, Settings, StepResult, Waiting};
use executor::images::ImageQuery;
use executor::launch::BootSettings;
use executor_client::deadline::until;
use executor_host::home::Home;
use planner::Rollback;
use schemas::name::{ProjectName, SandboxName};
use schemas::plan::{Ensure, PlanGraph, StepId};
use schemas::report::Report;
use schemas::snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The result of applying a plan.
pub struct ApplyResult {
    /// The result of each step.
    pub results: BTreeMap<StepId, StepResult>,
    /// Records of the steps in the order in which they ended.
    pub steps: Vec<StepRecord>,
    /// The exit code of the signal that interrupted it.
    pub interrupted: Option<ErrorCode>,
    /// Whether the time limit ended it.
    pub timed_out: bool,
}

impl ApplyResult {
    /// Returns the steps that may have changed something.
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
        self.unfinished_where(plan, |_| true)
    }

    /// Checks that no signal interrupted it.
    ///
    /// # Errors
    ///
    /// If one did, with what is unfinished: changes, else only waits.
    pub fn check_interrupt(&self, plan: &PlanGraph) -> Result<(), CliError> {
        let Some(exit) = self.interrupted else { return Ok(()) };
        let changes = self.unfinished_where(plan, |ensure| !matches!(ensure, Ensure::Condition { .. }));
        let all = self.unfinished(plan);
        let message = match (changes.as_str(), all.as_str()) {
            ("", "") => "interrupted; all changes are complete".to_owned(),
            ("", waits) => format!("interrupted while waiting for {waits}; all changes are complete"),
            (changes, _) => format!("interrupted; not finished: {changes}"),
        };
        Err(CliError::new(message).code(exit))
    }

    /// Returns the error of a plan with one step that matters, if it was interrupted or failed.
    pub fn into_result(self, plan: &PlanGraph) -> Result<(), CliError> {
        self.check_interrupt(plan)?;
        let failure = self.results.into_values().find_map(|result| match result {
            StepResult::Failed(failure) => Some(failure),
            _ => None,
        });
        match failure {
            Some(failure) => {
                Err(CliError::new(failure.message).because_all(failure.details).maybe_hint(failure.hint))
            }
            None => Ok(()),
        }
    }

    fn unfinished_where(&self, plan: &PlanGraph, filter: impl Fn(&Ensure) -> bool) -> String {
        let open = self
            .results
            .iter()
            .filter(|(_, result)| matches!(result, StepResult::Interrupted | StepResult::Skipped { .. }));
        let ensures = open.filter_map(|(id, _)| Some(&plan.steps.get(id)?.ensure));
        let names: BTreeSet<_> = ensures
            .filter(|ensure| filter(ensure))
            .filter_map(|ensure| Some(ensure.identity()?.name.as_str()))
            .collect();
        schemas::listing::names(names)
    }

    /// Counts the failed steps.
    pub fn failures(&self) -> usize {
        self.results.values().filter(|result| matches!(result, StepResult::Failed(_))).count()
    }
}

/// Settings of a command that boots nothing. It works without kernel, driver and valid configuration.
///
/// # Errors
///
/// If the path of msb is unknown.
pub fn settings(home: &Home, stop_timeout: Option<Duration>) -> Result<Settings, CliError> {
    Ok(Settings {
        boot: None,
        supervise: host::supervise_command(home)?,
        parallel: None,
        fail_fast: false,
        stop_timeout,
        kill: false,
        waiting: Waiting::default(),
        registries: Arc::default(),
        folder: None,
        pools: executor_net::Pools::default(),
    })
}

/// Settings of a command that pulls images and boots sandboxes.
///
/// # Errors
///
/// If the configuration is invalid, or the path of msb is unknown.
pub fn settings_with_boot(
    home: &Home,
    boot: Option<BootSettings>,
    folder: Option<PathBuf>,
) -> Result<Settings, CliError> {
    Ok(Settings {
        boot,
        registries: Arc::new(host::registries(home)?),
        folder,
        pools: host::pools(home)?,
        ..settings(home, None)?
    })
}

/// A locked project, and how a plan is applied to it.
pub struct LockedProject {
    /// The state of this machine.
    pub machine: Machine,
    /// The lock.
    pub lock: ProjectLock,
    /// The project.
    pub project: ProjectName,
    /// The query for the images of the desired state.
    pub images: ImageQuery,
    /// The output.
    pub output: OutputOptions,
    /// Consent to the loss of data.
    pub consent: Consent,
    /// The command, such as `up`.
    pub command: &'static str,
}

impl LockedProject {
    /// Locks a project for a command that needs no images, has consent and prints nothing.
    ///
    /// # Errors
    ///
    /// If the lock is still held after `timeout`.
    pub fn acquire(
        machine: &Machine,
        project: &ProjectName,
        command: &'static str,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        Ok(Self {
            lock: ProjectLock::acquire(&machine.home, project, &format!("msb {command}"), timeout)?,
            machine: machine.clone(),
            project: project.clone(),
            images: ImageQuery::default(),
            output: OutputOptions::SILENT,
            consent: Consent::Given,
            command,
        })
    }
}

/// The outcome of [`converge`].
pub struct Converged {
    /// The plan.
    pub plan: PlanGraph,
    /// Its report.
    pub report: Report,
    /// The result of applying it; `None` if there was nothing to do.
    pub applied: Option<ApplyResult>,
    /// The result of the rollback, if there was one.
    pub rolled_back: Option<RolledBack>,
}

/// The result of a rollback.
pub struct RolledBack {
    /// Number of steps of the rollback that failed.
    pub failures: usize,
    /// The sandboxes whose disks are lost.
    pub lost: BTreeSet<SandboxName>,
}

/// Options of [`converge`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// Maximum time to apply the plan.
    pub time_limit: Option<Duration>,
    /// Whether a failure causes a rollback.
    pub roll_back: bool,
    /// Whether the plan is shown before it is applied.
    pub show_plan: bool,
    /// The losses that need consent.
    pub consent_to: ConsentTo,
}

/// Maximum attempts to apply a plan that becomes stale meanwhile.
const ATTEMPTS: u32 = 5;

/// Plans and applies. Plans again if the plan becomes stale, for example because a job ends.
///
/// # Errors
///
/// If no plan can be made, consent is refused, or the plan cannot be applied. Failures of steps are in the result.
pub fn converge(
    locked: &LockedProject,
    plan: impl Fn(&Snapshot) -> Result<(PlanGraph, Report), CliError>,
    settings: impl Fn() -> Result<Settings, CliError>,
    options: ApplyOptions,
) -> Result<Converged, CliError> {
    let LockedProject {
        machine: Machine { home, catalog },
        lock: _,
        project,
        images,
        output,
        consent,
        command,
    } = locked;
    let (mut shown, mut agreed) = (String::new(), Vec::new());
    let mut attempt = 1;
    loop {
        let query = if attempt == 1 { images.clone() } else { images.again() };
        let before = executor::observe::observe(home, catalog, project, &query)?;
        let (plan, report) = plan(&before)?;
        if plan.is_empty() {
            return Ok(Converged { plan, report, applied: None, rolled_back: None });
        }
        if options.show_plan {
            let text = output::plan::text(&plan, &report, output.style());
            if text != shown {
                output.say(text.trim_end());
                shown = text;
            }
        }
        if output.events {
            stream::plan(command, &plan, &report);
        }
        let losses = options.consent_to.of(report.losses());
        // Consent to the same losses is not asked for again.
        if losses != agreed {
            consent.obtain(&losses, options.consent_to.hint())?;
            agreed = losses;
        }
        let applied = match apply_plan(locked, &plan, settings()?, options.time_limit)? {
            Err(ApplyError::Stale { .. }) if attempt < ATTEMPTS => {
                interrupts::check()?;
                attempt += 1;
                continue;
            }
            applied => applied?,
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

/// Applies one plan and displays its progress.
fn apply_plan(
    locked: &LockedProject,
    plan: &PlanGraph,
    settings: Settings,
    time_limit: Option<Duration>,
) -> Result<Result<ApplyResult, ApplyError>, CliError> {
    let progress = Arc::new(Progress::new(plan, &locked.output));
    let applier = Arc::new(Applier {
        home: locked.machine.home.clone(),
        catalog: locked.machine.catalog.clone(),
        settings,
        reporter: progress.clone(),
    });
    let event_loop = event_loop_with_threads()?;
    let applied = event_loop.block_on(async {
        let interrupts = Interrupts::catch(time_limit, &progress)?;
        let results = applier.apply(plan, &locked.lock, &locked.images, interrupts.receiver.clone()).await;
        Ok::<_, CliError>(results.map(|results| interrupts.result(results)))
    });
    // An interrupted build of an image may still run. It is not waited for: it publishes only complete images.
    event_loop.shutdown_background();
    let steps = progress.finish();
    Ok(applied?.map(|applied| ApplyResult { steps, ..applied }))
}

/// Rolls back a partly applied plan.
fn roll_back(
    locked: &LockedProject,
    plan: &PlanGraph,
    applied: &ApplyResult,
    before: &Snapshot,
    settings: &impl Fn() -> Result<Settings, CliError>,
) -> Result<RolledBack, CliError> {
    locked.output.say("rolling back:");
    let started = applied.started();
    let mut attempt = 1;
    loop {
        let LockedProject { machine: Machine { home, catalog }, project, images, .. } = locked;
        let now = executor::observe::observe(home, catalog, project, &images.again())?;
        let Rollback { plan, lost } = planner::rollback(plan, &started, before, &now);
        if plan.is_empty() {
            return Ok(RolledBack { failures: 0, lost });
        }
        if locked.output.events {
            stream::rollback(&plan);
        }
        let settings = Settings { fail_fast: false, ..settings()? };
        match apply_plan(locked, &plan, settings, None)? {
            // Skipped and interrupted steps count as failures: their changes remain.
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

/// Interrupts of applying. The first Ctrl-C finishes running steps; the second one and the time limit abort them.
struct Interrupts {
    receiver: watch::Receiver<Interrupt>,
    /// The last signal; `ErrorCode::TimedOut` after the time limit.
    cause: watch::Receiver<Option<ErrorCode>>,
}

impl Interrupts {
    fn catch(time_limit: Option<Duration>, progress: &Arc<Progress>) -> Result<Self, CliError> {
        let (sender, receiver) = watch::channel(Interrupt::None);
        let (cause_in, cause) = watch::channel(None);
        let mut signals = interrupts::subscribe()?;
        let progress = progress.clone();
        tokio::spawn(async move {
            let mut deadline = time_limit.and_then(|limit| tokio::time::Instant::now().checked_add(limit));
            loop {
                let (exit, interrupt) = tokio::select! {
                    Some(exit) = signals.recv() => match *cause_in.borrow() {
                        None => {
                            progress.say("stopping after the running steps; a second Ctrl-C aborts them");
                            (exit, Interrupt::Finish)
                        }
                        // All steps are being aborted already.
                        Some(ErrorCode::TimedOut) => continue,
                        Some(_) => (exit, Interrupt::Now),
                    },
                    () = until(deadline) => {
                        deadline = None;
                        (ErrorCode::TimedOut, Interrupt::Now)
                    }
                };
                cause_in.send_replace(Some(exit));
                sender.send_replace(interrupt);
            }
        });
        Ok(Self { receiver, cause })
    }

    /// Returns the result of applying. A signal that came too late to stop a step is not an interrupt.
    fn result(&self, results: BTreeMap<StepId, StepResult>) -> ApplyResult {
        let complete = results.values().all(|result| matches!(result, StepResult::Succeeded { .. }));
        let cause = self.cause.borrow().filter(|_| !complete);
        let timed_out = cause == Some(ErrorCode::TimedOut);
        ApplyResult { results, steps: Vec::new(), interrupted: cause.filter(|_| !timed_out), timed_out }
    }
}

/// Formats the chain of steps that determined the total time: `db 0.9s → api 1.2s`. `None` for a single link.
pub fn critical_chain<'a>(plan: &'a PlanGraph, results: &BTreeMap<StepId, StepResult>) -> Option<String> {
    let timed = |id: &'a StepId| match results.get(id)? {
        StepResult::Succeeded { began, ended, .. } => Some((id, *began, *ended)),
        _ => None,
    };
    let last_of =
        |ids: &mut dyn Iterator<Item = &'a StepId>| ids.filter_map(timed).max_by_key(|(_, _, ended)| *ended);
    let mut chain: Vec<(String, Duration)> = Vec::new();
    let mut next = last_of(&mut plan.steps.keys());
    while let Some((id, began, ended)) = next {
        let step = plan.steps.get(id)?;
        let about = match &step.ensure {
            Ensure::Image { .. } => "image".to_owned(),
            ensure => ensure.identity()?.name.to_string(),
        };
        match chain.last_mut() {
            Some((name, total)) if *name == about => *total += ended - began,
            _ => chain.push((about, ended - began)),
        }
        next = last_of(&mut step.after.iter());
    }
    chain.reverse();
    let links: Vec<_> = chain.into_iter().map(|(name, took)| format!("{name} {}", seconds(took))).collect();
    (links.len() > 1).then(|| links.join(" → "))
}

/// Formats a duration for people.
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1}s", time.as_secs_f64())
    }
}
