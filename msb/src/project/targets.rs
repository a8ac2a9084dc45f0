//! The selection of sandboxes and profiles on the command line.

use crate::cli::Global;
use crate::error::{CliError, ErrorCode};
use crate::output::suggest::hint_about;
use crate::output::words;
use crate::project::images::{self, PullOption};
use crate::project::load::Loaded;
use crate::project::lockfile::Pins;
use crate::project::trust;
use executor::catalog::Catalog;
use executor::images::ImageQuery;
use executor_host::home::Home;
use planner::Policy;
use sandboxfile::{Format, text_in};
use schemas::listing::{LISTED_MAX, lines};
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName, VolumeName};
use schemas::report::{Blocked, Report};
use schemas::spec::{ImageReference, Port};
use std::collections::{BTreeMap, BTreeSet};

/// The arguments of commands that plan.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Only these sandboxes and their dependencies.
    pub names: Vec<String>,
    /// Include sandboxes of this profile. Can be repeated.
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<String>,
    /// Keep sandboxes that are no longer in the Sandboxfile.
    #[arg(long)]
    keep_orphans: bool,
    /// Exit with 3 unless the lock file pins every image to its present digest; `up` then leaves the lock file alone.
    #[arg(long)]
    pub frozen: bool,
    /// Allow the Sandboxfile to reach beyond its folder this time.
    #[arg(long)]
    trust: bool,
    /// The number of copies of a sandbox this time, instead of its `replicas`. Can be repeated.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = scale)]
    scale: Vec<Scale>,
    #[command(flatten)]
    pub pull: PullOption,
}

/// A number of copies of a sandbox.
#[derive(Clone, Debug)]
struct Scale {
    name: SandboxName,
    replicas: u32,
}

fn scale(text: &str) -> Result<Scale, String> {
    let (name, number) = text.split_once('=').ok_or("expected NAME=NUMBER, such as web=3")?;
    let name = SandboxName::new(name).map_err(|reason| format!("{name:?} is not a name: {reason}"))?;
    let number: u32 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    if number == 0 {
        return Err(format!("a sandbox has one copy at least: `msb stop {name}` stops it"));
    }
    Ok(Scale { name, replicas: number })
}

impl Selection {
    /// Loads the project.
    ///
    /// # Errors
    ///
    /// If it is invalid or not trusted.
    pub fn load(&self, global: &Global, catalog: &Catalog) -> Result<Loaded, CliError> {
        let layer = |Scale { name, replicas }: &Scale| {
            format!("sandbox {} {{ replicas {replicas} }}\n", text_in(Format::Kdl, name.as_str()))
        };
        let scale: String = self.scale.iter().map(layer).collect();
        let loaded = trust::load(global, catalog, self.trust, &scale);
        // A layer for an unknown name declares a sandbox, which then has no image.
        if loaded.is_err()
            && !scale.is_empty()
            && let Ok(plain) = trust::load(&Global { quiet: true, ..global.clone() }, catalog, self.trust, "")
            && let Some(unknown) =
                self.scale.iter().find(|scale| plain.model.family(&scale.name).next().is_none())
        {
            let known: BTreeSet<&str> =
                plain.model.sandboxes().iter().map(|sandbox| sandbox.family().as_str()).collect();
            let error = CliError::usage(format!("--scale: there is no sandbox {:?}", unknown.name.as_str()));
            return Err(error.hint(hint_about(unknown.name.as_str(), known, "the Sandboxfile has none")));
        }
        loaded
    }

    /// Returns the query for the images of a model; `--pull` takes precedence over what its sandboxes declare.
    ///
    /// # Errors
    ///
    /// If the settings of registries cannot be read.
    pub fn image_query(&self, home: &Home, model: &Model, pins: &Pins) -> Result<ImageQuery, CliError> {
        let chosen = self.pull.pull;
        let query = images::image_query(home, references(model), pins, chosen.unwrap_or_default())?;
        let pull_of = if chosen.is_some() { BTreeMap::new() } else { images::declared_pulls(model) };
        Ok(ImageQuery { pull_of, ..query })
    }

    /// Returns the arguments that select the same sandboxes again.
    pub fn arguments(&self) -> Vec<String> {
        let Self { names, profile, keep_orphans, frozen, trust: _, scale, pull: _ } = self;
        let profiles = profile.iter().map(|profile| format!("--profile={profile}"));
        let scale = scale.iter().map(|Scale { name, replicas }| format!("--scale={name}={replicas}"));
        let flags = [(*keep_orphans, "--keep-orphans"), (*frozen, "--frozen")];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag.to_owned());
        names.iter().cloned().chain(profiles).chain(scale).chain(flags).collect()
    }

    /// Returns the policy for a plan of the selected sandboxes.
    ///
    /// # Errors
    ///
    /// If a name or a profile is unknown.
    pub fn policy(&self, model: &Model) -> Result<Policy, CliError> {
        Ok(Policy {
            targets: targets(&self.names, model.project(), &names(model))?,
            profiles: profiles(&self.profile, model)?,
            remove_orphans: !self.keep_orphans,
            ..Policy::default()
        })
    }
}

/// Returns the images of a model.
pub fn references(model: &Model) -> BTreeSet<ImageReference> {
    model.sandboxes().iter().map(|sandbox| sandbox.image().clone()).collect()
}

/// Returns the ports of the host that a project publishes.
pub fn ports(model: &Model) -> BTreeSet<Port> {
    model.sandboxes().iter().flat_map(|sandbox| sandbox.definition().ports.iter().copied()).collect()
}

/// Returns the full names of the external volumes of a project.
pub fn external(model: &Model) -> BTreeSet<VolumeName> {
    model.external().values().cloned().collect()
}

/// Returns the failure for an unknown sandbox, with a suggestion among the known ones.
pub fn unknown_sandbox<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> CliError {
    let hint = hint_about(name, known, "`msb up` creates the sandboxes of the Sandboxfile");
    CliError::new(format!("there is no sandbox {name:?}"))
        .hint(hint)
        .code(ErrorCode::SandboxNotFound)
        .about(name)
}

/// Resolves names on the command line, or full names, to sandboxes of a project.
///
/// # Errors
///
/// If a name is unknown.
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

/// Returns the names of a model's sandboxes, those shared by replicas included.
fn names(model: &Model) -> BTreeSet<&SandboxName> {
    model.sandboxes().iter().flat_map(|sandbox| [sandbox.name(), sandbox.family()]).collect()
}

/// Replaces the shared name of replicas by their own names.
pub fn expand(model: &Model, targets: &BTreeSet<SandboxName>) -> BTreeSet<SandboxName> {
    let sandboxes = model.sandboxes().iter();
    let selected =
        sandboxes.filter(|sandbox| targets.contains(sandbox.name()) || targets.contains(sandbox.family()));
    selected.map(|sandbox| sandbox.name().clone()).collect()
}

/// Checks the profiles on the command line.
fn profiles(names: &[String], model: &Model) -> Result<BTreeSet<String>, CliError> {
    let known: BTreeSet<&String> = model.sandboxes().iter().flat_map(|sandbox| sandbox.profiles()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let none = "the Sandboxfile has no profiles";
        let hint = hint_about(name, known.iter().map(|known| known.as_str()), none);
        return Err(CliError::new(format!("no sandbox has the profile {name:?}")).hint(hint));
    }
    Ok(names.iter().cloned().collect())
}

/// Formats blocked sandboxes, one per line.
pub fn blocked_lines(blocked: &[Blocked]) -> Vec<String> {
    lines(blocked, LISTED_MAX, |Blocked { name, reason }| format!("{name}: {}", words::block_reason(reason)))
}

/// Checks that a run left no blocked sandboxes unchanged.
///
/// # Errors
///
/// If it did, with their reasons.
pub fn check_blocked(report: &Report) -> Result<(), CliError> {
    let failure = CliError::new(match report.blocked.len() {
        0 => return Ok(()),
        1 => "1 sandbox is blocked and was not changed".to_owned(),
        many => format!("{many} sandboxes are blocked and were not changed"),
    });
    Err(failure
        .because_all(blocked_lines(&report.blocked))
        .hint("all others are as declared; resolve the reasons, or name only the sandboxes to bring up"))
}
