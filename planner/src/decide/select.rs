//! Selects the sandboxes of a plan.

use crate::{PlanError, Policy};
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;
use schemas::model::{Model, Replica, Sandbox};
use schemas::name::SandboxName;
use schemas::report::{OrphanCause, Reason};
use schemas::snapshot::Snapshot;
use schemas::spec::Condition;
use std::collections::{BTreeMap, BTreeSet};

/// The dependency graph: edges point from a sandbox to its dependencies.
struct Dependencies<'a> {
    graph: DiGraph<&'a SandboxName, ()>,
    nodes: BTreeMap<&'a SandboxName, NodeIndex>,
}

impl<'a> Dependencies<'a> {
    fn new(
        sandboxes: impl Iterator<Item = (&'a SandboxName, &'a BTreeMap<SandboxName, Condition>)> + Clone,
    ) -> Self {
        let mut graph = DiGraph::new();
        let nodes: BTreeMap<_, _> = sandboxes.clone().map(|(name, _)| (name, graph.add_node(name))).collect();
        for (name, dependencies) in sandboxes {
            for dependency in dependencies.keys() {
                // A record may name a dependency that is no longer recorded.
                if let Some(&to) = nodes.get(dependency) {
                    graph.add_edge(nodes[name], to, ());
                }
            }
        }
        Self { graph, nodes }
    }

    /// Returns the targets and everything reachable from them.
    fn reachable(&self, targets: &BTreeSet<SandboxName>) -> Result<BTreeSet<SandboxName>, PlanError> {
        let mut reached = BTreeSet::new();
        // One search for all targets, so that no node is visited twice.
        let mut search = Dfs::empty(&self.graph);
        for target in targets {
            let &node =
                self.nodes.get(target).ok_or_else(|| PlanError::UnknownTarget { name: target.clone() })?;
            search.move_to(node);
            while let Some(node) = search.next(&self.graph) {
                reached.insert(self.graph[node].clone());
            }
        }
        Ok(reached)
    }
}

/// The sandboxes that `up` is about.
pub struct Selection {
    /// The sandboxes of the model that take part.
    pub sandboxes: BTreeSet<SandboxName>,
    /// The recorded sandboxes that are not in the model.
    pub orphans: BTreeMap<SandboxName, Orphan>,
}

impl Selection {
    /// Returns whether the plan leaves a sandbox as it is.
    pub fn leaves(&self, name: &SandboxName) -> bool {
        !self.sandboxes.contains(name) && !self.removes(name)
    }

    /// Returns whether a recorded sandbox is removed because the model has it no longer.
    pub fn removes(&self, name: &SandboxName) -> bool {
        self.orphans.get(name).is_some_and(|orphan| orphan.is_removed)
    }
}

/// The fate of a recorded sandbox that is not in the model.
pub struct Orphan {
    /// Whether it is removed.
    pub is_removed: bool,
    /// Why it is removed or kept.
    pub reason: Reason,
}

/// Selects by the model: the targets, or else the sandboxes of the active profiles, and their dependencies.
pub fn for_up(model: &Model, observed: &Snapshot, policy: &Policy) -> Result<Selection, PlanError> {
    let sandboxes =
        model.sandboxes().iter().map(|sandbox| (sandbox.name(), &sandbox.definition().depends_on));
    let dependencies = Dependencies::new(sandboxes);
    if let Some(cycle) = tarjan_scc(&dependencies.graph).into_iter().find(|group| group.len() > 1) {
        let mut names: Vec<_> = cycle.into_iter().map(|node| dependencies.graph[node].clone()).collect();
        names.sort();
        return Err(PlanError::Cycle { names });
    }
    let is_active = |sandbox: &&Sandbox| {
        sandbox.profiles().is_empty() || !sandbox.profiles().is_disjoint(&policy.profiles)
    };
    let roots: BTreeSet<_> = if policy.targets.is_empty() {
        model.sandboxes().iter().filter(is_active).map(|sandbox| sandbox.name().clone()).collect()
    } else {
        let mut roots = BTreeSet::new();
        for target in &policy.targets {
            let named =
                model.sandbox(target).map_or_else(|| model.family(target).collect(), |sandbox| vec![sandbox]);
            if named.is_empty() {
                return Err(PlanError::UnknownTarget { name: target.clone() });
            }
            roots.extend(named.into_iter().map(|sandbox| sandbox.name().clone()));
        }
        roots
    };
    let sandboxes = dependencies.reachable(&roots)?;
    let orphans = orphans(model, observed, policy, &sandboxes);
    Ok(Selection { sandboxes, orphans })
}

fn orphans(
    model: &Model,
    observed: &Snapshot,
    policy: &Policy,
    selected: &BTreeSet<SandboxName>,
) -> BTreeMap<SandboxName, Orphan> {
    let families: BTreeMap<&str, &Sandbox> =
        model.sandboxes().iter().map(|sandbox| (sandbox.family().as_str(), sandbox)).collect();
    let decide = |name: &SandboxName| {
        let family = families.get(name.as_str()).or_else(|| families.get(replica_of(name.as_str())?));
        let (is_selected, cause) = match family {
            // Replicas of an unselected sandbox stay.
            Some(sandbox) => {
                let cause = match sandbox.replica() {
                    None => OrphanCause::NotReplicated { family: sandbox.name().clone() },
                    Some(Replica { family, count, .. }) if *family == *name => {
                        OrphanCause::NowReplicated { count: *count }
                    }
                    Some(Replica { count, .. }) => OrphanCause::SurplusReplica { count: *count },
                };
                (selected.contains(sandbox.name()), cause)
            }
            None => (policy.targets.is_empty(), OrphanCause::NotDeclared),
        };
        if !is_selected {
            return Orphan { is_removed: false, reason: Reason::NotSelected };
        }
        let is_removed = policy.remove_orphans;
        Orphan { is_removed, reason: Reason::Orphaned { cause, kept: !is_removed } }
    };
    let recorded = observed.sandboxes.keys().filter(|name| model.sandbox(name).is_none());
    recorded.map(|name| (name.clone(), decide(name))).collect()
}

/// Returns the name that a replica's name may derive from: `worker` for `worker-2`.
fn replica_of(name: &str) -> Option<&str> {
    let (family, number) = name.rsplit_once('-')?;
    let is_number = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !number.is_empty()).then_some(family)
}

/// Returns the names that recorded replicas may share: `worker` for `worker-1`. As a target of `down`, such a
/// name means all of them.
pub fn families(observed: &Snapshot) -> BTreeSet<SandboxName> {
    names(observed).filter_map(|name| SandboxName::new(replica_of(name.as_str())?).ok()).collect()
}

/// Returns the names of all recorded sandboxes.
fn names(observed: &Snapshot) -> impl Iterator<Item = &SandboxName> {
    observed.sandboxes.keys().chain(observed.unreadable.keys())
}

/// Selects by the records: the targets and their dependents.
pub fn for_down(
    observed: &Snapshot,
    targets: &BTreeSet<SandboxName>,
) -> Result<BTreeSet<SandboxName>, PlanError> {
    if targets.is_empty() {
        return Ok(names(observed).cloned().collect());
    }
    let mut dependencies = recorded(observed);
    dependencies.graph.reverse();
    let targets: BTreeSet<_> = targets.iter().flat_map(|target| replicas(observed, target)).collect();
    // The dependents of a sandbox with an unreadable record are unknown.
    let (alone, targets): (BTreeSet<_>, BTreeSet<_>) =
        targets.iter().cloned().partition(|target| is_only_unreadable(observed, target));
    Ok(dependencies.reachable(&targets)?.into_iter().chain(alone).collect())
}

/// Returns the recorded sandbox of this name, or else its recorded replicas.
fn replicas(observed: &Snapshot, target: &SandboxName) -> Vec<SandboxName> {
    if observed.sandboxes.contains_key(target) || observed.unreadable.contains_key(target) {
        return vec![target.clone()];
    }
    let is_replica = |name: &&SandboxName| replica_of(name.as_str()) == Some(target.as_str());
    let replicas: Vec<_> = names(observed).filter(is_replica).cloned().collect();
    if replicas.is_empty() { vec![target.clone()] } else { replicas }
}

fn is_only_unreadable(observed: &Snapshot, name: &SandboxName) -> bool {
    observed.unreadable.contains_key(name) && !observed.sandboxes.contains_key(name)
}

fn recorded(observed: &Snapshot) -> Dependencies<'_> {
    Dependencies::new(
        observed.sandboxes.iter().map(|(name, sandbox)| (name, &sandbox.spec.definition.depends_on)),
    )
}

/// Returns the order of teardowns as pairs `(dependent, dependency)`: the dependent ends first.
///
/// Records of different runs can disagree: after an interrupted `up`, `a` may still depend on `b` while `b`
/// already depends on `a`. Inside such a cycle the names decide.
pub fn teardown_order(observed: &Snapshot) -> Vec<(&SandboxName, &SandboxName)> {
    let Dependencies { graph, nodes: _ } = recorded(observed);
    let mut cycle_of = BTreeMap::new();
    for (number, cycle) in tarjan_scc(&graph).into_iter().enumerate() {
        for node in cycle {
            cycle_of.insert(node, number);
        }
    }
    let ends = graph.edge_indices().filter_map(|edge| graph.edge_endpoints(edge));
    ends.filter(|(from, to)| cycle_of[from] != cycle_of[to] || graph[*from] > graph[*to])
        .map(|(from, to)| (graph[from], graph[to]))
        .collect()
}
