//! Ports that move between sandboxes or are held by others: no step of a plan finds its port taken.

use crate::fixtures::{model, name, nothing, observe_images};
use crate::simulate::{Next, order, simulate};
use planner::{Policy, plan};
use proptest::prelude::*;
use schemas::model::Model;
use schemas::name::SandboxName;
use schemas::plan::Ensure;
use schemas::snapshot::{HeldPort, PortHolder, Snapshot, Status};
use schemas::spec::{DEFAULT_BIND, PortProtocol};
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const FIRST_PORT: u16 = 8000;

#[derive(Clone, Debug)]
struct Side {
    /// The sandboxes that there are, each with the place of its port, if it has one.
    sandboxes: BTreeMap<&'static str, Option<u16>>,
    /// Those that have another amount of memory, which takes a restart.
    restarted: BTreeSet<&'static str>,
}

impl Side {
    fn model(&self) -> Model {
        let mut text = String::new();
        for (name, port) in &self.sandboxes {
            let port = port.map(|port| format!("port \"{0}:{0}\"; ", FIRST_PORT + port)).unwrap_or_default();
            let memory = if self.restarted.contains(name) { 300 } else { 200 };
            text.push_str(&format!(
                "sandbox {name:?} {{ image \"./image\"; memory \"{memory}M\"; {port}}}\n"
            ));
        }
        // A Sandboxfile declares one at least.
        text.push_str("sandbox \"other\" { image \"./image\"; }\n");
        model(&text)
    }
}

fn side() -> impl Strategy<Value = Side> {
    let ports = Just(vec![0u16, 1, 2, 3]).prop_shuffle();
    let kinds =
        prop::collection::vec((prop::bool::weighted(0.8), prop::bool::weighted(0.7), any::<bool>()), 4);
    (ports, kinds).prop_map(|(ports, kinds)| {
        let each = || NAMES.into_iter().zip(ports.iter().copied()).zip(&kinds);
        let there = each().filter(|(_, (there, ..))| *there);
        Side {
            sandboxes: there.map(|((name, port), (_, has, _))| (name, has.then_some(port))).collect(),
            restarted: each().filter(|(_, (.., restarted))| *restarted).map(|((name, _), _)| name).collect(),
        }
    })
}

fn number(place: u16) -> u16 {
    FIRST_PORT + place
}

/// The port that a sandbox is to have.
fn port_of(model: &Model, name: &SandboxName) -> Option<u16> {
    model.sandbox(name)?.definition().ports.iter().next().map(|port| port.host)
}

fn held(world: &Snapshot, foreign: &[u16]) -> BTreeMap<u16, PortHolder> {
    let running = world.sandboxes.iter().filter(|(_, seen)| matches!(seen.status, Status::Running { .. }));
    let own = running.flat_map(|(name, seen)| {
        let holder = PortHolder::Sandbox { project: world.project.clone(), name: name.clone() };
        seen.spec.definition.ports.iter().map(move |port| (port.host, holder.clone()))
    });
    let mut held: BTreeMap<_, _> = own.collect();
    for place in foreign {
        held.entry(number(*place)).or_insert(PortHolder::Process { program: "nginx".to_owned(), pid: 12 });
    }
    held
}

/// Whether a sandbox and those whose ports it waits for pass them on in a circle, all of them while they run.
fn in_a_circle(start: &SandboxName, desired: &Model, held: &BTreeMap<u16, PortHolder>) -> bool {
    let mut at = start.clone();
    for _ in NAMES {
        let Some(PortHolder::Sandbox { name, .. }) = port_of(desired, &at).and_then(|port| held.get(&port))
        else {
            return false;
        };
        if name == start {
            return true;
        }
        at = name.clone();
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_step_finds_its_port_taken(
        (before, after) in (side(), side()),
        stopped in prop::collection::vec(prop::bool::weighted(0.2), 4),
        foreign in prop::collection::vec(0u16..4, 0..2),
        (remove_orphans, next) in (any::<bool>(), prop::sample::select(vec![Next::First, Next::Last])),
    ) {
        let desired = after.model();
        let mut world = nothing();
        let first = before.model();
        observe_images(&mut world, &first, &BTreeMap::new(), true);
        let (made, _) = plan(Some(&first), &world, &Policy::default()).unwrap();
        world = simulate(&made, &world);
        for (text, stopped) in NAMES.iter().zip(stopped) {
            if let Some(seen) = world.sandboxes.get_mut(&name(text)).filter(|_| stopped) {
                seen.status = Status::Stopped;
            }
        }
        observe_images(&mut world, &desired, &BTreeMap::new(), true);
        let mut has = held(&world, &foreign);
        let observed = |(host, holder): (&u16, &PortHolder)| HeldPort {
            bind: DEFAULT_BIND, host: *host, protocol: PortProtocol::Tcp, holder: holder.clone(),
        };
        world.held_ports = has.iter().map(observed).collect();
        let at_first = has.clone();
        let policy = Policy { remove_orphans, ..Policy::default() };
        let (second, report) = plan(Some(&desired), &world, &policy).unwrap();
        let own = |name: &SandboxName| PortHolder::Sandbox { project: world.project.clone(), name: name.clone() };
        for id in order(&second, next) {
            let ensure = &second.steps[id].ensure;
            let Some(identity) = ensure.identity() else { continue };
            match ensure {
                Ensure::Stopped { .. } | Ensure::Removed { .. } => has.retain(|_, holder| *holder != own(&identity.name)),
                Ensure::Live { .. } | Ensure::Started { .. } => {
                    let is_live = matches!(ensure, Ensure::Live { .. });
                    if let Some(port) = port_of(&desired, &identity.name) {
                        let holder = has.get(&port).filter(|holder| **holder != own(&identity.name));
                        let is_free = holder.is_none() || is_live && in_a_circle(&identity.name, &desired, &at_first);
                        prop_assert!(is_free, "{id}: {holder:?} has {port}");
                        has.retain(|_, holder| *holder != own(&identity.name));
                        has.insert(port, own(&identity.name));
                    } else {
                        has.retain(|_, holder| *holder != own(&identity.name));
                    }
                }
                _ => {}
            }
        }
        // A sandbox is blocked only if another process still holds the port, or two would swap.
        for blocked in &report.blocked {
            let port = port_of(&desired, &blocked.name).unwrap();
            let is_had = has.get(&port).is_some_and(|holder| *holder != own(&blocked.name));
            prop_assert!(is_had, "{blocked:?}");
        }
    }
}
