//! `msb up`.

use crate::cli::Global;
use crate::error::{CliError, Exit};
use crate::output::{Verbosity, print_json};
use crate::progress::Progress;
use crate::render::plan::{Style, text as plan_text};
use crate::{applying, follow, host, load};
use executor::apply::{Interrupt, ProjectLock, StepResult};
use executor::home::Home;
use planner::Policy;
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName};
use schemas::report::{Action, Report};
use schemas::spec::ImageReference;
use schemas::unit::parse_duration;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments of `msb up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these sandboxes, and what they depend on.
    names: Vec<String>,
    /// Return as soon as all have started, instead of following their logs.
    #[arg(short, long)]
    detach: bool,
    /// Return when all are healthy, or up where they have no health check, and jobs are done.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this time.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait_timeout: Option<Duration>,
    /// Steps at once.
    #[arg(long, value_name = "N")]
    parallel: Option<usize>,
    /// Leave sandboxes running that are no longer in the Sandboxfile.
    #[arg(long)]
    keep_orphans: bool,
    /// Wait so long for another msb that works on the project.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    lock_timeout: Duration,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// What `up --json` prints.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    project: &'a str,
    changed: bool,
    report: &'a Report,
    took_ms: u64,
}

/// Plans, shows the plan, applies it, and follows the logs.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let began = Instant::now();
    let verbosity = Verbosity::of(global);
    let loaded = load::load(global)?;
    let model = &loaded.model;
    let home = host::open_home()?;
    let catalog = host::open_catalog(&home)?;
    let references = references(model);
    let policy = Policy {
        targets: targets(&arguments.names, model.project(), &names(model))?,
        remove_orphans: !arguments.keep_orphans,
        wait: arguments.wait || arguments.wait_timeout.is_some(),
    };
    let lock = ProjectLock::acquire(&home, model.project(), "msb up", arguments.lock_timeout)?;
    let snapshot = executor::observe::observe(&home, &catalog, model.project(), &references)?;
    let (plan, report) =
        planner::plan(Some(model), &snapshot, &policy).map_err(|error| CliError::from_error(&error))?;
    let document = |changed| Document {
        version: plan.version,
        project: model.project().as_str(),
        changed,
        report: &report,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    if plan.is_empty() {
        lock.release();
        let count = report.count(Action::Unchanged);
        let plural = if count == 1 { "sandbox" } else { "sandboxes" };
        verbosity.say(&format!(
            "{}: nothing to do, {count} {plural} as declared ({} ms)",
            model.project(),
            began.elapsed().as_millis()
        ));
        if arguments.json {
            print_json(&document(false));
        }
        return follow_unless_detached(&home, global, arguments, model);
    }
    verbosity.say(plan_text(&plan, &report, Style { color: verbosity.color_stderr }).trim_end());
    let progress = Arc::new(Progress::new(&plan, &verbosity));
    let settings = applying::settings(&home, global, arguments.parallel, applying::STOP_TIMEOUT)?;
    let applier = applying::applier(home.clone(), catalog, settings, progress.clone());
    let wait = policy.wait.then_some(arguments.wait_timeout).flatten();
    let applied = super::event_loop()?.block_on(applying::apply(&applier, &plan, &lock, &references, wait));
    progress.finish();
    lock.release();
    let applied = applied?;
    if arguments.json {
        print_json(&document(true));
    }
    let failed = applied.results.values().filter(|result| matches!(result, StepResult::Failed(_))).count();
    if applied.timed_out {
        return Err(CliError::new("not everything was ready in time; what has started goes on")
            .hint("`msb ps` shows how things are, `msb logs` why")
            .exit(Exit::TimedOut));
    }
    if applied.interrupted > Interrupt::None {
        return Err(CliError::new("interrupted; what had begun is finished or will be adopted by the next `msb up`")
            .exit(Exit::Interrupted));
    }
    if failed > 0 {
        let steps = if failed == 1 { "step" } else { "steps" };
        return Err(CliError::new(format!("{failed} {steps} failed")).hint("`msb up` goes on where it can"));
    }
    verbosity.say(&format!("{}: up in {}", model.project(), applying::seconds(began.elapsed())));
    if let Some(chain) = applying::critical_chain(&plan, &applied.results) {
        verbosity.say(&format!("critical chain: {chain}"));
    }
    follow_unless_detached(&home, global, arguments, model)
}

fn follow_unless_detached(home: &Home, global: &Global, arguments: &Args, model: &Model) -> Result<ExitCode, CliError> {
    if arguments.detach || arguments.wait || arguments.wait_timeout.is_some() || arguments.json {
        return Ok(ExitCode::SUCCESS);
    }
    let verbosity = Verbosity::of(global);
    verbosity.say("following the logs; Ctrl-C stops following, the sandboxes go on (`msb down` removes them)");
    follow::project(home, model.project(), &verbosity)
}

/// The images that a model names.
pub fn references(model: &Model) -> BTreeSet<ImageReference> {
    model.sandboxes().iter().map(|sandbox| sandbox.image().clone()).collect()
}

/// Names from the command line as names of the project's sandboxes; full names are taken too.
pub fn targets(
    names: &[String],
    project: &ProjectName,
    known: &BTreeSet<&SandboxName>,
) -> Result<BTreeSet<SandboxName>, CliError> {
    let prefix = format!("{project}-");
    let find = |name: &str| known.iter().find(|known| known.as_str() == name).copied().cloned();
    names
        .iter()
        .map(|name| {
            find(name)
                .or_else(|| name.strip_prefix(&prefix).and_then(find))
                .ok_or_else(|| unknown_sandbox(name, known.iter().map(|known| known.as_str())))
        })
        .collect()
}

/// The names of a model's sandboxes.
pub fn names(model: &Model) -> BTreeSet<&SandboxName> {
    model.sandboxes().iter().map(|sandbox| sandbox.name()).collect()
}

/// There is no such sandbox; perhaps one of these was meant.
pub fn unknown_sandbox<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> CliError {
    let known: Vec<_> = known.collect();
    let failure = CliError::new(format!("there is no sandbox {name:?}"));
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4);
    match near {
        Some((_, near)) => failure.hint(format!("did you mean {near:?}?")),
        None if known.is_empty() => failure.hint("`msb up` brings the Sandboxfile's sandboxes up"),
        None => failure.hint(format!("there are: {}", known.join(", "))),
    }
}
