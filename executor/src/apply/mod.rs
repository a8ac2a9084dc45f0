//! Carries out a plan: walks its graph, writes the journal, and ensures every step's end state.
//!
//! Architecture invariant: nothing is decided here. A step is an end state; carrying it out ensures the state, and returns
//! [`Outcome::NotNeeded`] if it holds already.

mod anonymous;
mod condition;
mod failure;
#[cfg(test)]
mod fake_world;
mod hooks;
mod journal;
#[cfg(test)]
mod lifecycle_tests;
mod limits;
mod order;
mod settle;
#[cfg(test)]
mod settle_tests;
mod spawn;
mod start;
mod steps;
mod stop;
mod volumes;
mod walker;
#[cfg(test)]
mod walker_properties;

pub use condition::not_yet;
pub use failure::{StepFailure, limit_hint};
pub use journal::{Journal, ProjectJournal};
pub use spawn::SuperviseCommand;
pub use walker::{Acted, Rules, Walker};

use crate::catalog::{Catalog, CatalogError};
use crate::images::ImageQuery;
use crate::launch::BootSettings;
use crate::observe::{ObserveError, observe};
use crate::reporter::Reporter;
use executor_host::home::Home;
use executor_host::lock::{FileLock, LockError};
use executor_host::reserve::Reserve;
use executor_image::Blobs;
use schemas::name::ProjectName;
use schemas::plan::{Ensure, PlanGraph, Step, StepId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The longest time for which a supervisor may have no socket, at its start or end.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two checks of a socket, a file or a process.
const RETRY: Duration = Duration::from_millis(5);

/// The change that a step made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It created something.
    Added,
    /// It changed something.
    Updated,
    /// The end state held already.
    NotNeeded,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Updated => "updated",
            Self::NotNeeded => "not needed",
        }
    }
}

/// The end of a step.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// It succeeded, and that is recorded.
    Succeeded {
        /// The change that it made.
        outcome: Outcome,
        /// The time of its begin.
        began: Instant,
        /// The time of its end.
        ended: Instant,
    },
    /// It failed.
    Failed(StepFailure),
    /// It was interrupted after its begin.
    Interrupted,
    /// It was not begun, or it was a wait that ended early.
    Skipped {
        /// The failed step that is the reason; `None` after an interrupt.
        because: Option<StepId>,
    },
}

/// The level of an interrupt, raised by Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interrupt {
    /// Continue.
    None,
    /// Begin no further steps, finish the running ones, and end waits.
    Finish,
    /// Abandon the running steps as well.
    Now,
}

/// The policy of waiting for sandboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Whether all started sandboxes are checked again at the end, and fail if they have ended.
    pub until_settled: bool,
    /// Whether to wait while a sandbox is unhealthy. The caller must end such a wait.
    pub outlasts_unhealthy: bool,
}

/// The timeout of the shutdown of a sandbox that declares none.
pub const STOP_TIME: Duration = Duration::from_secs(10);

/// The settings of an applier.
pub struct Settings {
    /// The settings of virtual machines; `None` for plans that start none.
    pub boot: Option<BootSettings>,
    /// The command of a supervisor.
    pub supervise: SuperviseCommand,
    /// The most steps at once, without waits for conditions; `None` derives it from processors and memory.
    pub parallel: Option<usize>,
    /// Whether no step begins after the first failure.
    pub fail_fast: bool,
    /// The timeout of a guest's shutdown, after which it is killed; `None` for that of the sandbox, or [`STOP_TIME`].
    pub stop_timeout: Option<Duration>,
    /// Whether guests are killed without a shutdown.
    pub kill: bool,
    /// The policy of waiting for sandboxes.
    pub waiting: Waiting,
    /// The settings of registries.
    pub registries: Arc<executor_registry::Settings>,
    /// The project's folder, if it is known; sandboxes see paths relative to it.
    pub folder: Option<PathBuf>,
    /// The pools of addresses.
    pub pools: executor_net::Pools,
}

/// Applies plans to one state folder.
pub struct Applier {
    /// The state folder.
    pub home: Home,
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// The settings.
    pub settings: Settings,
    /// The receiver of events.
    pub reporter: Arc<dyn Reporter>,
}

/// The lock of a project, for a command that changes it. Dropping it removes the lock file.
#[derive(Debug)]
pub struct ProjectLock {
    lock: Option<FileLock>,
    project: ProjectName,
    /// Dropped after the lock file has been removed, which frees space for it.
    _reserve: Reserve,
}

impl ProjectLock {
    /// Takes a project's lock, waiting at most `timeout` for its holder.
    ///
    /// # Errors
    ///
    /// If the lock is still held then, or its file cannot be used.
    pub fn acquire(
        home: &Home,
        project: &ProjectName,
        command: &str,
        timeout: Duration,
    ) -> Result<Self, LockError> {
        let reserve = home.reserve();
        reserve.give_up_if_low();
        let lock = FileLock::acquire(&home.project_lock(project), command, timeout)?;
        Ok(Self { lock: Some(lock), project: project.clone(), _reserve: reserve })
    }
}

impl Drop for ProjectLock {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.remove();
        }
    }
}

/// The reason for which a plan was not begun.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The project has changed since the plan was made.
    #[error("the plan is stale: project {project} has changed since it was made")]
    Stale {
        /// The project of the plan.
        project: ProjectName,
    },
    /// The caller holds the lock of another project.
    #[error("the lock held is that of project {held}, the plan is for {planned}")]
    WrongLock {
        /// The project of the lock.
        held: ProjectName,
        /// The project of the plan.
        planned: ProjectName,
    },
    /// The image store cannot be used.
    #[error(transparent)]
    ImageStore(executor_image::ImageError),
    /// The project cannot be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Applier {
    /// Carries out a plan under its project's lock and returns the results of its steps.
    ///
    /// `query` are the images and ports in the plan's snapshot.
    ///
    /// # Errors
    ///
    /// If the snapshot is out of date, the lock is another project's, or the catalog or image store fails. Failures of
    /// steps are in the results.
    pub async fn apply(
        self: &Arc<Self>,
        plan: &PlanGraph,
        lock: &ProjectLock,
        query: &ImageQuery,
        interrupt: watch::Receiver<Interrupt>,
    ) -> Result<BTreeMap<StepId, StepResult>, ApplyError> {
        if lock.project != plan.project {
            return Err(ApplyError::WrongLock { held: lock.project.clone(), planned: plan.project.clone() });
        }
        // Images that are not recorded yet must not be pruned.
        let blobs = Blobs::open(&self.home.images()).map_err(ApplyError::ImageStore)?;
        let _held = blobs.lock_shared().map_err(ApplyError::ImageStore)?;
        let now = observe(&self.home, &self.catalog, &plan.project, &query.again())?;
        if now.digest() != plan.snapshot {
            return Err(ApplyError::Stale { project: plan.project.clone() });
        }
        self.catalog.settle_operations(&plan.project)?;
        let rules = Rules {
            parallel: self.settings.parallel.unwrap_or_else(|| limits::default_parallel(plan, &now)),
            fail_fast: self.settings.fail_fast,
        };
        let walker = Walker {
            steps: &plan.steps,
            rules,
            journal: &ProjectJournal { catalog: &self.catalog, project: &plan.project },
            reporter: self.reporter.as_ref(),
            interrupt: interrupt.clone(),
        };
        let act = |id: &StepId, step: &Step| {
            let (applier, project) = (self.clone(), plan.project.clone());
            let is_replaced = is_replaced(plan, &step.ensure);
            let needs = settle::needs(plan, step);
            let (id, step) = (id.clone(), step.clone());
            async move {
                applier.require(&step.ensure, &needs).await?;
                let outcome = match &step.ensure {
                    Ensure::Removed { identity } if !is_replaced => {
                        applier.ensure_removed_with_volumes(&project, identity).await?
                    }
                    ensure => applier.ensure(&project, &id, ensure).await?,
                };
                if outcome != Outcome::NotNeeded {
                    applier.require_still(&project, &step.ensure, &needs).await?;
                }
                Ok(outcome)
            }
        };
        let mut results = walker.walk(act).await;
        if self.settings.waiting.until_settled {
            self.check_settled(plan, &mut results, interrupt).await;
        }
        Ok(results)
    }
}

/// Returns whether a step removes an instance of which the plan creates another one.
fn is_replaced(plan: &PlanGraph, ensure: &Ensure) -> bool {
    let Ensure::Removed { identity } = ensure else { return false };
    plan.steps.values().any(|step| match &step.ensure {
        Ensure::Sandbox { identity: new, .. } => new.name == identity.name && new.id != identity.id,
        _ => false,
    })
}
