//! `msb plan`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::words::ReportDocument;
use crate::output::{OutputOptions, print, print_json};
use crate::project::images::{PullOption, image_query};
use crate::project::load::Loaded;
use crate::project::lockfile::Pins;
use crate::project::plan_file;
use crate::project::targets;
use crate::project::trust;
use crate::report::{Reports, RunReport};
use executor::images::ImageQuery;
use executor::observe::ObserveError;
use planner::Policy;
use schemas::model::Model;
use schemas::plan::PlanGraph;
use schemas::report::Report;
use schemas::snapshot::Snapshot;
use schemas::spec::ImageReference;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// What a plan is about, as `plan` and `graph` are told.
#[derive(Debug, clap::Args)]
pub struct Choice {
    /// Only these sandboxes, and what they depend on.
    names: Vec<String>,
    /// Sandboxes of this profile take part too; repeat it for several.
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<String>,
    /// Leave sandboxes running that are no longer in the Sandboxfile.
    #[arg(long)]
    keep_orphans: bool,
    /// Exit with 3 unless the lock file pins every image to what it is now.
    #[arg(long)]
    frozen: bool,
    /// Let the Sandboxfile reach beyond its folder this once.
    #[arg(long)]
    trust: bool,
    #[command(flatten)]
    pull: PullOption,
}

/// Arguments of `msb plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Write the plan into this file, for `msb up --plan FILE` to carry out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Exit with 2 when there are changes.
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    reports: Reports,
}

/// A plan, and what it was made of.
pub struct Prepared {
    /// What the Sandboxfile says.
    pub loaded: Loaded,
    /// What there is.
    pub snapshot: Snapshot,
    /// The plan.
    pub plan: PlanGraph,
    /// What it means.
    pub report: Report,
}

/// Plans; `project` is told as soon as it is known.
pub fn prepare(global: &Global, choice: &Choice, project: &mut Option<String>) -> Result<Prepared, CliError> {
    let Choice { names, profile, keep_orphans, frozen, trust, pull: PullOption { pull } } = choice;
    let Machine { home, catalog } = Machine::open()?;
    let loaded = trust::load(global, &catalog, *trust)?;
    let model = &loaded.model;
    *project = Some(model.project().to_string());
    crate::project::require_own(global, &catalog, &loaded)?;
    let references = targets::references(model);
    // A lock file that nothing here depends on may be as it likes.
    let needs_pins =
        *frozen || references.iter().any(|image| matches!(image, ImageReference::Registry { .. }));
    let pins = needs_pins.then(|| Pins::read(&loaded.folder)).transpose()?;
    let query = match &pins {
        Some(pins) => image_query(&home, references.clone(), pins, *pull)?,
        None => ImageQuery { references: references.clone(), ..ImageQuery::default() },
    };
    let query = ImageQuery { ports: targets::ports(model), ..query };
    let observed = executor::observe::observe(&home, &catalog, model.project(), &query);
    let policy = Policy {
        targets: targets::targets(names, model.project(), &targets::names(model))?,
        profiles: targets::profiles(profile, model)?,
        remove_orphans: !keep_orphans,
        ..Policy::default()
    };
    let snapshot = observed.map_err(|error| without_images(error, model, &policy))?;
    if let Some(pins) = pins.filter(|_| *frozen) {
        pins.check_frozen(&pins.found(&references, &snapshot))?;
    }
    let (plan, report) = planner::plan(Some(model), &snapshot, &policy).map_err(CliError::from)?;
    Ok(Prepared { loaded, snapshot, plan, report })
}

/// Without its images no plan can be made, but what is blocked in any case is known already.
fn without_images(error: ObserveError, model: &Model, policy: &Policy) -> CliError {
    let blocked = match &error {
        ObserveError::Images { failures: _, rest } => {
            planner::blocked(model, rest, policy).unwrap_or_default()
        }
        ObserveError::Catalog(_) => Vec::new(),
    };
    let lines = targets::blocked_lines(&blocked);
    lines.into_iter().fold(CliError::from(error), |failure, line| failure.because(format!("blocked: {line}")))
}

/// What `plan --json` prints.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    plan: &'a PlanGraph,
    report: ReportDocument<'a>,
}

/// The exit code that says that there are changes.
const CHANGES: u8 = 2;

/// Plans and shows the plan; changes nothing.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let mut account = RunReport::open("plan", &arguments.reports, false)?;
    let ended = make(global, arguments, &mut account);
    account.close(ended)
}

fn make(global: &Global, arguments: &Args, account: &mut RunReport) -> Result<ExitCode, CliError> {
    let Prepared { loaded, snapshot, plan, report } =
        prepare(global, &arguments.choice, &mut account.project)?;
    if let Some(path) = &arguments.output {
        plan_file::write(path, &loaded.folder, &snapshot, &plan, &report)?;
    }
    if arguments.json {
        print_json(&Document { version: plan.version, plan: &plan, report: ReportDocument::new(&report) });
    } else {
        let color = OutputOptions::of(global).color_stdout;
        print(&output::plan::text(&plan, &report, output::plan::Style { color }));
    }
    account.report = Some(report);
    Ok(match arguments.detailed_exitcode && !plan.is_empty() {
        true => ExitCode::from(CHANGES),
        false => ExitCode::SUCCESS,
    })
}
