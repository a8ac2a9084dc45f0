//! Carries out a plan: walks its graph, writes the journal, and makes every step's end state true.
//!
//! Architecture invariant: no choice is made here. A step says what is to hold; each ensures it, and
//! answers [`Outcome::NotNeeded`] where it holds already.

mod condition;
mod failure;
#[cfg(test)]
mod fake_world;
mod hooks;
mod journal;
mod limits;
mod order;
mod spawn;
mod standing;
#[cfg(test)]
mod standing_tests;
mod start;
mod steps;
mod stop;
mod volumes;
mod walker;
#[cfg(test)]
mod walker_properties;

pub use condition::not_yet;
pub use failure::StepFailure;
pub use journal::{Journal, ProjectJournal};
pub use spawn::SuperviseCommand;
pub use walker::{Acted, Rules, Walker};

use crate::catalog::{Catalog, CatalogError};
use crate::images::Sought;
use crate::launch::BootSettings;
use crate::observe::{ObserveError, observe};
use crate::reporter::Reporter;
use executor_host::home::Home;
use executor_host::lock::{FileLock, LockError};
use executor_host::reserve::Reserve;
use executor_image::Blobs;
use schemas::name::ProjectName;
use schemas::plan::{PlanGraph, Step, StepId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Whether a step found something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there before.
    Added,
    /// It was there and has changed.
    Updated,
    /// It was so already.
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

/// How a step ended.
#[derive(Clone, Debug)]
pub enum StepResult {
    /// Well, and recorded.
    Succeeded {
        /// Whether there was anything to do.
        outcome: Outcome,
        /// When it was begun.
        began: Instant,
        /// When it was done.
        ended: Instant,
    },
    /// Not well.
    Failed(StepFailure),
    /// Begun, and given up because everything was told to stop.
    Interrupted,
    /// Not begun, or a wait that was given up.
    Skipped {
        /// The failed step that is the reason; none when everything was told to stop.
        because: Option<StepId>,
    },
}

/// How far everything is to be stopped: raised by Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interrupt {
    /// Go on.
    None,
    /// Begin nothing new, finish what works, wait for nothing.
    Finish,
    /// Leave everything as it is.
    Now,
}

/// How what should come up is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Whether all that was brought up is looked at again in the end: what has ended by then is a failure.
    pub until_settled: bool,
    /// Whether what is unhealthy is waited for until it is healthy again. Somebody else must end such a wait.
    pub outlasts_unhealthy: bool,
}

/// What applying needs to know of the host.
pub struct Settings {
    /// How VMs boot; nothing for plans that start none.
    pub boot: Option<BootSettings>,
    /// How a supervisor is called.
    pub supervise: SuperviseCommand,
    /// Steps at once, waiting for a condition not counted; by processors and memory when nothing is said.
    pub parallel: Option<usize>,
    /// Whether the first failure keeps everything else from beginning.
    pub fail_fast: bool,
    /// How long a guest has to shut down before it is killed.
    pub stop_timeout: Duration,
    /// Whether guests are killed at once, without being asked to shut down.
    pub kill: bool,
    /// How what should come up is waited for.
    pub waiting: Waiting,
    /// How registries are reached.
    pub registries: Arc<executor_registry::Settings>,
    /// The project's folder, where it is known: sandboxes are shown paths from there on.
    pub folder: Option<PathBuf>,
    /// Where addresses come from.
    pub pools: executor_net::Pools,
}

/// Applies plans to one home.
pub struct Applier {
    /// Where everything is.
    pub home: Home,
    /// What is recorded.
    pub catalog: Arc<Catalog>,
    /// What it needs to know of the host.
    pub settings: Settings,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
}

/// Held by whoever changes a project; letting go leaves no lock file behind.
#[derive(Debug)]
pub struct ProjectLock {
    lock: Option<FileLock>,
    project: ProjectName,
    /// Dropped after the lock file is gone, which makes room for it.
    _reserve: Reserve,
}

impl ProjectLock {
    /// Takes a project's lock, waiting at most `patience` for its holder.
    pub fn acquire(
        home: &Home,
        project: &ProjectName,
        command: &str,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let reserve = home.reserve();
        reserve.give_up_if_low();
        let lock = FileLock::acquire(&home.project_lock(project), command, patience)?;
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

/// Why a plan was not begun.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The world has changed since the plan was made.
    #[error("the plan is stale: project {project} has changed since it was made")]
    Stale {
        /// Whose plan it is.
        project: ProjectName,
    },
    /// The lock is another project's: a mistake of the caller.
    #[error("the lock held is that of project {held}, the plan is for {planned}")]
    WrongLock {
        /// Whose lock is held.
        held: ProjectName,
        /// Whose plan it is.
        planned: ProjectName,
    },
    /// The image store cannot be used.
    #[error(transparent)]
    ImageStore(executor_image::ImageError),
    /// It cannot be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Applier {
    /// Carries out a plan under its project's lock; refuses one whose snapshot is no longer true.
    ///
    /// `sought` are the images that the plan's snapshot was asked for.
    pub async fn apply(
        self: &Arc<Self>,
        plan: &PlanGraph,
        lock: &ProjectLock,
        sought: &Sought,
        interrupt: watch::Receiver<Interrupt>,
    ) -> Result<BTreeMap<StepId, StepResult>, ApplyError> {
        if lock.project != plan.project {
            return Err(ApplyError::WrongLock { held: lock.project.clone(), planned: plan.project.clone() });
        }
        // Until all is recorded, nobody may take an image for unused.
        let blobs = Blobs::open(&self.home.images()).map_err(ApplyError::ImageStore)?;
        let _held = blobs.lock_shared().map_err(ApplyError::ImageStore)?;
        let now = observe(&self.home, &self.catalog, &plan.project, &sought.again())?;
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
            let needs = standing::needs(plan, step);
            let (id, step) = (id.clone(), step.clone());
            async move {
                applier.require(&step.ensure, &needs).await?;
                let outcome = applier.ensure(&project, &id, &step.ensure).await?;
                if outcome != Outcome::NotNeeded {
                    applier.require_still(&project, &step.ensure, &needs).await?;
                }
                Ok(outcome)
            }
        };
        let mut results = walker.walk(act).await;
        if self.settings.waiting.until_settled {
            self.look_again(plan, &mut results, interrupt).await;
        }
        Ok(results)
    }
}
