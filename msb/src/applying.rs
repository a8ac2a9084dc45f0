//! What `up` and `down` share: settings, Ctrl-C, the wait's time limit, the critical chain.

use crate::cli::Global;
use crate::error::CliError;
use crate::host;
use executor::apply::{Applier, Interrupt, ProjectLock, Settings, StepResult};
use executor::catalog::Catalog;
use executor::home::Home;
use executor::reporter::Reporter;
use executor::state::BootSettings;
use schemas::plan::{Ensure, PlanGraph, StepId};
use schemas::spec::ImageReference;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a guest has to shut down when `up` restarts, replaces or removes it.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How applying went.
pub struct Applied {
    /// How each step ended.
    pub results: BTreeMap<StepId, StepResult>,
    /// How often Ctrl-C was pressed.
    pub interrupted: Interrupt,
    /// Whether the time limit ended it.
    pub timed_out: bool,
}

/// Settings of an `up`.
pub fn settings(
    home: &Home,
    global: &Global,
    parallel: Option<usize>,
    stop_timeout: Duration,
) -> Result<Settings, CliError> {
    Ok(Settings {
        boot: host::boot_settings(home, global)?,
        supervise: host::supervise_command(home)?,
        parallel: parallel.unwrap_or_else(default_parallel).max(1),
        stop_timeout,
    })
}

/// Settings of a `down`: it boots nothing, so it works without a kernel and without a driver.
pub fn settings_without_boot(home: &Home, global: &Global, stop_timeout: Duration) -> Result<Settings, CliError> {
    let boot = host::boot_settings(home, global).unwrap_or_else(|_| BootSettings {
        backend: executor_vm::Backend::Krun,
        kernel: PathBuf::new(),
        initramfs: PathBuf::new(),
    });
    let supervise = host::supervise_command(home)?;
    Ok(Settings { boot, supervise, parallel: default_parallel() * 4, stop_timeout })
}

/// One step a processor.
fn default_parallel() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// An applier of this home.
pub fn applier(home: Home, catalog: Arc<Catalog>, settings: Settings, reporter: Arc<dyn Reporter>) -> Arc<Applier> {
    Arc::new(Applier { home, catalog, settings, reporter })
}

/// Applies a plan. Ctrl-C once finishes what has begun, twice leaves everything as it is.
pub async fn apply(
    applier: &Arc<Applier>,
    plan: &PlanGraph,
    lock: &ProjectLock,
    references: &BTreeSet<ImageReference>,
    time_limit: Option<Duration>,
) -> Result<Applied, CliError> {
    let (interrupter, interrupt) = watch::channel(Interrupt::None);
    let interrupter = Arc::new(interrupter);
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals =
            signal(kind).map_err(|error| CliError::new(format!("cannot catch signals: {error}")))?;
        let interrupter = interrupter.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                interrupter.send_modify(|interrupt| {
                    *interrupt = if *interrupt == Interrupt::None { Interrupt::Finish } else { Interrupt::Now };
                });
            }
        });
    }
    let (limit_reached, timed_out) = watch::channel(false);
    if let Some(limit) = time_limit {
        let interrupter = interrupter.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            limit_reached.send_replace(true);
            interrupter.send_replace(Interrupt::Now);
        });
    }
    let results = applier.apply(plan, lock, references, interrupt).await?;
    let timed_out = *timed_out.borrow();
    let interrupted = if timed_out { Interrupt::None } else { *interrupter.borrow() };
    // A Ctrl-C that came when all was done has interrupted nothing.
    let complete = results.values().all(|result| matches!(result, StepResult::Succeeded { .. }));
    let interrupted = if complete { Interrupt::None } else { interrupted };
    Ok(Applied { results, interrupted, timed_out: timed_out && !complete })
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
