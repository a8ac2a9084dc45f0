//! The options of a plan beyond the model.

use schemas::name::SandboxName;
use std::collections::BTreeSet;

/// The options of a plan beyond the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The targets; all sandboxes when empty. A name that replicas share means all of them. `up` includes their
    /// dependencies, `down` their dependents.
    pub targets: BTreeSet<SandboxName>,
    /// The active profiles: a sandbox with profiles takes part only with one of them, as a target, or as a
    /// dependency of a sandbox that takes part.
    pub profiles: BTreeSet<String>,
    /// Whether recorded sandboxes that are not in the model are removed.
    pub remove_orphans: bool,
    /// Whether `down` removes volumes with the sandboxes that mount them.
    pub remove_volumes: bool,
    /// Whether the plan ends only when every sandbox is healthy (with a health check), completed (a job)
    /// or started (all others).
    pub wait: bool,
    /// Whether sandboxes are started. If not, they are created, and running ones stay as they are.
    pub start: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            targets: BTreeSet::new(),
            profiles: BTreeSet::new(),
            remove_orphans: false,
            remove_volumes: false,
            wait: false,
            start: true,
        }
    }
}
