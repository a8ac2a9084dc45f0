//! `msb plan`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::{self, Machine};
use crate::output;
use crate::output::document::ReportDocument;
use crate::output::{OutputOptions, print, print_json};
use crate::project::load::Loaded;
use crate::project::lockfile::Pins;
use crate::project::plan_file;
use crate::project::targets::{self, Selection};
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

/// Arguments of `msb plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Write the plan to this file, for `msb up --plan FILE`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Exit with 2 if there are changes.
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    reports: Reports,
}

/// A plan and its inputs.
pub struct Prepared {
    /// The project.
    pub loaded: Loaded,
    /// The present state.
    pub snapshot: Snapshot,
    /// The plan.
    pub plan: PlanGraph,
    /// Its report.
    pub report: Report,
}

/// Plans. Sets `project` as soon as it is known.
///
/// # Errors
///
/// If the project cannot be loaded, observed or planned.
pub fn prepare(
    global: &Global,
    selection: &Selection,
    project: &mut Option<String>,
) -> Result<Prepared, CliError> {
    let Machine { home, catalog } = Machine::open()?;
    let loaded = selection.load(global, &catalog)?;
    let model = &loaded.model;
    *project = Some(model.project().to_string());
    crate::project::require_own(global, &catalog, &loaded)?;
    let references = targets::references(model);
    // A broken lock file does not matter to a project without pinned images.
    let needs_pins =
        selection.frozen || references.iter().any(|image| matches!(image, ImageReference::Registry { .. }));
    let pins = needs_pins.then(|| Pins::read(&loaded.folder)).transpose()?;
    let query = match &pins {
        Some(pins) => selection.image_query(&home, model, pins)?,
        None => ImageQuery { references: references.clone(), ..ImageQuery::default() },
    };
    let mount_obstacle = host::mount_obstacle(&home, global, model)?;
    let (ports, external) = (targets::ports(model), targets::external(model));
    let secret_problems = executor::secrets::problems(model);
    let compare_values = true;
    let query = ImageQuery { ports, external, mount_obstacle, secret_problems, compare_values, ..query };
    let observed = executor::observe::observe(&home, &catalog, model.project(), &query);
    let policy = selection.policy(model)?;
    let snapshot = observed.map_err(|error| without_images(error, model, &policy))?;
    if let Some(pins) = pins.filter(|_| selection.frozen) {
        pins.check_frozen(&pins.found(&references, &snapshot))?;
    }
    let (plan, report) = planner::plan(Some(model), &snapshot, &policy).map_err(CliError::from)?;
    Ok(Prepared { loaded, snapshot, plan, report })
}

/// Adds the blocked sandboxes, which are known even if missing images prevent a plan.
fn without_images(error: ObserveError, model: &Model, policy: &Policy) -> CliError {
    let blocked = match &error {
        ObserveError::Images { failures: _, rest } => {
            planner::blocked(model, rest, policy).unwrap_or_default()
        }
        ObserveError::Catalog(_) => Vec::new(),
    };
    let lines = targets::blocked_lines(&blocked).into_iter().map(|line| format!("blocked: {line}"));
    CliError::from(error).because_all(lines)
}

/// The output of `plan --json`.
#[derive(schemars::JsonSchema, Serialize)]
pub struct Document<'a> {
    version: u32,
    plan: &'a PlanGraph,
    report: ReportDocument<'a>,
}

/// The exit code of `--detailed-exitcode` for a plan with changes.
const CHANGES: u8 = 2;

/// Plans and shows the plan.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let mut run_report = RunReport::open("plan", &arguments.reports, false)?;
    let ended = make(global, arguments, &mut run_report);
    run_report.close(ended)
}

fn make(global: &Global, arguments: &Args, run_report: &mut RunReport) -> Result<ExitCode, CliError> {
    let Prepared { loaded, snapshot, plan, report } =
        prepare(global, &arguments.selection, &mut run_report.project)?;
    if let Some(path) = &arguments.output {
        plan_file::write(path, &loaded.folder, &snapshot, &plan, &report)?;
    }
    if arguments.json {
        print_json(&Document { version: plan.version, plan: &plan, report: ReportDocument::new(&report) });
    } else {
        let color = OutputOptions::of(global).color_stdout;
        print(&output::plan::text(&plan, &report, output::style::Style { color }));
    }
    run_report.report = Some(report);
    let has_changes = arguments.detailed_exitcode && !plan.is_empty();
    Ok(if has_changes { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}
