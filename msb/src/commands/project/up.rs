//! `msb up`.

use crate::apply::confirm::Consent;
use crate::apply::{self, ApplyOptions, ApplyResult, Converged, LockedProject, RolledBack};
use crate::boot_unit::{BootUnit, Units};
use crate::cli::{self, Global, LockTimeout};
use crate::error::{CliError, Context, ErrorCode};
use crate::host::{self, Machine};
use crate::logs::{self, LogOptions};
use crate::output::{OutputOptions, words};
use crate::project::load::Loaded;
use crate::project::lockfile::Pins;
use crate::project::targets::{self, Selection, external, ports};
use crate::project::{self, load, plan_file};
use crate::report::{Reports, RunReport};
use crate::watch::{self, Watch};
use executor::apply::{Settings, StepResult, Waiting, not_yet};
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

/// Maximum number of sandboxes whose state is explained after a timeout.
const UNREADY_MAX: usize = 10;

/// Arguments of `msb up`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Return as soon as all sandboxes have started, instead of following their logs.
    #[arg(short, long)]
    detach: bool,
    /// Wait until all sandboxes are healthy, or running if they have no health check, and all jobs have completed.
    #[arg(long)]
    wait: bool,
    /// Like --wait, but give up after this time. Until then an unhealthy sandbox may recover; with --wait it is a
    /// failure.
    #[arg(long, value_name = "TIME", value_parser = cli::duration)]
    wait_timeout: Option<Duration>,
    /// Create the sandboxes without starting them; running ones keep running.
    #[arg(long, conflicts_with_all = ["wait", "wait_timeout"])]
    no_start: bool,
    /// Keep watching: apply the Sandboxfile again when it changes, and copy changes in `sync` folders.
    #[arg(long, conflicts_with_all = ["detach", "wait", "wait_timeout", "no_start", "json"])]
    watch: bool,
    /// Bring the project up whenever the host boots: writes and enables a systemd unit, of the system for root, else of the
    /// user. `msb down` removes it.
    #[arg(long, conflicts_with_all = ["no_start", "plan"])]
    on_boot: bool,
    /// Maximum number of parallel steps. Default: one per processor, with as many starts as fit into free memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: Option<u16>,
    /// Start no more steps after the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// After a failure, roll back: remove created sandboxes, stop started ones.
    #[arg(long)]
    rollback: bool,
    /// Apply the plan even if it destroys data; otherwise a prompt on the terminal asks.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    lock: LockTimeout,
    /// Apply the plan that `msb plan -o FILE` wrote, without reading the Sandboxfile. Any change of a sandbox, volume or
    /// image since then makes the plan stale, and `up` refuses it.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "names", "profile", "scale", "wait", "wait_timeout", "no_start", "keep_orphans", "frozen", "trust", "watch", "pull",
    ])]
    plan: Option<PathBuf>,
    /// Print events as JSON, one object per line; the last one is a summary. Logs are not followed.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reports: Reports,
}

/// Plans, shows the plan, applies it, and follows the logs.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let since = SystemTime::now();
    let output = OutputOptions::of(global).with_events(arguments.json);
    let up = Up { global, arguments, output };
    let mut run_report = RunReport::open("up", &arguments.reports, output.events)?;
    let mut watch = None;
    if arguments.watch {
        watch::check(global)?;
    }
    let ended = match &arguments.plan {
        Some(path) => up.apply_file(path, &mut run_report),
        None => up.load().and_then(|loaded| {
            // Watch before the first plan is applied, so that no change is missed.
            let begun = arguments.watch.then(|| Watch::begin(global, &loaded)).transpose()?;
            if arguments.on_boot && loaded.from_standard_input {
                return Err(CliError::usage("--on-boot needs a Sandboxfile that is there at the next boot"));
            }
            let brought_up = up.bring_up(&loaded, &mut run_report, || ())?;
            if arguments.on_boot {
                up.enable_on_boot(&loaded, &brought_up)?;
            }
            watch = begun.map(|watch| (watch, loaded));
            Ok(brought_up)
        }),
    };
    // Reports are written before logs are followed, which may never end.
    let brought_up = run_report.close(ended)?;
    if arguments.detach || arguments.wait || arguments.wait_timeout.is_some() || output.events {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((watch, loaded)) = watch {
        return watch.run(arguments, &loaded, brought_up, since);
    }
    let BroughtUp { home, project, targets } = brought_up;
    output.say(
        "following the logs; Ctrl-C stops following, the sandboxes keep running (`msb down` removes them)",
    );
    let streams = logs::streams(&home, &project, &targets)?;
    logs::follow(streams, LogOptions::of_project(since, &output), output)
}

/// The sandboxes that were brought up.
pub struct BroughtUp {
    /// The home of the project.
    pub home: Home,
    /// The project.
    pub project: ProjectName,
    /// The selected sandboxes; empty for all.
    pub targets: BTreeSet<SandboxName>,
}

/// One run of `up`.
pub struct Up<'a> {
    /// The global options.
    pub global: &'a Global,
    /// The arguments.
    pub arguments: &'a Args,
    /// The output.
    pub output: OutputOptions,
}

impl Up<'_> {
    /// Loads the project.
    ///
    /// # Errors
    ///
    /// If it is invalid or not trusted.
    pub fn load(&self) -> Result<Loaded, CliError> {
        self.arguments.selection.load(self.global, &Machine::open()?.catalog)
    }

    /// Plans and applies a loaded project. Calls `on_change` before the first change.
    ///
    /// # Errors
    ///
    /// If no plan can be made, or any step fails.
    pub fn bring_up(
        &self,
        loaded: &Loaded,
        run_report: &mut RunReport,
        on_change: impl Fn(),
    ) -> Result<BroughtUp, CliError> {
        let began = Instant::now();
        let Self { global, arguments, output } = *self;
        let (model, project) = (&loaded.model, loaded.model.project());
        run_report.project = Some(project.to_string());
        let machine = Machine::open()?;
        let home = &machine.home;
        let pins = Pins::read(&loaded.folder)?;
        let policy = Policy {
            wait: arguments.wait || arguments.wait_timeout.is_some(),
            start: !arguments.no_start,
            ..arguments.selection.policy(model)?
        };
        let query = arguments.selection.image_query(home, model, &pins)?;
        let locked = LockedProject {
            images: ImageQuery {
                ports: ports(model),
                external: external(model),
                mount_obstacle: host::mount_obstacle(home, global, model)?,
                secret_problems: executor::secrets::problems(model),
                compare_values: true,
                ..query
            },
            output,
            consent: Consent::of(arguments.yes),
            ..LockedProject::acquire(&machine, project, "up", arguments.lock.timeout)?
        };
        project::require_own(global, &machine.catalog, loaded)?;
        project::remember(global, &machine.catalog, loaded)?;
        // The images and the report of the last plan.
        let found = RefCell::new(BTreeMap::new());
        let planned = RefCell::new(None);
        let converged = apply::converge(
            &locked,
            |snapshot| {
                let images = pins.found(&locked.images.references, snapshot);
                if arguments.selection.frozen {
                    pins.check_frozen(&images)?;
                }
                found.replace(images);
                let (plan, report) = planner::plan(Some(model), snapshot, &policy)?;
                // Kept even if consent is refused.
                planned.replace(Some(report.clone()));
                Ok((plan, report))
            },
            || {
                on_change();
                self.settings(home, &loaded.folder)
            },
            ApplyOptions {
                time_limit: arguments.wait_timeout,
                roll_back: arguments.rollback,
                show_plan: true,
                ..ApplyOptions::default()
            },
        );
        run_report.report = planned.into_inner();
        let converged = converged?;
        if !arguments.selection.frozen && !loaded.from_standard_input {
            pins.keep(&found.borrow(), &output);
        }
        drop(locked);
        self.conclude(home, &converged, began, run_report)?;
        let targets = targets::expand(model, &policy.targets);
        Ok(BroughtUp { home: machine.home, project: project.clone(), targets })
    }

    /// Writes and enables the systemd unit of a project.
    fn enable_on_boot(&self, loaded: &Loaded, brought_up: &BroughtUp) -> Result<(), CliError> {
        let Self { global, arguments, output } = self;
        let absolute = |path: &Path| std::path::absolute(path).context("cannot tell the current folder");
        let program = std::env::current_exe().context("cannot tell the path of msb")?;
        let text = |path: PathBuf| {
            path.into_os_string()
                .into_string()
                .map_err(|path| CliError::new(format!("the path {} is not UTF-8", path.display())))
        };
        let mut words = Vec::new();
        for file in &loaded.named {
            words.extend(["-f".to_owned(), file.clone()]);
        }
        for file in &global.env_files {
            words.extend(["--env-file".to_owned(), text(absolute(file)?)?]);
        }
        words.extend(["--project-directory".to_owned(), text(loaded.folder.clone())?]);
        if !loaded.is_named_after_folder {
            words.extend(["-p".to_owned(), brought_up.project.to_string()]);
        }
        if let Some(driver) = global.driver {
            words.extend(["--driver".to_owned(), driver.to_string()]);
        }
        let units = Units::own()?;
        let path = units.enable(&BootUnit {
            project: &brought_up.project,
            folder: &loaded.folder,
            program: &program,
            home: &absolute(brought_up.home.root())?,
            global: &words,
            selection: &arguments.selection.arguments(),
        })?;
        units.reload(output);
        output.say(&format!("{} starts it at boot; `msb down` removes that unit", path.display()));
        if !units.start_with_the_host() {
            output.say("it starts at your first login: `loginctl enable-linger` lets it start with the host");
        }
        Ok(())
    }

    /// Applies the plan of a file.
    fn apply_file(&self, path: &Path, run_report: &mut RunReport) -> Result<BroughtUp, CliError> {
        let began = Instant::now();
        let Self { global, arguments, output } = *self;
        let file = plan_file::read(path)?;
        let project = &file.plan.project;
        run_report.project = Some(project.to_string());
        let machine = Machine::open()?;
        let Machine { home, catalog } = &machine;
        let current = project::current_of_any_folder(global, catalog)?;
        if let Some(current) = current.filter(|current| current != project) {
            return Err(CliError::new(format!(
                "the plan is for the project {project}, and this is {current}"
            ))
            .hint(format!("go to {}, or pass -p {project}", file.folder.display())));
        }
        if load::named_project(global)?.is_none() {
            project::require_home(catalog, project, &file.folder)?;
        }
        let locked = LockedProject {
            images: plan_file::images(&file, home)?,
            output,
            consent: Consent::of(arguments.yes),
            ..LockedProject::acquire(&machine, project, "up", arguments.lock.timeout)?
        };
        project::remember_planned(catalog, project, &file.folder)?;
        run_report.report = Some(file.report.clone());
        let converged = apply::converge(
            &locked,
            |snapshot| plan_file::unless_stale(&file, snapshot),
            || self.settings(home, &file.folder),
            ApplyOptions { roll_back: arguments.rollback, show_plan: true, ..ApplyOptions::default() },
        )?;
        drop(locked);
        self.conclude(home, &converged, began, run_report)?;
        let changes = file.report.changes.iter().filter(|change| change.action != Action::Unchanged);
        let targets = changes.map(|change| change.name.clone()).collect();
        Ok(BroughtUp { home: home.clone(), project: project.clone(), targets })
    }

    fn settings(&self, home: &Home, folder: &Path) -> Result<Settings, CliError> {
        let Self { global, arguments, output: _ } = *self;
        // Choosing a driver takes longer than creating a sandbox. A rollback may start what was stopped.
        let boots = !arguments.no_start || arguments.rollback;
        let boot = boots.then(|| host::boot_settings(home, global)).transpose()?;
        let waiting = Waiting {
            until_settled: arguments.wait || arguments.wait_timeout.is_some(),
            outlasts_unhealthy: arguments.wait_timeout.is_some(),
        };
        Ok(Settings {
            waiting,
            parallel: arguments.parallel.map(usize::from),
            // What would be rolled back need not start.
            fail_fast: arguments.fail_fast || arguments.rollback,
            ..apply::settings_with_boot(home, boot, Some(folder.to_owned()))?
        })
    }

    /// Reports the outcome.
    fn conclude(
        &self,
        home: &Home,
        converged: &Converged,
        began: Instant,
        run_report: &mut RunReport,
    ) -> Result<(), CliError> {
        if let Some(applied) = &converged.applied {
            run_report.steps.clone_from(&applied.steps);
        }
        self.output.say(&outcome(home, converged, began.elapsed())?);
        Ok(())
    }
}

/// Describes the sandboxes whose conditions were not met in time.
fn unready(home: &Home, plan: &PlanGraph, applied: &ApplyResult) -> Vec<String> {
    let waited = applied.results.iter().filter(|(_, result)| matches!(result, StepResult::Interrupted));
    let waited: BTreeMap<_, _> = waited
        .filter_map(|(id, _)| match &plan.steps.get(id)?.ensure {
            Ensure::Condition { identity, condition: _ } => Some((&identity.name, identity)),
            _ => None,
        })
        .collect();
    let Ok(event_loop) = crate::commands::event_loop() else { return Vec::new() };
    let identities = waited.into_values().take(UNREADY_MAX);
    identities.filter_map(|identity| event_loop.block_on(not_yet(home, &plan.project, identity))).collect()
}

/// Returns the message of a successful run.
fn outcome(home: &Home, converged: &Converged, took: Duration) -> Result<String, CliError> {
    let Converged { plan, report, applied, rolled_back } = converged;
    let project = &plan.project;
    let Some(applied) = applied else {
        targets::check_blocked(report)?;
        let sandboxes = words::count(report.count(Action::Unchanged), "sandbox", "sandboxes");
        let took = took.as_millis();
        return Ok(format!("{project}: nothing to do, {sandboxes} as declared ({took} ms)"));
    };
    let interrupted = applied.check_interrupt(plan);
    interrupted.map_err(|failure| failure.hint("the next `msb up` continues from here"))?;
    if applied.timed_out {
        let failure =
            CliError::new(format!("not everything was ready in time: {}", applied.unfinished(plan)))
                .because_all(unready(home, plan, applied))
                .code(ErrorCode::TimedOut);
        let hint = "started sandboxes keep running: see `msb ps` and `msb logs`";
        return Err(add_rollback(failure, rolled_back.as_ref(), hint));
    }
    if applied.failures() > 0 {
        let failure = CliError::new(format!("{} failed", words::count(applied.failures(), "step", "steps")));
        return Err(add_rollback(failure, rolled_back.as_ref(), "`msb up` tries again"));
    }
    targets::check_blocked(report)?;
    let mut text = format!("{project}: up in {}", apply::seconds(took));
    if let Some(chain) = apply::critical_chain(plan, &applied.results) {
        text.push_str(&format!("\ncritical chain: {chain}"));
    }
    Ok(text)
}

/// Adds the outcome of a rollback to the failure that caused it, or the hint if there was none.
fn add_rollback(failure: CliError, rolled_back: Option<&RolledBack>, hint: &str) -> CliError {
    let Some(RolledBack { failures, lost }) = rolled_back else { return failure.hint(hint) };
    let failure = failure.because(match failures {
        0 => "all changes were rolled back".to_owned(),
        failures => format!("{} of the rollback failed", words::count(*failures, "step", "steps")),
    });
    if lost.is_empty() {
        return failure.maybe_hint((*failures > 0).then_some("`msb plan` shows the present state"));
    }
    failure
        .because(format!("removed with their disks before the failure: {}", listing::names(lost)))
        .hint("`msb up` creates them again")
}
