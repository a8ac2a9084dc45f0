//! `msb up`.

use crate::apply::confirm::Consent;
use crate::apply::{self, ApplyOptions, ApplyResult, Converged, LockedProject, RolledBack};
use crate::cli::Global;
use crate::error::{CliError, Exit};
use crate::host;
use crate::host::Machine;
use crate::logs;
use crate::output::plan::{Style, text as plan_text};
use crate::output::{OutputOptions, escape_controls};
use crate::project;
use crate::project::images::{PullOption, image_query};
use crate::project::load::{self, Loaded};
use crate::project::lockfile::Pins;
use crate::project::plan_file;
use crate::project::targets;
use crate::project::targets::{ports, references};
use crate::project::trust;
use crate::report::{Reports, RunReport};
use crate::watch::{self, Watch};
use executor::apply::{ProjectLock, Settings, StepResult, Waiting, not_yet};
use executor::images::ImageQuery;
use executor_host::home::Home;
use planner::Policy;
use schemas::listing;
use schemas::name::{ProjectName, SandboxName};
use schemas::plan::{Ensure, PlanGraph};
use schemas::report::Action;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// Of so many sandboxes that were waited for in vain it is told why.
const UNREADY_MAX: usize = 10;

/// Arguments of `msb up`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only these sandboxes, and what they depend on.
    names: Vec<String>,
    /// Sandboxes of this profile take part too; repeat it for several.
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<String>,
    /// Return as soon as all have started, instead of following their logs.
    #[arg(short, long)]
    detach: bool,
    /// Return when all are healthy, or up where they have no health check, and jobs are done.
    #[arg(long)]
    wait: bool,
    /// Wait as with --wait, and give up after this time. Until then what is unhealthy may still become healthy; without
    /// it that is a failure at once.
    #[arg(long, value_name = "TIME", value_parser = crate::apply::lifecycle::parse_time)]
    wait_timeout: Option<Duration>,
    /// Make the sandboxes, and start none of them; what runs goes on as it is.
    #[arg(long, conflicts_with_all = ["wait", "wait_timeout"])]
    no_start: bool,
    /// Go on watching: apply the Sandboxfile anew when it changes, and copy what changes in `sync` folders.
    #[arg(long, conflicts_with_all = ["detach", "wait", "wait_timeout", "no_start", "json"])]
    watch: bool,
    /// Steps at once. Without it one a processor, and not more starts than fit into the free memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: Option<u16>,
    /// Begin nothing more after the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// After a failure take back what was done: remove what was made, stop what was started.
    #[arg(long)]
    rollback: bool,
    /// Write no lock file; exit with 3 unless it pins every image to what it is now.
    #[arg(long)]
    frozen: bool,
    #[command(flatten)]
    pull: PullOption,
    /// Let the Sandboxfile reach beyond its folder this once.
    #[arg(long)]
    trust: bool,
    /// Leave sandboxes running that are no longer in the Sandboxfile.
    #[arg(long)]
    keep_orphans: bool,
    /// Carry the plan out even when it destroys data; without it, a terminal is asked.
    #[arg(short, long)]
    yes: bool,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = crate::apply::lifecycle::parse_time, default_value = "0s")]
    lock_timeout: Duration,
    /// Carry out the plan that `msb plan -o FILE` wrote, and nothing else: the Sandboxfile is not read. What has
    /// changed since then, be it a sandbox, a volume or an image, makes the plan stale: it is refused, and that is told.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "names", "profile", "wait", "wait_timeout", "no_start", "keep_orphans", "frozen", "trust", "watch", "pull",
    ])]
    plan: Option<PathBuf>,
    /// Print what happens as JSON, one object a line; the last one sums it up. No logs are followed.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reports: Reports,
}

/// Plans, shows the plan, applies it, and follows the logs.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let since = SystemTime::now();
    let verbosity = OutputOptions::of(global).with_events(arguments.json);
    let mut account = RunReport::open("up", &arguments.reports, verbosity.events)?;
    let mut watch = None;
    if arguments.watch {
        watch::check(global)?;
    }
    let ended = match &arguments.plan {
        Some(path) => carry_out(path, global, arguments, verbosity, &mut account),
        None => load(global, arguments).and_then(|loaded| {
            // What is saved while the first plan is applied is not missed.
            let begun = arguments.watch.then(|| Watch::begin(global, &loaded)).transpose()?;
            let brought_up = bring_up(global, arguments, &loaded, (verbosity, &mut account), || ())?;
            watch = begun.map(|watch| (watch, loaded));
            Ok(brought_up)
        }),
    };
    // All is told before logs are followed: that may never end.
    let brought_up = account.close(ended)?;
    if arguments.detach || arguments.wait || arguments.wait_timeout.is_some() || verbosity.events {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((watch, loaded)) = watch {
        return watch.run(arguments, &loaded, brought_up, since);
    }
    let BroughtUp { home, project, targets } = brought_up;
    verbosity
        .say("following the logs; Ctrl-C stops following, the sandboxes go on (`msb down` removes them)");
    logs::project(&home, &project, &targets, since, &verbosity)
}

/// Loads what is to be brought up, unless it reaches further than it may.
pub fn load(global: &Global, arguments: &Args) -> Result<Loaded, CliError> {
    let catalog = Machine::open()?.catalog;
    trust::load(global, &catalog, arguments.trust)
}

/// What is up: whose logs may be followed.
pub struct BroughtUp {
    pub home: Home,
    pub project: ProjectName,
    /// The sandboxes that were asked for; none for all.
    pub targets: BTreeSet<SandboxName>,
}

/// Brings a project to what its file says. Tells when it begins to change something.
pub fn bring_up(
    global: &Global,
    arguments: &Args,
    loaded: &Loaded,
    (verbosity, account): (OutputOptions, &mut RunReport),
    begins: impl Fn(),
) -> Result<BroughtUp, CliError> {
    let began = Instant::now();
    let model = &loaded.model;
    account.project = Some(model.project().to_string());
    let Machine { home, catalog } = Machine::open()?;
    let pins = Pins::read(&loaded.folder)?;
    let policy = Policy {
        targets: targets::targets(&arguments.names, model.project(), &targets::names(model))?,
        profiles: targets::profiles(&arguments.profile, model)?,
        remove_orphans: !arguments.keep_orphans,
        remove_volumes: false,
        wait: arguments.wait || arguments.wait_timeout.is_some(),
        start: !arguments.no_start,
    };
    let locked = LockedProject {
        lock: ProjectLock::acquire(&home, model.project(), "msb up", arguments.lock_timeout)?,
        home: home.clone(),
        catalog,
        project: model.project().clone(),
        images: ImageQuery {
            ports: ports(model),
            ..image_query(&home, references(model), &pins, arguments.pull.pull)?
        },
        verbosity,
        consent: Consent::of(arguments.yes),
        command: "up",
    };
    project::require_own(global, &locked.catalog, loaded)?;
    project::remember(global, &locked.catalog, loaded)?;
    // What the references stood for when the plan was made that was carried out.
    let found = RefCell::new(BTreeMap::new());
    let planned = RefCell::new(None);
    let converged = apply::converge(
        &locked,
        |snapshot| {
            let images = pins.found(&locked.images.references, snapshot);
            if arguments.frozen {
                pins.check_frozen(&images)?;
            }
            found.replace(images);
            let (plan, report) = planner::plan(Some(model), snapshot, &policy)?;
            // RunOutcome even where consent is missing.
            planned.replace(Some(report.clone()));
            Ok((plan, report))
        },
        || {
            begins();
            settings(&home, global, arguments, &loaded.folder)
        },
        |plan, report| plan_text(plan, report, Style { color: verbosity.color_stderr }),
        ApplyOptions { time_limit: arguments.wait_timeout, roll_back: arguments.rollback },
    );
    account.report = planned.into_inner();
    let converged = converged?;
    if !arguments.frozen && !loaded.from_standard_input {
        pins.keep(&found.borrow(), &verbosity);
    }
    drop(locked);
    if let Some(applied) = &converged.applied {
        account.steps.clone_from(&applied.steps);
    }
    verbosity.say(&outcome(&home, model.project(), &converged, began.elapsed())?);
    Ok(BroughtUp { home, project: model.project().clone(), targets: targets::expand(model, &policy.targets) })
}

/// Carries out the plan of a file, whatever the Sandboxfile says by now.
fn carry_out(
    path: &Path,
    global: &Global,
    arguments: &Args,
    verbosity: OutputOptions,
    account: &mut RunReport,
) -> Result<BroughtUp, CliError> {
    let began = Instant::now();
    let file = plan_file::read(path)?;
    let project = &file.plan.project;
    account.project = Some(project.to_string());
    let Machine { home, catalog } = Machine::open()?;
    if let Some(here) = project::meant(global, &catalog)?.filter(|here| here != project) {
        return Err(CliError::new(format!("the plan is for the project {project}, and this is {here}"))
            .hint(format!("go to {}, or give -p {project}", file.folder.display())));
    }
    if load::named_project(global)?.is_none() {
        project::require_home(&catalog, project, &file.folder)?;
    }
    let locked = LockedProject {
        lock: ProjectLock::acquire(&home, project, "msb up", arguments.lock_timeout)?,
        home: home.clone(),
        catalog,
        project: project.clone(),
        images: plan_file::images(&file, &home)?,
        verbosity,
        consent: Consent::of(arguments.yes),
        command: "up",
    };
    project::remember_planned(&locked.catalog, project, &file.folder)?;
    account.report = Some(file.report.clone());
    let converged = apply::converge(
        &locked,
        |snapshot| plan_file::if_still_true(&file, snapshot),
        || settings(&home, global, arguments, &file.folder),
        |plan, report| plan_text(plan, report, Style { color: verbosity.color_stderr }),
        ApplyOptions { time_limit: None, roll_back: arguments.rollback },
    )?;
    drop(locked);
    if let Some(applied) = &converged.applied {
        account.steps.clone_from(&applied.steps);
    }
    verbosity.say(&outcome(&home, project, &converged, began.elapsed())?);
    let changes = file.report.changes.iter().filter(|change| change.action != Action::Unchanged);
    let targets = changes.map(|change| change.name.clone()).collect();
    Ok(BroughtUp { home, project: project.clone(), targets })
}

fn settings(home: &Home, global: &Global, arguments: &Args, folder: &Path) -> Result<Settings, CliError> {
    let parallel = arguments.parallel.map(usize::from);
    // What would be taken back again need not begin.
    let fail_fast = arguments.fail_fast || arguments.rollback;
    // To look at the host takes longer than to make a sandbox. Taking back may start what was stopped.
    let boots = !arguments.no_start || arguments.rollback;
    let boot = boots.then(|| host::boot_settings(home, global)).transpose()?;
    let waiting = Waiting {
        until_settled: arguments.wait || arguments.wait_timeout.is_some(),
        outlasts_unhealthy: arguments.wait_timeout.is_some(),
    };
    Ok(Settings { waiting, ..apply::settings(home, boot, parallel, fail_fast, folder)? })
}

/// What is known of the sandboxes that were waited for in vain.
fn unready(home: &Home, plan: &PlanGraph, applied: &ApplyResult) -> Vec<String> {
    let waited = applied.results.iter().filter(|(_, result)| matches!(result, StepResult::Interrupted));
    let waited: BTreeMap<_, _> = waited
        .filter_map(|(id, _)| match &plan.steps.get(id)?.ensure {
            Ensure::Condition { identity, condition: _ } => Some((&identity.name, identity)),
            _ => None,
        })
        .collect();
    let Ok(event_loop) = crate::commands::event_loop() else { return Vec::new() };
    let told = waited.into_values().take(UNREADY_MAX);
    let told = told.filter_map(|identity| event_loop.block_on(not_yet(home, &plan.project, identity)));
    told.map(|line| escape_controls(&line)).collect()
}

/// What a good end is told with; anything else is an error.
fn outcome(
    home: &Home,
    project: &ProjectName,
    converged: &Converged,
    took: Duration,
) -> Result<String, CliError> {
    let Converged { plan, report, applied, rolled_back } = converged;
    let Some(applied) = applied else {
        if let Some(failure) = targets::blocked(report) {
            return Err(failure);
        }
        let count = report.count(Action::Unchanged);
        let plural = if count == 1 { "sandbox" } else { "sandboxes" };
        let took = took.as_millis();
        return Ok(format!("{project}: nothing to do, {count} {plural} as declared ({took} ms)"));
    };
    if let Some(exit) = applied.interrupted {
        let message = applied.left_by_interrupt(plan);
        return Err(CliError::new(message).hint("the next `msb up` goes on from here").exit(exit));
    }
    if applied.timed_out {
        let failure =
            CliError::new(format!("not everything was ready in time: {}", applied.unfinished(plan)));
        let failure = unready(home, plan, applied).into_iter().fold(failure, CliError::because);
        let failure = failure.exit(Exit::TimedOut);
        return Err(match rolled_back {
            None => failure.hint("what has started goes on: `msb ps` shows how things are, `msb logs` why"),
            Some(rolled_back) => taken_back(failure, rolled_back),
        });
    }
    if applied.failures() > 0 {
        let failure = CliError::new(match applied.failures() {
            1 => "1 step failed".to_owned(),
            many => format!("{many} steps failed"),
        });
        return Err(match rolled_back {
            None => failure.hint("`msb up` goes on where it can"),
            Some(rolled_back) => taken_back(failure, rolled_back),
        });
    }
    if let Some(failure) = targets::blocked(report) {
        return Err(failure);
    }
    let mut text = format!("{project}: up in {}", apply::seconds(took));
    if let Some(chain) = apply::critical_chain(plan, &applied.results) {
        text.push_str(&format!("\ncritical chain: {chain}"));
    }
    Ok(text)
}

/// A failure after which everything was taken back, as far as that went.
fn taken_back(failure: CliError, RolledBack { failures, lost }: &RolledBack) -> CliError {
    let failure = match failures {
        0 => failure.because("what was done has been taken back"),
        1 => failure.because("1 step of taking it back failed"),
        many => failure.because(format!("{many} steps of taking it back failed")),
    };
    if lost.is_empty() {
        return if *failures > 0 { failure.hint("`msb plan` shows how things are") } else { failure };
    }
    failure
        .because(format!("removed before the failure, and their disks with them: {}", listing::names(lost)))
        .hint("`msb up` makes them anew")
}
