//! From decisions to steps and their order.
//!
//! ```text
//!   image ──► (remove | stop) ──► sandbox ──► start ──► wait, for whoever needs it ──► start of a dependent
//!                    ▲
//!   (remove | stop) of its dependents, as recorded
//! ```
//!
//! Ends of instances follow the recorded dependencies backwards, starts follow the desired ones forwards,
//! and no end ever waits for a start: so there is no circle.

use crate::decide::{Decision, Record, Teardown, Wanted};
use crate::select;
use schemas::name::SandboxName;
use schemas::plan::{Ensure, Identity, PLAN_VERSION, PlanGraph, Step, StepId};
use schemas::snapshot::{Health, Snapshot, Status};
use schemas::spec::{Condition, PinnedImage, Role};
use std::collections::{BTreeMap, BTreeSet};

/// The finished plan.
pub fn build(decisions: &[Decision], observed: &Snapshot, wait: bool) -> PlanGraph {
    let by_name = decisions.iter().map(|decision| (&decision.name, decision)).collect();
    let mut builder = Builder {
        observed,
        by_name,
        steps: BTreeMap::new(),
        last: BTreeMap::new(),
        teardowns: BTreeMap::new(),
    };
    for decision in decisions {
        builder.image(decision);
    }
    for decision in decisions {
        builder.teardown(decision);
    }
    builder.order_teardowns();
    for decision in decisions {
        builder.make(decision);
    }
    for decision in decisions {
        builder.await_dependencies(decision);
    }
    if wait {
        for decision in decisions {
            builder.await_end(decision);
        }
    }
    PlanGraph {
        version: PLAN_VERSION,
        project: observed.project.clone(),
        snapshot: observed.digest(),
        steps: builder.steps,
    }
}

struct Builder<'a> {
    observed: &'a Snapshot,
    by_name: BTreeMap<&'a SandboxName, &'a Decision>,
    steps: BTreeMap<StepId, Step>,
    /// The last step so far of each sandbox that has any.
    last: BTreeMap<&'a SandboxName, StepId>,
    teardowns: BTreeMap<&'a SandboxName, StepId>,
}

impl<'a> Builder<'a> {
    fn add(&mut self, id: &StepId, ensure: Ensure, after: impl IntoIterator<Item = StepId>) {
        let step = self.steps.entry(id.clone()).or_insert(Step { ensure, after: BTreeSet::new() });
        step.after.extend(after);
    }

    fn image(&mut self, decision: &Decision) {
        let Some(Wanted { spec, build_image: true, .. }) = &decision.wanted else { return };
        let id = image_id(&spec.image);
        self.add(&id, Ensure::Image { image: spec.image.clone() }, []);
    }

    fn teardown(&mut self, decision: &'a Decision) {
        let image = match &decision.wanted {
            Some(Wanted { spec, build_image: true, .. }) => Some(image_id(&spec.image)),
            _ => None,
        };
        let (id, ensure) = match &decision.teardown {
            None => return,
            Some(Teardown::Stop(identity, spec)) => (
                step_id("stop", identity, None),
                Ensure::Stopped { identity: identity.clone(), spec: spec.clone() },
            ),
            Some(Teardown::Remove(identity)) => {
                let generation = decision.wanted.as_ref().map(|_| identity.generation);
                (step_id("remove", identity, generation), Ensure::Removed { identity: identity.clone() })
            }
        };
        // An image that cannot be built must not cost the sandbox that runs.
        self.add(&id, ensure, image);
        self.last.insert(&decision.name, id.clone());
        self.teardowns.insert(&decision.name, id);
    }

    fn order_teardowns(&mut self) {
        for (dependent, dependency) in select::teardown_order(self.observed) {
            if let (Some(first), Some(then)) = (self.teardowns.get(dependent), self.teardowns.get(dependency))
                && let Some(step) = self.steps.get_mut(then)
            {
                step.after.insert(first.clone());
            }
        }
    }

    fn make(&mut self, decision: &'a Decision) {
        let Some(Wanted { identity, spec, build_image, record, start }) = &decision.wanted else { return };
        let generation =
            matches!(decision.teardown, Some(Teardown::Remove(_))).then_some(identity.generation);
        let image = build_image.then(|| image_id(&spec.image));
        let recorded = match record {
            Record::AsIs => None,
            Record::Made => Some((
                step_id("sandbox", identity, generation),
                Ensure::Sandbox { identity: identity.clone(), spec: Box::new(spec.clone()) },
            )),
            Record::Live => Some((
                step_id("live", identity, generation),
                Ensure::Live { identity: identity.clone(), spec: Box::new(spec.clone()) },
            )),
        };
        if let Some((id, ensure)) = recorded {
            let after = self.last.get(&decision.name).or(image.as_ref()).cloned();
            self.add(&id, ensure, after);
            self.last.insert(&decision.name, id);
        }
        if *start {
            let id = step_id("start", identity, generation);
            let ensure = Ensure::Started { identity: identity.clone(), spec: spec.digest() };
            let after = self.last.get(&decision.name).or(image.as_ref()).cloned();
            self.add(&id, ensure, after);
            self.last.insert(&decision.name, id);
        }
    }

    fn await_dependencies(&mut self, decision: &Decision) {
        let Some(Wanted { identity, spec, start: true, .. }) = &decision.wanted else { return };
        let generation =
            matches!(decision.teardown, Some(Teardown::Remove(_))).then_some(identity.generation);
        for (dependency, &condition) in &spec.definition.depends_on {
            if let Some(wait) = self.condition(dependency, condition)
                && let Some(step) = self.steps.get_mut(&step_id("start", identity, generation))
            {
                step.after.insert(wait);
            }
        }
    }

    fn await_end(&mut self, decision: &Decision) {
        let Some(Wanted { spec, .. }) = &decision.wanted else { return };
        let condition = match (spec.definition.role, &spec.definition.healthcheck) {
            (Role::Job, _) => Condition::Completed,
            (Role::Service, Some(_)) => Condition::Healthy,
            (Role::Service, None) => Condition::Started,
        };
        self.condition(&decision.name, condition);
    }

    /// The step that waits for a sandbox's condition, unless it holds and nothing happens to the sandbox.
    fn condition(&mut self, name: &SandboxName, condition: Condition) -> Option<StepId> {
        let decision = *self.by_name.get(name)?;
        let wanted = decision.wanted.as_ref()?;
        let last = self.last.get(name).cloned();
        let status = self.observed.sandboxes.get(name).map(|sandbox| &sandbox.status);
        if last.is_none() && status.is_some_and(|status| holds(status, condition)) {
            return None;
        }
        let id = StepId::new(format!("wait/{name}/{condition}"));
        let ensure = Ensure::Condition { identity: wanted.identity.clone(), condition };
        self.add(&id, ensure, last);
        Some(id)
    }
}

/// Whether a sandbox as observed has reached a condition.
fn holds(status: &Status, condition: Condition) -> bool {
    match (status, condition) {
        (Status::Running { health }, Condition::Started) => *health != Health::Booting,
        (Status::Running { health }, Condition::Healthy) => *health == Health::Healthy,
        (Status::Exited { exit }, Condition::Started | Condition::Completed) => exit.is_success(),
        (Status::Running { .. }, Condition::Completed)
        | (Status::Exited { .. }, Condition::Healthy)
        | (Status::Incomplete | Status::Stopped | Status::Lost, _) => false,
    }
}

fn image_id(image: &PinnedImage) -> StepId {
    StepId::new(format!("image/{}", image.digest.short()))
}

/// `start/web`, or `start/web@2` in a plan that touches two generations of `web`.
fn step_id(verb: &str, identity: &Identity, generation: Option<u32>) -> StepId {
    let name = &identity.name;
    StepId::new(match generation {
        None => format!("{verb}/{name}"),
        Some(generation) => format!("{verb}/{name}@{generation}"),
    })
}
