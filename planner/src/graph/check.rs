//! Checks the invariants of a plan. Tests call it on every plan, and planning itself does in debug builds.

use petgraph::algo::toposort;
use petgraph::graph::DiGraph;
use schemas::name::{SandboxId, SandboxName};
use schemas::plan::{Ensure, PlanGraph, StepId};
use schemas::spec::{Condition, HookEvent};
use std::collections::{BTreeMap, BTreeSet};

/// A violated invariant of a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// A step waits for one that does not exist.
    #[error("{step} comes after {missing}, which is not in the plan")]
    Dangling {
        /// The step.
        step: StepId,
        /// The step that it waits for.
        missing: StepId,
    },
    /// Steps wait for each other.
    #[error("{step} comes after itself")]
    Cycle {
        /// One of them.
        step: StepId,
    },
    /// Two steps of one instance have no order, or the wrong one.
    #[error("{later} must come after {earlier}")]
    Disorder {
        /// The step that must come first.
        earlier: StepId,
        /// The step that must come later.
        later: StepId,
    },
    /// One name has steps of two instances, and the old one is not removed.
    #[error("{name} has steps of several instances, and none is removed")]
    TwoInstances {
        /// The sandbox.
        name: SandboxName,
    },
    /// Something other than its removal happens to an instance that is removed.
    #[error("{step} is about an instance that is removed")]
    Revived {
        /// The step.
        step: StepId,
    },
}

/// Checks a plan.
///
/// # Errors
///
/// Returns the first violation.
pub fn check(plan: &PlanGraph) -> Result<(), Unsound> {
    let mut graph = DiGraph::new();
    let nodes: BTreeMap<_, _> = plan.steps.keys().map(|id| (id, graph.add_node(id))).collect();
    for (id, step) in &plan.steps {
        for before in &step.after {
            let &from = nodes
                .get(before)
                .ok_or_else(|| Unsound::Dangling { step: id.clone(), missing: before.clone() })?;
            graph.add_edge(from, nodes[id], ());
        }
    }
    toposort(&graph, None).map_err(|cycle| Unsound::Cycle { step: graph[cycle.node_id()].clone() })?;
    check_instances(plan)
}

/// The rank of a wait that a post-start hook may need, and that nothing else has to come after.
const UP: u8 = 4;

/// The steps of one sandbox, each after the one before: pre-stop hook, stop or removal, record, start, the
/// wait until it is up, post-start hook, all other waits.
fn check_instances(plan: &PlanGraph) -> Result<(), Unsound> {
    let mut steps: BTreeMap<&SandboxName, Vec<(u8, &StepId)>> = BTreeMap::new();
    let mut instances: BTreeMap<&SandboxName, BTreeSet<&SandboxId>> = BTreeMap::new();
    let mut removed: BTreeSet<&SandboxId> = BTreeSet::new();
    for (id, step) in &plan.steps {
        let rank = match &step.ensure {
            Ensure::Image { image: _ } | Ensure::Volume { .. } | Ensure::VolumeRemoved { .. } => continue,
            Ensure::Hook { event: HookEvent::PreStop, .. } => 0,
            Ensure::Stopped { .. } => 1,
            Ensure::Removed { identity } => {
                removed.insert(&identity.id);
                1
            }
            Ensure::Sandbox { .. } | Ensure::Live { .. } => 2,
            Ensure::Started { .. } => 3,
            Ensure::Condition { condition: Condition::Started, .. } => UP,
            Ensure::Hook { event: HookEvent::PostStart, .. } => 5,
            Ensure::Condition { .. } => 6,
        };
        if let Some(identity) = step.ensure.identity() {
            steps.entry(&identity.name).or_default().push((rank, id));
            instances.entry(&identity.name).or_default().insert(&identity.id);
        }
    }
    for (name, ids) in instances {
        if ids.len() > 1 && !ids.iter().any(|id| removed.contains(id)) {
            return Err(Unsound::TwoInstances { name: name.clone() });
        }
    }
    for (id, step) in &plan.steps {
        if let Some(identity) = step.ensure.identity()
            && removed.contains(&identity.id)
            && !matches!(step.ensure, Ensure::Removed { .. } | Ensure::Hook { event: HookEvent::PreStop, .. })
        {
            return Err(Unsound::Revived { step: id.clone() });
        }
    }
    for own in steps.values_mut() {
        own.sort();
        let ranks: Vec<u8> = own.iter().map(|(rank, _)| *rank).collect();
        for &(rank, later) in own.iter() {
            // The nearest rank below must be among the direct predecessors.
            let below = |other: &&u8| **other < rank && (**other != UP || rank == UP + 1);
            let Some(below) = ranks.iter().filter(below).max() else { continue };
            for (_, earlier) in own.iter().filter(|(other, _)| other == below) {
                if !plan.steps[later].after.contains(*earlier) {
                    return Err(Unsound::Disorder { earlier: (*earlier).clone(), later: later.clone() });
                }
            }
        }
    }
    Ok(())
}
