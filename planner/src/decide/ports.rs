//! Ports of the host: conflicts with their present owners, and the owners that release them first.

use crate::decide::select::Selection;
use crate::decide::volumes::runs;
use rules::port::binds_overlap;
use schemas::model::Sandbox;
use schemas::name::{ProjectName, SandboxName};
use schemas::report::BlockReason;
use schemas::snapshot::{HeldPort, ObservedSandbox, PortHolder, Snapshot, Status};
use schemas::spec::{Definition, PinnedImage, Port, Role};
use std::collections::BTreeMap;

/// Returns the ports that a sandbox needs and does not hold yet. Port 0 picks a free one and is always available.
fn missing<'a>(
    (image, definition): (Option<&PinnedImage>, &'a Definition),
    recorded: Option<&'a ObservedSandbox>,
    start: bool,
) -> impl Iterator<Item = &'a Port> {
    let running = recorded.filter(|recorded| runs(&recorded.status));
    // A completed job does not run again.
    let is_done = recorded.is_some_and(|recorded| {
        let ended_well = matches!(&recorded.status, Status::Exited { exit } if exit.is_success());
        let is_same = Some(&recorded.spec.image) == image && recorded.spec.definition == *definition;
        definition.role == Role::Job && ended_well && is_same
    });
    let is_to_run = running.is_some() || (start && !is_done);
    let has = move |port: &Port| running.is_some_and(|own| own.spec.definition.ports.contains(port));
    definition.ports.iter().filter(move |port| is_to_run && port.host != 0 && !has(port))
}

/// Returns the holders of a port, or of one that overlaps with it.
fn holders<'a>(port: &Port, observed: &'a Snapshot) -> impl Iterator<Item = &'a PortHolder> {
    let port = *port;
    let overlaps = move |held: &&HeldPort| {
        let HeldPort { bind, host, protocol, holder: _ } = held;
        *host == port.host && *protocol == port.protocol && binds_overlap(*bind, port.bind)
    };
    observed.held_ports.iter().filter(overlaps).map(|held| &held.holder)
}

/// Returns the other sandboxes of the project that hold ports which this one needs.
pub fn current_owners<'a>(
    name: &SandboxName,
    (image, definition): (&PinnedImage, &Definition),
    observed: &'a Snapshot,
    start: bool,
) -> Vec<&'a SandboxName> {
    let missing = missing((Some(image), definition), observed.sandboxes.get(name), start);
    let own = missing.flat_map(|port| holders(port, observed)).filter_map(|holder| match holder {
        PortHolder::Sandbox { project, name: other } if *project == observed.project && other != name => {
            Some(other)
        }
        PortHolder::Sandbox { .. } | PortHolder::Process { .. } | PortHolder::Unknown => None,
    });
    own.collect()
}

/// The port conflicts of the selected sandboxes.
pub struct Ports<'a> {
    observed: &'a Snapshot,
    selection: &'a Selection,
    /// The sandboxes that need a port which is held, with the holders.
    conflicts: BTreeMap<&'a SandboxName, Vec<(Port, &'a PortHolder)>>,
}

impl<'a> Ports<'a> {
    /// Finds the conflicts of every selected sandbox.
    pub fn new(
        observed: &'a Snapshot,
        selection: &'a Selection,
        selected: &[&'a Sandbox],
        start: bool,
    ) -> Self {
        if observed.held_ports.is_empty() {
            return Self { observed, selection, conflicts: BTreeMap::new() };
        }
        let conflicts = |sandbox: &&'a Sandbox| {
            let recorded = observed.sandboxes.get(sandbox.name());
            let digest = observed.image(sandbox.image()).map(|image| image.digest.clone());
            let image = digest.map(|digest| PinnedImage { reference: sandbox.image().clone(), digest });
            let missing = missing((image.as_ref(), sandbox.definition()), recorded, start);
            let held: Vec<_> = missing
                .flat_map(|port| holders(port, observed).map(|holder| (*port, holder)))
                .filter(|(_, holder)| !is(holder, &observed.project, sandbox.name()))
                .collect();
            (!held.is_empty()).then_some((sandbox.name(), held))
        };
        let conflicts = selected.iter().filter_map(conflicts).collect();
        Self { observed, selection, conflicts }
    }

    /// Returns why a sandbox cannot have its ports, whatever happens to the other selected ones.
    pub fn reason(&self, name: &SandboxName) -> Option<BlockReason> {
        self.conflicts.get(name)?.iter().find_map(|(port, holder)| match holder {
            PortHolder::Process { .. } | PortHolder::Unknown => Some(taken(port, holder)),
            PortHolder::Sandbox { project, name: other } if *project == self.observed.project => {
                if self.selection.leaves(other) {
                    Some(in_use(port, other))
                } else if self.conflicts_with(other, name) {
                    Some(BlockReason::PortSwap { other: other.clone() })
                } else {
                    None
                }
            }
            PortHolder::Sandbox { .. } => Some(taken(port, holder)),
        })
    }

    /// Returns the sandboxes that need a port which a blocked one keeps, each with the reason.
    pub fn waiting_for(&self, blocked: &SandboxName) -> Vec<(&'a SandboxName, BlockReason)> {
        let wants = |(name, held): (&&'a SandboxName, &Vec<(Port, &PortHolder)>)| {
            let (port, _) = held.iter().find(|(_, holder)| is(holder, &self.observed.project, blocked))?;
            Some((*name, in_use(port, blocked)))
        };
        self.conflicts.iter().filter_map(wants).collect()
    }

    /// Returns whether one sandbox needs a port that the other one holds.
    fn conflicts_with(&self, by: &SandboxName, of: &SandboxName) -> bool {
        let held = self.conflicts.get(by).map(Vec::as_slice).unwrap_or_default();
        held.iter().any(|(_, holder)| is(holder, &self.observed.project, of))
    }
}

fn is(holder: &PortHolder, own: &ProjectName, sandbox: &SandboxName) -> bool {
    matches!(holder, PortHolder::Sandbox { project, name } if project == own && name == sandbox)
}

fn taken(port: &Port, holder: &PortHolder) -> BlockReason {
    BlockReason::PortTaken { bind: port.bind, port: port.host, holder: holder.clone() }
}

fn in_use(port: &Port, by: &SandboxName) -> BlockReason {
    BlockReason::PortInUse { bind: port.bind, port: port.host, by: by.clone() }
}
