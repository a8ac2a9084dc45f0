//! `msb down`.

use crate::apply::confirm::Consent;
use crate::apply::{self, ApplyOptions, Converged, LockedProject};
use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::project;
use crate::project::load;
use crate::project::targets;
use crate::report::{Reports, RunReport};
use executor::apply::ProjectLock;
use executor::images::ImageQuery;
use planner::Policy;
use schemas::report::{Action, Report, VolumeReason};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `msb down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these sandboxes, and what depends on them.
    names: Vec<String>,
    /// Remove the volumes too, and all that is on them.
    #[arg(short = 'v', long)]
    volumes: bool,
    /// How long a guest has to shut down before it is killed.
    #[arg(long, value_name = "TIME", value_parser = crate::apply::lifecycle::parse_time, default_value = "10s")]
    timeout: Duration,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = crate::apply::lifecycle::parse_time, default_value = "0s")]
    lock_timeout: Duration,
    /// Print what happens as JSON, one object a line; the last one sums it up.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reports: Reports,
}

/// Removes what is recorded of the project, whatever the Sandboxfile says by now.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let verbosity = OutputOptions::of(global).with_events(arguments.json);
    let mut account = RunReport::open("down", &arguments.reports, verbosity.events)?;
    let ended = take_down(global, arguments, verbosity, &mut account);
    account.close(ended)
}

fn take_down(
    global: &Global,
    arguments: &Args,
    verbosity: OutputOptions,
    account: &mut RunReport,
) -> Result<ExitCode, CliError> {
    let began = Instant::now();
    let Machine { home, catalog } = Machine::open()?;
    let project = match project::at_hand(global, &catalog)? {
        Some(project) => project,
        // There is none: loading says why.
        None => load::load(global)?.model.project().clone(),
    };
    account.project = Some(project.to_string());
    let locked = LockedProject {
        lock: ProjectLock::acquire(&home, &project, "msb down", arguments.lock_timeout)?,
        catalog,
        home: home.clone(),
        project: project.clone(),
        images: ImageQuery::default(),
        verbosity,
        // `down` itself is the consent.
        consent: Consent::Given,
        command: "down",
    };
    let converged = apply::converge(
        &locked,
        |snapshot| {
            let families = planner::families(snapshot);
            let recorded = snapshot.sandboxes.keys().chain(snapshot.unreadable.keys()).chain(&families);
            let targets = targets::targets(&arguments.names, &project, &recorded.collect())?;
            let policy = Policy { targets, remove_volumes: arguments.volumes, ..Policy::default() };
            planner::plan(None, snapshot, &policy).map_err(CliError::from)
        },
        || apply::settings_without_boot(&home, arguments.timeout),
        |_, _| String::new(),
        ApplyOptions::default(),
    )?;
    drop(locked);
    let Converged { plan, report, applied, rolled_back: _ } = converged;
    let removed = removed(&report);
    let kept = kept(&report);
    account.report = Some(report);
    let Some(applied) = applied else {
        verbosity.say(&format!("{project}: nothing to remove{kept}"));
        return Ok(ExitCode::SUCCESS);
    };
    account.steps.clone_from(&applied.steps);
    if let Some(exit) = applied.interrupted {
        let message = applied.left_by_interrupt(&plan);
        return Err(CliError::new(message).hint("the next `msb down` goes on from here").exit(exit));
    }
    if applied.failures() > 0 {
        return Err(CliError::new(format!("{} of {} removals failed", applied.failures(), plan.steps.len()))
            .hint("`msb down` again goes on where this one stopped"));
    }
    let took = apply::seconds(began.elapsed());
    verbosity.say(&format!("{project}: removed {removed} in {took}{kept}"));
    Ok(ExitCode::SUCCESS)
}

/// What was removed, counted.
fn removed(report: &Report) -> String {
    let volumes = report.volumes.iter().filter(|change| change.action == Action::Remove).count();
    let counted = [(report.count(Action::Remove), "sandbox", "sandboxes"), (volumes, "volume", "volumes")];
    let parts = counted.into_iter().filter(|(count, _, _)| *count > 0);
    let parts = parts.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }));
    parts.collect::<Vec<_>>().join(" and ")
}

/// The volumes that are left though nobody mounts them any more.
fn kept(report: &Report) -> String {
    let kept = report.volumes.iter().filter(|change| change.reason == VolumeReason::Kept);
    let names: Vec<_> = kept.map(|change| change.name.as_str()).collect();
    match names.as_slice() {
        [] => String::new(),
        [name] => format!("; the volume {name} is kept (`msb down -v` removes it)"),
        names => {
            format!("; the volumes {} are kept (`msb down -v` removes them)", schemas::listing::names(names))
        }
    }
}
