//! `msb down`.

use crate::cli::Global;
use crate::error::CliError;
use crate::output::Verbosity;
use crate::progress::Progress;
use crate::{applying, host, load};
use executor::apply::{ProjectLock, StepResult};
use planner::Policy;
use schemas::unit::parse_duration;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments of `msb down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these sandboxes, and what depends on them.
    names: Vec<String>,
    /// How long a guest has to shut down before it is killed.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    timeout: Duration,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    lock_timeout: Duration,
}

/// Removes what is recorded of the project, whatever the Sandboxfile says by now.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let began = Instant::now();
    let verbosity = Verbosity::of(global);
    let project = load::project(global)?;
    let home = host::open_home()?;
    let catalog = host::open_catalog(&home)?;
    let lock = ProjectLock::acquire(&home, &project, "msb down", arguments.lock_timeout)?;
    let snapshot = executor::observe::observe(&home, &catalog, &project, &BTreeSet::new())?;
    let targets = super::up::targets(&arguments.names, &project, &snapshot.sandboxes.keys().collect())?;
    let policy = Policy { targets, remove_orphans: true, wait: false };
    let (plan, _) = planner::plan(None, &snapshot, &policy).map_err(|error| CliError::from_error(&error))?;
    if plan.is_empty() {
        lock.release();
        verbosity.say(&format!("{project}: nothing to remove"));
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Arc::new(Progress::new(&plan, &verbosity));
    let settings = applying::settings_without_boot(&home, global, arguments.timeout)?;
    let applier = applying::applier(home, catalog, settings, progress.clone());
    let applied = super::event_loop()?.block_on(applying::apply(&applier, &plan, &lock, &BTreeSet::new(), None));
    progress.finish();
    lock.release();
    let applied = applied?;
    let failed = applied.results.values().filter(|result| matches!(result, StepResult::Failed(_))).count();
    if failed > 0 {
        return Err(CliError::new(format!("{failed} of {} removals failed", plan.steps.len()))
            .hint("`msb down` again goes on where this one stopped"));
    }
    let count = plan.steps.len();
    let plural = if count == 1 { "sandbox" } else { "sandboxes" };
    verbosity.say(&format!("{project}: removed {count} {plural} in {}", applying::seconds(began.elapsed())));
    Ok(ExitCode::SUCCESS)
}
