//! Makes a sandbox that flags describe: the one sandbox of a project of its own, planned and applied like any.

use crate::apply::confirm::Consent;
use crate::apply::ephemeral;
use crate::apply::ephemeral::Lease;
use crate::apply::lifecycle::{self, LifecycleOp};
use crate::apply::{self, ApplyOptions, Converged, LockedProject};
use crate::cli::Global;
use crate::error::CliError;
use crate::host;
use crate::host::Machine;
use crate::output::OutputOptions;
use crate::project::images::When;
use crate::project::load;
use crate::project::targets;
use crate::project::targets::{ports, references};
use executor::apply::ProjectLock;
use executor::catalog::{Catalog, Recorded};
use executor::images::ImageQuery;
use executor_host::home::{Home, RunFolder};
use planner::{LifecycleAction, Policy};
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName, full_name, suggest_name};
use schemas::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a sandbox that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and none is made.
    Never,
    /// It is removed; it has this long to shut down.
    After(Duration),
}

/// How one is made.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// `create` or `run`.
    pub command: &'static str,
    /// How long another msb that works on it is waited for.
    pub lock_timeout: Duration,
    /// What becomes of one that has the name already.
    pub replace: Replace,
    /// When registries are asked for its image.
    pub pull: When,
    /// What the sandbox lives by, where it goes with this process.
    pub lease: Option<Lease>,
}

/// A name from the command line.
pub fn name(text: &str) -> Result<SandboxName, CliError> {
    SandboxName::new(text).map_err(|error| {
        let failure = CliError::usage(format!("{text:?} cannot be the name of a sandbox: {error}"));
        match suggest_name(text) {
            Some(name) => failure.hint(format!("for example {name:?}")),
            None => failure,
        }
    })
}

/// A name for a sandbox that nobody has named.
pub fn random_name() -> Result<SandboxName, CliError> {
    let number = getrandom::u32().map_err(|error| CliError::new(format!("no random number: {error}")))?;
    name(&format!("run-{number:08x}"))
}

impl CreateOptions {
    /// Makes it, and starts it. Gives the folder of its sockets.
    pub fn run(&self, global: &Global, model: &Model) -> Result<RunFolder, CliError> {
        let verbosity = OutputOptions::of(global);
        let Machine { home, catalog } = Machine::open()?;
        let project = model.project();
        let Some(sandbox) = model.sandboxes().first() else {
            return Err(CliError::new("the flags describe no sandbox"));
        };
        let name = sandbox.name();
        let mut locked = LockedProject {
            lock: ProjectLock::acquire(&home, project, &format!("msb {}", self.command), self.lock_timeout)?,
            home: home.clone(),
            catalog: catalog.clone(),
            project: project.clone(),
            images: self.image_query(&home, model)?,
            // That an old one goes is no news.
            verbosity: verbosity.silent(),
            // What is lost here was named to be replaced.
            consent: Consent::Given,
            command: self.command,
        };
        let policy = Policy::default();
        let folder = load::current_folder()?;
        let boot = || host::boot_settings(&home, global).map(Some);
        let settings = || {
            let mut settings = apply::settings(&home, boot()?, None, false, &folder)?;
            settings.supervise.lease = self.lease.as_ref().map(|lease| lease.read_end.clone());
            Ok(settings)
        };
        self.make_room(&locked, model, &policy)?;
        match self.lease {
            Some(_) => ephemeral::claim(&home, project)?,
            None => ephemeral::disclaim(&home, project),
        }
        locked.verbosity = verbosity;
        let converged = apply::converge(
            &locked,
            |snapshot| planner::plan(Some(model), snapshot, &policy).map_err(CliError::from),
            settings,
            // The plan of a single sandbox is no news.
            |_, _| String::new(),
            ApplyOptions::default(),
        )?;
        check(converged, name)?;
        Ok(home.sandbox_run(&full_name(project, name)))
    }

    /// Its image. No lock file pins it: what this machine knows, or the registry, says what it is.
    fn image_query(&self, home: &Home, model: &Model) -> Result<ImageQuery, CliError> {
        let registries = Arc::new(host::registries(home)?);
        let pull = self.pull.into();
        Ok(ImageQuery {
            references: references(model),
            pins: BTreeMap::new(),
            pull,
            registries,
            ports: ports(model),
        })
    }

    /// Removes the sandbox that has the name, if that is wished, and if the new one can be made.
    fn make_room(&self, locked: &LockedProject, model: &Model, policy: &Policy) -> Result<(), CliError> {
        let LockedProject { home, catalog, project, images, .. } = locked;
        let Some(name) = recorded(catalog, project)? else { return Ok(()) };
        let Replace::After(stop_timeout) = self.replace else {
            return Err(CliError::new(format!("there is a sandbox {name} already"))
                .hint(format!("--replace replaces it, disk and all; `msb start {name}` starts it")));
        };
        // What cannot be made must not cost the one that is there.
        let snapshot = executor::observe::observe(home, catalog, project, images)?;
        let empty = Snapshot { sandboxes: BTreeMap::new(), unreadable: BTreeMap::new(), ..snapshot };
        let (_, report) = planner::plan(Some(model), &empty, policy)?;
        if let Some(blocked) = targets::blocked(&report) {
            return Err(blocked);
        }
        let task = LifecycleOp {
            command: self.command,
            action: LifecycleAction::Remove,
            done: "removed",
            stop_timeout,
            kill: false,
            lock_timeout: Duration::ZERO,
        };
        let settings = || apply::settings_without_boot(home, stop_timeout);
        lifecycle::run_locked(locked, &name, &task, settings).map(drop)
    }
}

/// The name of what is recorded in a project of one, readable or not.
fn recorded(catalog: &Catalog, project: &ProjectName) -> Result<Option<SandboxName>, CliError> {
    let Recorded { sandboxes, unreadable } = catalog.sandboxes(Some(project))?;
    let names = sandboxes.into_iter().map(|row| row.name);
    Ok(names.chain(unreadable.into_iter().map(|row| row.identity.name)).next())
}

/// What a good end is told with; anything else is an error.
fn check(converged: Converged, name: &SandboxName) -> Result<(), CliError> {
    let Converged { plan, report, applied, rolled_back: _ } = converged;
    if let Some(applied) = applied {
        if let Some(exit) = applied.interrupted {
            return Err(CliError::new(applied.left_by_interrupt(&plan))
                .hint(format!("`msb rm -f {name}` removes what there is"))
                .exit(exit));
        }
        if applied.failures() > 0 {
            return Err(CliError::new(format!("{name} could not be made and started"))
                .hint(format!("`msb start {name}` tries again, `msb rm -f {name}` removes what there is")));
        }
    }
    targets::blocked(&report).map_or(Ok(()), Err)
}
