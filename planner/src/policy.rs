//! What the caller of the planner asks for beyond the model.

use schemas::name::SandboxName;
use std::collections::BTreeSet;

/// What the caller asks for beyond the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Only these sandboxes; all when empty. A name that several replicas share stands for all of them. On
    /// the way up their dependencies come with them, on the way down whatever depends on them.
    pub targets: BTreeSet<SandboxName>,
    /// The profiles that are active: a sandbox that has profiles takes part only with one of them, or when
    /// it is a target, or when another one that takes part depends on it.
    pub profiles: BTreeSet<String>,
    /// Whether recorded sandboxes that are not in the model are removed.
    pub remove_orphans: bool,
    /// Whether volumes are removed with the sandboxes that mount them, on the way down.
    pub remove_volumes: bool,
    /// Whether the plan ends only when every sandbox is healthy (with a health check), completed (a job)
    /// or started (all others).
    pub wait: bool,
    /// Whether sandboxes are started. Without it they are made, and what runs goes on as it is.
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
