//! Pure planning: desired model and observed snapshot in, plan graph and report out.
//!
//! ```text
//! Model ──┐
//!         ├─ select: which sandboxes ─► decide: what each one takes ─► graph: steps and their order ─► PlanGraph
//! Snapshot┘                                   └─ diff: field by field                            └────► Report
//! ```
//!
//! Architecture invariant: a plan is a function of values. There is no clock, environment, file, network
//! or async here, as the manifest shows. Same values in, same bytes out.

pub mod check;
mod decide;
mod diff;
mod graph;
mod select;
mod undo;

pub use undo::{Undo, undo};

use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName};
use schemas::plan::PlanGraph;
use schemas::report::Report;
use schemas::snapshot::Snapshot;
use schemas::spec::ImageReference;
use std::collections::BTreeSet;

/// What the caller asks for beyond the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Only these sandboxes; all when empty. On the way up their dependencies come with them, on the way
    /// down whatever depends on them.
    pub targets: BTreeSet<SandboxName>,
    /// Whether recorded sandboxes that are not in the model are removed.
    pub remove_orphans: bool,
    /// Whether the plan ends only when every sandbox is healthy (with a health check), completed (a job)
    /// or started (all others).
    pub wait: bool,
    /// Whether sandboxes are started. Without it they are made, and what runs goes on as it is.
    pub start: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { targets: BTreeSet::new(), remove_orphans: false, wait: false, start: true }
    }
}

/// Why nothing can be planned.
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
        /// Whose image.
        sandbox: SandboxName,
        /// Which image.
        reference: ImageReference,
    },
    /// There is no sandbox of this name to bring up or down.
    #[error("there is no sandbox {name:?}")]
    UnknownTarget {
        /// What was asked for.
        name: SandboxName,
    },
    /// What is recorded of a sandbox cannot be compared with what is desired.
    #[error("the record of {name} cannot be read: {reason}")]
    Unreadable {
        /// Whose record.
        name: SandboxName,
        /// Why.
        reason: String,
    },
    /// Sandboxes depend on each other in a circle, which validation should have told.
    #[error("{} depend on each other in a circle", names.iter().map(SandboxName::as_str).collect::<Vec<_>>().join(", "))]
    Cycle {
        /// Who is in it.
        names: Vec<SandboxName>,
    },
}

/// What takes the observed state to the desired one. Without a model, everything recorded is removed.
pub fn plan(
    desired: Option<&Model>,
    observed: &Snapshot,
    policy: &Policy,
) -> Result<(PlanGraph, Report), PlanError> {
    let decisions = match desired {
        Some(model) => {
            if model.project() != &observed.project {
                return Err(PlanError::WrongProject {
                    model: model.project().clone(),
                    snapshot: observed.project.clone(),
                });
            }
            let selected = select::for_up(model, &policy.targets)?;
            decide::up(model, observed, policy, &selected)?
        }
        None => decide::down(observed, &select::for_down(observed, &policy.targets)?),
    };
    let plan = graph::build(&decisions, observed, policy.wait && policy.start);
    debug_assert_eq!(check::check(&plan), Ok(()), "a finished plan is sound");
    let changes = decisions.into_iter().map(decide::Decision::into_change).collect();
    Ok((plan, Report { changes, volumes: Vec::new(), blocked: Vec::new() }))
}
