//! Creating a sandbox from flags: the only sandbox of its own project, planned and applied like any other.

use crate::apply::ephemeral::{self, Lease};
use crate::apply::lifecycle;
use crate::apply::{self, ApplyOptions, Converged, LockedProject};
use crate::cli::Global;
use crate::error::{CliError, Context, ErrorCode};
use crate::host::{self, Machine};
use crate::output::OutputOptions;
use crate::project::images::When;
use crate::project::load;
use crate::project::targets::{self, external, ports, references};
use executor::catalog::{Catalog, Recorded};
use executor::images::ImageQuery;
use executor_host::home::RunFolder;
use planner::Policy;
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName, full_name, suggest_name};
use schemas::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Options of a creation.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// `create` or `run`.
    pub command: &'static str,
    /// Maximum time to wait for the lock.
    pub lock_timeout: Duration,
    /// Time for an existing sandbox of the same name to shut down before it is killed and removed; `None` keeps it and
    /// fails.
    pub replace: Option<Duration>,
    /// When to query registries for the image.
    pub pull: Option<When>,
    /// The lease of a sandbox that is removed when this process ends.
    pub lease: Option<Lease>,
}

/// Parses a sandbox's name on the command line.
///
/// # Errors
///
/// If it is invalid.
pub fn name(text: &str) -> Result<SandboxName, CliError> {
    SandboxName::new(text).map_err(|error| {
        CliError::usage(format!("{text:?} cannot be the name of a sandbox: {error}"))
            .maybe_hint(suggest_name(text).map(|name| format!("for example {name:?}")))
    })
}

/// Generates a sandbox's name.
///
/// # Errors
///
/// If the kernel provides no random number.
pub fn random_name() -> Result<SandboxName, CliError> {
    name(&format!("run-{:08x}", getrandom::u32().context("no random number")?))
}

impl CreateOptions {
    /// Creates and starts a sandbox. Returns the folder of its sockets.
    ///
    /// # Errors
    ///
    /// If it cannot be created or started.
    pub fn run(&self, global: &Global, model: &Model) -> Result<RunFolder, CliError> {
        let machine = Machine::open()?;
        let home = &machine.home;
        let project = model.project();
        let Some(sandbox) = model.sandboxes().first() else {
            return Err(CliError::new("the flags describe no sandbox"));
        };
        let name = sandbox.name();
        // Naming the sandbox to replace is the consent.
        let mut locked = LockedProject {
            // No lock file pins the image.
            images: ImageQuery {
                references: references(model),
                pull: self.pull.unwrap_or_default().into(),
                registries: Arc::new(host::registries(home)?),
                ports: ports(model),
                external: external(model),
                mount_obstacle: host::mount_obstacle(home, global, model)?,
                secret_problems: executor::secrets::problems(model),
                compare_values: true,
                ..ImageQuery::default()
            },
            output: OutputOptions::of(global).silent(),
            ..LockedProject::acquire(&machine, project, self.command, self.lock_timeout)?
        };
        let policy = Policy::default();
        let folder = load::current_folder()?;
        let settings = || {
            let boot = Some(host::boot_settings(home, global)?);
            let mut settings = apply::settings_with_boot(home, boot, Some(folder.clone()))?;
            settings.supervise.lease = self.lease.as_ref().map(|lease| lease.read_end.clone());
            Ok(settings)
        };
        self.remove_existing(&locked, model, &policy)?;
        if self.lease.is_some() {
            ephemeral::record_owner(home, project)?;
        } else {
            ephemeral::clear_owner(home, project);
        }
        locked.output = OutputOptions::of(global);
        let converged = apply::converge(
            &locked,
            |snapshot| planner::plan(Some(model), snapshot, &policy).map_err(CliError::from),
            settings,
            ApplyOptions::default(),
        )?;
        check(converged, name)?;
        Ok(home.sandbox_run(&full_name(project, name)))
    }

    /// Removes an existing sandbox of the same name, if that is allowed and the new one can be created.
    fn remove_existing(
        &self,
        locked: &LockedProject,
        model: &Model,
        policy: &Policy,
    ) -> Result<(), CliError> {
        let LockedProject { machine: Machine { home, catalog }, project, images, .. } = locked;
        let Some(name) = recorded(catalog, project)? else { return Ok(()) };
        let Some(stop_timeout) = self.replace else {
            return Err(CliError::new(format!("a sandbox {name} already exists"))
                .code(ErrorCode::SandboxExists)
                .about(name.as_str())
                .hint(format!("--replace replaces it and its disk; `msb start {name}` starts it")));
        };
        // A failure to create the new sandbox must not cost the existing one.
        let snapshot = executor::observe::observe(home, catalog, project, images)?;
        let empty = Snapshot { sandboxes: BTreeMap::new(), unreadable: BTreeMap::new(), ..snapshot };
        let (_, report) = planner::plan(Some(model), &empty, policy)?;
        targets::check_blocked(&report)?;
        lifecycle::remove_locked(locked, &name, Some(stop_timeout))
    }
}

/// Returns the name of the recorded sandbox of a project of one, readable or not.
///
/// # Errors
///
/// If the catalog cannot be read.
pub fn recorded(catalog: &Catalog, project: &ProjectName) -> Result<Option<SandboxName>, CliError> {
    let Recorded { sandboxes, unreadable } = catalog.sandboxes(Some(project))?;
    let names = sandboxes.into_iter().map(|row| row.name);
    Ok(names.chain(unreadable.into_iter().map(|row| row.identity.name)).next())
}

fn check(converged: Converged, name: &SandboxName) -> Result<(), CliError> {
    let Converged { plan, report, applied, rolled_back: _ } = converged;
    if let Some(applied) = applied {
        let interrupted = applied.check_interrupt(&plan);
        interrupted.map_err(|failure| failure.hint(format!("`msb rm -f {name}` removes it")))?;
        if applied.failures() > 0 {
            return Err(CliError::new(format!("{name} could not be created and started"))
                .hint(format!("`msb start {name}` tries again, `msb rm -f {name}` removes it")));
        }
    }
    targets::check_blocked(&report)
}
