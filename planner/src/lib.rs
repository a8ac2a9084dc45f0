//! Pure planning: desired model and observed snapshot in, plan graph and report out.
//!
//! ```text
//! Model ──┐                            ┌► volumes: what each one takes ─┐
//!         ├─ select: which sandboxes ─► block: what cannot be done         ├► graph: steps, their order ─► PlanGraph
//! Snapshot┘                            └► decide: what each one takes ────┘                        └────► Report
//!                                             └─ diff: field by field; drift: state that msb did not cause
//! ```
//!
//! Architecture invariant: a plan is a function of values. There is no clock, environment, file, network
//! or async here, as the manifest shows. Same values in, same bytes out.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod decide;
mod graph;
mod lifecycle;
mod plan_file;
mod policy;
mod rollback;
mod staleness;

pub use decide::select::families;
pub use graph::check;
pub use lifecycle::{LifecycleAction, plan_lifecycle, plan_volume_creation, plan_volume_removal};
#[cfg(any(test, fuzzing))]
pub use plan_file::sealed;
pub use plan_file::{PLAN_FILE_VERSION, PlanFile, PlanFileError};
pub use policy::Policy;
pub use rollback::{Rollback, rollback};
pub use schemas::snapshot::State;
pub use staleness::{Change, Staleness, Subject, staleness};

use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName, VolumeName};
use schemas::plan::PlanGraph;
use schemas::report::{Blocked, Report};
use schemas::snapshot::Snapshot;
use schemas::spec::{ImageReference, VolumeSpec};

/// Why planning failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Model and snapshot are of two projects: a mistake of the caller.
    #[error("the model is of project {model}, the snapshot of project {snapshot}")]
    WrongProject {
        /// The model's.
        model: ProjectName,
        /// The snapshot's.
        snapshot: ProjectName,
    },
    /// The snapshot does not say what an image holds: a mistake of the caller.
    #[error("the image {reference} of {sandbox} was not observed")]
    ImageNotObserved {
        /// The sandbox.
        sandbox: SandboxName,
        /// The image.
        reference: ImageReference,
    },
    /// There is no sandbox of this name to bring up or down.
    #[error("there is no sandbox {name:?}")]
    UnknownTarget {
        /// The target.
        name: SandboxName,
    },
    /// There is no volume of this name to remove.
    #[error("there is no volume {name:?}")]
    UnknownVolume {
        /// The target.
        name: VolumeName,
    },
    /// A sandbox mounts a volume that is to be removed.
    #[error("the volume {name} is mounted by {user}")]
    VolumeMounted {
        /// The volume.
        name: VolumeName,
        /// The sandbox, which may be stopped.
        user: SandboxName,
    },
    /// A volume of this name exists, and is another than the one to create.
    #[error("the volume {name} exists already: {spec}")]
    VolumeExists {
        /// The volume.
        name: VolumeName,
        /// Its spec.
        spec: VolumeSpec,
    },
    /// What is recorded of a sandbox cannot be compared with what is desired.
    #[error("the record of {name} cannot be read: {reason}")]
    Unreadable {
        /// The sandbox.
        name: SandboxName,
        /// Why.
        reason: String,
    },
    /// The dependencies have a cycle, which validation should have reported.
    #[error("{} depend on each other in a cycle", schemas::listing::names(names))]
    Cycle {
        /// The sandboxes in it.
        names: Vec<SandboxName>,
    },
}

/// Plans how to get from the observed state to the desired one; without a model, how to remove everything.
///
/// # Errors
///
/// Fails where model and snapshot do not fit together, a target is unknown, a record that is needed cannot be
/// read, or dependencies have a cycle.
pub fn plan(
    desired: Option<&Model>,
    observed: &Snapshot,
    policy: &Policy,
) -> Result<(PlanGraph, Report), PlanError> {
    let Planned { decisions, volumes, blocked } = match desired {
        Some(model) => up(model, observed, policy)?,
        None => down(observed, policy)?,
    };
    let plan = graph::build(&decisions, &volumes, observed, policy);
    debug_assert_eq!(check::check(&plan), Ok(()), "a finished plan is sound");
    let changes = decisions.into_iter().map(decide::Decision::into_change).collect();
    let volumes = volumes.into_iter().map(decide::volumes::VolumeDecision::into_change).collect();
    Ok((plan, Report { changes, volumes, blocked }))
}

/// Returns the selected sandboxes that are blocked. Unlike [`plan`], it needs no images.
///
/// # Errors
///
/// Fails where a target is unknown or dependencies have a cycle.
pub fn blocked(model: &Model, observed: &Snapshot, policy: &Policy) -> Result<Vec<Blocked>, PlanError> {
    let selection = decide::select::for_up(model, observed, policy)?;
    let blocks = decide::block::blocks(model, observed, policy, &selection);
    Ok(blocks.into_iter().map(|(name, reason)| Blocked { name, reason }).collect())
}

/// The decisions that steps are built from.
struct Planned<'a> {
    decisions: Vec<decide::Decision<'a>>,
    volumes: Vec<decide::volumes::VolumeDecision>,
    blocked: Vec<Blocked>,
}

fn up<'a>(model: &'a Model, observed: &Snapshot, policy: &Policy) -> Result<Planned<'a>, PlanError> {
    if model.project() != &observed.project {
        return Err(PlanError::WrongProject {
            model: model.project().clone(),
            snapshot: observed.project.clone(),
        });
    }
    let selection = decide::select::for_up(model, observed, policy)?;
    let blocks = decide::block::blocks(model, observed, policy, &selection);
    let active = selection.sandboxes.iter().filter(|name| !blocks.contains_key(*name)).cloned().collect();
    let volumes = decide::volumes::up(model, observed, policy, &selection, &active);
    let scope = decide::Scope { model, selection: &selection, blocks: &blocks, volumes: &volumes };
    let decisions = decide::up(&scope, observed, policy)?;
    let blocked = blocks.into_iter().map(|(name, reason)| Blocked { name, reason }).collect();
    Ok(Planned { decisions, volumes, blocked })
}

fn down(observed: &Snapshot, policy: &Policy) -> Result<Planned<'static>, PlanError> {
    let selected = decide::select::for_down(observed, &policy.targets)?;
    let volumes = decide::volumes::down(observed, policy, &selected);
    let decisions = decide::down(observed, &selected);
    Ok(Planned { decisions, volumes, blocked: Vec::new() })
}
