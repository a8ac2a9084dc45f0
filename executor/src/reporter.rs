//! Progress, as typed events: what `apply` does is told here, and shown by whoever likes.

use crate::apply::{Outcome, StepFailure};
use schemas::plan::StepId;
use std::time::Duration;

/// What happens while a plan is carried out.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A step begins.
    Began {
        /// Which.
        step: &'a StepId,
    },
    /// A step that takes long is at this point.
    Progress {
        /// Which.
        step: &'a StepId,
        /// Done so far.
        done: u64,
        /// In all, when it is known.
        total: Option<u64>,
        /// The unit's name: `files`, `bytes`.
        unit: &'static str,
        /// Of an image that is pulled: how many of its layers are here, and how many it has.
        layers: Option<(usize, usize)>,
    },
    /// A step has ended well, and that is recorded.
    Succeeded {
        /// Which.
        step: &'a StepId,
        /// Whether there was anything to do.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// A step has failed.
    Failed {
        /// Which.
        step: &'a StepId,
        /// Why.
        failure: &'a StepFailure,
    },
    /// Something of a step went wrong that does not make it fail.
    Warned {
        /// Which.
        step: &'a StepId,
        /// What went wrong.
        failure: &'a StepFailure,
    },
    /// A step was begun, and given up because everything was told to stop.
    Interrupted {
        /// Which.
        step: &'a StepId,
    },
    /// A step was not begun, or was only a wait and has been given up.
    Skipped {
        /// Which.
        step: &'a StepId,
        /// The step whose failure is the reason; none when everything was told to stop.
        because: Option<&'a StepId>,
    },
}

/// Takes events; called from several tasks.
pub trait Reporter: Send + Sync {
    /// Takes one event. Must not wait.
    fn event(&self, event: &Event<'_>);
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: &Event<'_>) {}
}
