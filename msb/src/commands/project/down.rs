//! `msb down`.

use crate::apply::confirm::{Consent, ConsentTo};
use crate::apply::{self, ApplyOptions, Converged, LockedProject};
use crate::boot_unit::Units;
use crate::cli::{self, Global, LockTimeout};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{OutputOptions, words};
use crate::project;
use crate::project::load;
use crate::project::targets;
use crate::report::{Reports, RunReport};
use planner::Policy;
use schemas::name::ProjectName;
use schemas::report::{Action, Report, VolumeReason};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `msb down`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these sandboxes and their dependents.
    names: Vec<String>,
    /// Also remove volumes and their contents.
    #[arg(short = 'v', long)]
    volumes: bool,
    /// Remove the contents of volumes without asking.
    #[arg(short, long, requires = "volumes")]
    yes: bool,
    /// Time for a guest to shut down before it is killed. Default: its `stop-timeout`, or 10s.
    #[arg(long, value_name = "TIME", value_parser = cli::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    lock: LockTimeout,
    /// Print events as JSON, one object per line; the last one is a summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reports: Reports,
}

/// Removes the recorded sandboxes of the project, even if the Sandboxfile has changed, and its volumes after consent.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let output = OutputOptions::of(global).with_events(arguments.json);
    let mut run_report = RunReport::open("down", &arguments.reports, output.events)?;
    let ended = take_down(global, arguments, output, &mut run_report);
    run_report.close(ended)
}

fn take_down(
    global: &Global,
    arguments: &Args,
    output: OutputOptions,
    run_report: &mut RunReport,
) -> Result<ExitCode, CliError> {
    let began = Instant::now();
    let machine = Machine::open()?;
    let project = match project::current(global, &machine.catalog)? {
        Some(project) => project,
        // Fails with the reason.
        None => load::load(global)?.model.project().clone(),
    };
    run_report.project = Some(project.to_string());
    let locked = LockedProject {
        output,
        consent: if arguments.volumes { Consent::of(arguments.yes) } else { Consent::Given },
        ..LockedProject::acquire(&machine, &project, "down", arguments.lock.timeout)?
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
        || apply::settings(&machine.home, arguments.timeout),
        // `down` itself is the consent to the loss of disks of sandboxes.
        ApplyOptions { consent_to: ConsentTo::Volumes, ..ApplyOptions::default() },
    )?;
    drop(locked);
    let Converged { plan, report, applied, rolled_back: _ } = converged;
    let removed = removed(&report);
    let kept = kept(&report);
    if arguments.names.is_empty() {
        remove_boot_unit(&project, &output)?;
    }
    run_report.report = Some(report);
    let Some(applied) = applied else {
        output.say(&format!("{project}: nothing to remove{kept}"));
        return Ok(ExitCode::SUCCESS);
    };
    run_report.steps.clone_from(&applied.steps);
    let interrupted = applied.check_interrupt(&plan);
    interrupted.map_err(|failure| failure.hint("the next `msb down` continues from here"))?;
    if applied.failures() > 0 {
        return Err(CliError::new(format!("{} of {} removals failed", applied.failures(), plan.steps.len()))
            .hint("`msb down` tries again"));
    }
    let took = apply::seconds(began.elapsed());
    output.say(&format!("{project}: removed {removed} in {took}{kept}"));
    Ok(ExitCode::SUCCESS)
}

/// Removes the systemd unit that starts the project at boot, if there is one.
fn remove_boot_unit(project: &ProjectName, output: &OutputOptions) -> Result<(), CliError> {
    // A user without a home has none.
    let Ok(units) = Units::own() else { return Ok(()) };
    if let Some(path) = units.disable(project)? {
        units.reload(output);
        output.say(&format!("removed {}: it does not start at boot any more", path.display()));
    }
    Ok(())
}

/// Counts what was removed.
fn removed(report: &Report) -> String {
    let volumes = report.volumes.iter().filter(|change| change.action == Action::Remove).count();
    let counted = [(report.count(Action::Remove), "sandbox", "sandboxes"), (volumes, "volume", "volumes")];
    let counted = counted.into_iter().filter(|(count, ..)| *count > 0);
    counted.map(|(count, one, many)| words::count(count, one, many)).collect::<Vec<_>>().join(" and ")
}

/// Lists the volumes that are kept although no sandbox mounts them any more.
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
