//! Which sandboxes a plan is about.

use crate::PlanError;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;
use schemas::model::Model;
use schemas::name::SandboxName;
use schemas::snapshot::Snapshot;
use schemas::spec::Condition;
use std::collections::{BTreeMap, BTreeSet};

/// Who depends on whom, as a graph: an edge leads from a sandbox to its dependency.
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
                // A record may name what is recorded no longer.
                if let Some(&to) = nodes.get(dependency) {
                    graph.add_edge(nodes[name], to, ());
                }
            }
        }
        Self { graph, nodes }
    }

    /// These names and everything that can be reached from them.
    fn reachable(&self, targets: &BTreeSet<SandboxName>) -> Result<BTreeSet<SandboxName>, PlanError> {
        let mut reached = BTreeSet::new();
        for target in targets {
            let &node =
                self.nodes.get(target).ok_or_else(|| PlanError::UnknownTarget { name: target.clone() })?;
            let mut search = Dfs::new(&self.graph, node);
            while let Some(node) = search.next(&self.graph) {
                reached.insert(self.graph[node].clone());
            }
        }
        Ok(reached)
    }

    fn all(&self) -> BTreeSet<SandboxName> {
        self.nodes.keys().map(|&name| name.clone()).collect()
    }
}

/// The targets and what they depend on, by the model.
pub fn for_up(model: &Model, targets: &BTreeSet<SandboxName>) -> Result<BTreeSet<SandboxName>, PlanError> {
    let sandboxes =
        model.sandboxes().iter().map(|sandbox| (sandbox.name(), &sandbox.definition().depends_on));
    let dependencies = Dependencies::new(sandboxes);
    if let Some(circle) = tarjan_scc(&dependencies.graph).into_iter().find(|group| group.len() > 1) {
        let mut names: Vec<_> = circle.into_iter().map(|node| dependencies.graph[node].clone()).collect();
        names.sort();
        return Err(PlanError::Cycle { names });
    }
    if targets.is_empty() { Ok(dependencies.all()) } else { dependencies.reachable(targets) }
}

/// The targets and what depends on them, by the records.
pub fn for_down(
    observed: &Snapshot,
    targets: &BTreeSet<SandboxName>,
) -> Result<BTreeSet<SandboxName>, PlanError> {
    let mut dependencies = recorded(observed);
    dependencies.graph.reverse();
    if targets.is_empty() {
        return Ok(dependencies.all().into_iter().chain(observed.unreadable.keys().cloned()).collect());
    }
    // Nobody knows who depends on one whose record cannot be read.
    let (alone, targets): (BTreeSet<_>, BTreeSet<_>) =
        targets.iter().cloned().partition(|target| is_only_unreadable(observed, target));
    Ok(dependencies.reachable(&targets)?.into_iter().chain(alone).collect())
}

fn is_only_unreadable(observed: &Snapshot, name: &SandboxName) -> bool {
    observed.unreadable.contains_key(name) && !observed.sandboxes.contains_key(name)
}

fn recorded(observed: &Snapshot) -> Dependencies<'_> {
    Dependencies::new(
        observed.sandboxes.iter().map(|(name, sandbox)| (name, &sandbox.spec.definition.depends_on)),
    )
}

/// Whom each recorded sandbox must be gone before: `(dependent, dependency)`.
///
/// Records of different runs can disagree: `a` still says that it depends on `b`, `b` already that it
/// depends on `a`, when an `up` was cut off in between. Inside such a circle the names decide.
pub fn teardown_order(observed: &Snapshot) -> Vec<(&SandboxName, &SandboxName)> {
    let Dependencies { graph, nodes: _ } = recorded(observed);
    let mut circle_of = BTreeMap::new();
    for (number, circle) in tarjan_scc(&graph).into_iter().enumerate() {
        for node in circle {
            circle_of.insert(node, number);
        }
    }
    let ends = graph.edge_indices().filter_map(|edge| graph.edge_endpoints(edge));
    ends.filter(|(from, to)| circle_of[from] != circle_of[to] || graph[*from] > graph[*to])
        .map(|(from, to)| (graph[from], graph[to]))
        .collect()
}
