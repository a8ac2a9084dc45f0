//! Progress of `apply` as typed events.

use crate::apply::{Outcome, StepFailure};
use schemas::plan::StepId;
use std::time::Duration;

/// An event while a plan is carried out.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A step begins.
    Began {
        /// The step.
        step: &'a StepId,
    },
    /// A long step has made progress.
    Progress {
        /// The step.
        step: &'a StepId,
        /// The units done so far.
        done: u64,
        /// The units in total, if they are known.
        total: Option<u64>,
        /// The unit's name: `files`, `bytes`.
        unit: &'static str,
        /// For the pull of an image: its complete layers, and all of its layers.
        layers: Option<(usize, usize)>,
    },
    /// A step has succeeded, and that is recorded.
    Succeeded {
        /// The step.
        step: &'a StepId,
        /// The change that it made.
        outcome: Outcome,
        /// Its duration.
        took: Duration,
    },
    /// A step has failed.
    Failed {
        /// The step.
        step: &'a StepId,
        /// The cause.
        failure: &'a StepFailure,
    },
    /// A problem that does not fail its step.
    Warned {
        /// The step.
        step: &'a StepId,
        /// The problem.
        failure: &'a StepFailure,
    },
    /// A step was interrupted after its begin.
    Interrupted {
        /// The step.
        step: &'a StepId,
    },
    /// A step was not begun, or a wait was ended early.
    Skipped {
        /// The step.
        step: &'a StepId,
        /// The failed step that is the reason; `None` after an interrupt.
        because: Option<&'a StepId>,
    },
}

/// Receives events, from several tasks.
pub trait Reporter: Send + Sync {
    /// Receives one event. Must not block.
    fn event(&self, event: &Event<'_>);
}

/// A reporter that ignores all events.
#[derive(Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: &Event<'_>) {}
}
