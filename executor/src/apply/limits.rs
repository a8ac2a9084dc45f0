//! The default limit on steps at once.
//!
//! One per processor, but no more virtual machines than fit into the host's available memory, by the largest sandbox that
//! the plan starts. A plan that starts nothing mostly waits for guests to end, and has a higher limit.

use schemas::plan::{Ensure, PlanGraph};
use schemas::snapshot::Snapshot;
use std::collections::HashMap;

/// The limit per processor for plans that only stop or remove sandboxes.
const ENDS_PER_PROCESSOR: usize = 4;

/// Returns the default for one plan on this host.
pub(super) fn default_parallel(plan: &PlanGraph, observed: &Snapshot) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match largest_start_mib(plan, observed) {
        None => processors * ENDS_PER_PROCESSOR,
        Some(largest) => starts_at_once(processors, available_mib(), largest),
    }
}

fn starts_at_once(processors: usize, available_mib: Option<u64>, largest_mib: u64) -> usize {
    let fitting = available_mib.map_or(usize::MAX, |available| {
        usize::try_from(available / largest_mib.max(1)).unwrap_or(usize::MAX)
    });
    processors.min(fitting).max(1)
}

/// Returns the memory of the largest sandbox that a plan starts, in MiB.
fn largest_start_mib(plan: &PlanGraph, observed: &Snapshot) -> Option<u64> {
    let recorded = observed.sandboxes.values().map(|sandbox| (&sandbox.id, &sandbox.spec));
    let planned = plan.steps.values().filter_map(|step| match &step.ensure {
        Ensure::Sandbox { identity, spec } => Some((&identity.id, &**spec)),
        _ => None,
    });
    // Specs of the plan come later in the chain and replace the recorded ones.
    let specs: HashMap<_, _> = recorded.chain(planned).collect();
    let started = plan.steps.values().filter_map(|step| match &step.ensure {
        Ensure::Started { identity, .. } => {
            Some(specs.get(&identity.id).map_or(0, |spec| u64::from(spec.definition.memory_mib)))
        }
        _ => None,
    });
    started.max()
}

/// Reads the memory that is available without swapping.
fn available_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_bounds_what_starts_at_once() {
        assert_eq!(starts_at_once(8, Some(64_000), 512), 8);
        assert_eq!(starts_at_once(8, Some(3_000), 1_024), 2);
        // At least one step may always run.
        assert_eq!(starts_at_once(8, Some(100), 1_024), 1);
        assert_eq!(starts_at_once(8, None, 1_024), 8);
        assert!(available_mib().is_some_and(|mib| mib > 0));
    }
}
