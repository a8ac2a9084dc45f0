//! Carries out plans on a snapshot: what a perfect executor leaves behind.

use petgraph::visit::Topo;
use planner::check::check;
use schemas::plan::{Ensure, Identity, PlanGraph, Step, StepId};
use schemas::snapshot::{Exit, Health, ObservedSandbox, ObservedVolume, Snapshot, Status};
use schemas::spec::{Condition, Role};
use std::collections::BTreeSet;

/// The steps in one order that the plan allows: of those that are ready, the first by id.
pub fn order(plan: &PlanGraph) -> Vec<&StepId> {
    check(plan).unwrap();
    let mut graph = petgraph::graph::DiGraph::new();
    let nodes: std::collections::BTreeMap<_, _> =
        plan.steps.keys().map(|id| (id, graph.add_node(id))).collect();
    for (id, step) in &plan.steps {
        for before in &step.after {
            graph.add_edge(nodes[before], nodes[id], ());
        }
    }
    let mut topological = Topo::new(&graph);
    let mut order = Vec::new();
    while let Some(node) = topological.next(&graph) {
        order.push(graph[node]);
    }
    order
}

/// The snapshot after the first `count` steps; all when there are fewer.
pub fn simulate_some(plan: &PlanGraph, snapshot: &Snapshot, count: usize) -> Snapshot {
    let mut world = snapshot.clone();
    let mut done = BTreeSet::new();
    for id in order(plan).into_iter().take(count) {
        let step = &plan.steps[id];
        assert!(step.after.is_subset(&done));
        carry_out(step, &mut world, id);
        done.insert(id.clone());
    }
    world
}

/// The snapshot after all steps.
pub fn simulate(plan: &PlanGraph, snapshot: &Snapshot) -> Snapshot {
    simulate_some(plan, snapshot, usize::MAX)
}

fn instance<'a>(world: &'a mut Snapshot, identity: &Identity, id: &StepId) -> &'a mut ObservedSandbox {
    let sandbox = world.sandboxes.get_mut(&identity.name).unwrap_or_else(|| panic!("{id}: nothing there"));
    assert_eq!(sandbox.id, identity.id, "{id}");
    sandbox
}

/// What each step promises, and what it may rely on.
fn carry_out(step: &Step, world: &mut Snapshot, id: &StepId) {
    match &step.ensure {
        Ensure::Image { image } => {
            world
                .images
                .values_mut()
                .filter(|seen| seen.digest == image.digest)
                .for_each(|seen| seen.built = true);
        }
        Ensure::Sandbox { identity, spec } => {
            let made = ObservedSandbox {
                id: identity.id.clone(),
                generation: identity.generation,
                spec: (**spec).clone(),
                status: Status::Stopped,
                hook_due: false,
            };
            if let Some(before) = world.sandboxes.insert(identity.name.clone(), made) {
                assert_eq!(before.id, identity.id, "{id}: the old generation is still there");
                assert!(!matches!(before.status, Status::Running { .. }), "{id}: it runs");
            }
        }
        Ensure::Started { identity, spec } => {
            let image = world.sandboxes.get(&identity.name).map(|sandbox| sandbox.spec.image.digest.clone());
            let built = world.images.values().any(|seen| Some(&seen.digest) == image.as_ref() && seen.built);
            assert!(built, "{id}: its image is not built");
            let sandbox = instance(world, identity, id);
            assert_eq!(sandbox.spec.digest(), *spec, "{id}");
            assert_ne!(sandbox.status, Status::Incomplete, "{id}");
            let healthcheck = sandbox.spec.definition.healthcheck.is_some();
            sandbox.status = match sandbox.spec.definition.role {
                Role::Job => Status::Exited { exit: Exit::Code { code: 0 } },
                Role::Service if healthcheck => Status::Running { health: Health::Healthy },
                Role::Service => Status::Running { health: Health::Unchecked },
            };
            let dependencies = sandbox.spec.definition.depends_on.clone();
            for (dependency, condition) in dependencies {
                let status = &world.sandboxes[&dependency].status;
                let holds = match condition {
                    Condition::Started => {
                        !matches!(status, Status::Stopped | Status::Lost | Status::Incomplete)
                    }
                    Condition::Healthy => *status == Status::Running { health: Health::Healthy },
                    Condition::Completed => *status == Status::Exited { exit: Exit::Code { code: 0 } },
                };
                assert!(holds, "{id}: {dependency} is not {condition} but {status:?}");
            }
        }
        Ensure::Condition { identity, condition: _ } => {
            // In this world all goes well in the end.
            let sandbox = instance(world, identity, id);
            sandbox.status = match (&sandbox.status, sandbox.spec.definition.role) {
                (Status::Running { .. }, Role::Job) => Status::Exited { exit: Exit::Code { code: 0 } },
                (Status::Running { .. }, Role::Service) if sandbox.spec.definition.healthcheck.is_some() => {
                    Status::Running { health: Health::Healthy }
                }
                (Status::Running { .. }, Role::Service) => Status::Running { health: Health::Unchecked },
                (Status::Exited { exit }, Role::Job) if exit.is_success() => sandbox.status.clone(),
                (other, _) => panic!("{id}: it is {other:?}"),
            };
        }
        Ensure::Volume { name, spec } => {
            world.volumes.insert(name.clone(), ObservedVolume { spec: spec.clone(), made: true });
        }
        Ensure::VolumeRemoved { name } => {
            assert!(world.volumes.remove(name).is_some(), "{id}: no such volume");
        }
        Ensure::Hook { identity, event: _, command: _ } => {
            instance(world, identity, id).hook_due = false;
        }
        Ensure::Live { identity, spec } => instance(world, identity, id).spec = (**spec).clone(),
        Ensure::Stopped { identity, spec } => {
            let sandbox = instance(world, identity, id);
            if sandbox.spec.digest() == *spec {
                sandbox.status = Status::Stopped;
            }
        }
        Ensure::Removed { identity } => {
            instance(world, identity, id);
            // Whoever depended on it, as recorded, must be gone or stopped before.
            world.sandboxes.remove(&identity.name);
        }
    }
}
