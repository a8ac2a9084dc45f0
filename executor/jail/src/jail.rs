//! Entering the jail, layer by layer. Each layer reports whether it is in force.

use crate::confinement::{Confinement, Layer};
use crate::files::Files;
use crate::namespaces::{Namespace, Obtained};
use crate::root::RootPlan;
use crate::syscalls::SyscallList;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// A jail that this process enters. Call the methods in their order here, while the process has one thread: each layer
/// takes away what an earlier one needed.
#[derive(Debug)]
pub struct Jail<'a> {
    namespaces: &'a Obtained,
    confinement: Confinement,
}

impl<'a> Jail<'a> {
    /// Starts with the namespaces and the limits that the launcher has given this process.
    pub fn new(namespaces: &'a Obtained, limits: &Layer) -> Self {
        Self { namespaces, confinement: Confinement::new(namespaces, limits) }
    }

    /// Gives this process a root directory of its own.
    ///
    /// # Errors
    ///
    /// If the process is left without a usable root. Where the host does not allow one of its own, this changes nothing.
    pub fn root(&mut self, plan: &RootPlan) -> std::io::Result<()> {
        self.confinement.root = if self.namespaces.has(Namespace::Mount) {
            plan.enter(self.namespaces)?
        } else {
            Layer::Missing { why: "it has no mount namespace of its own".to_owned() }
        };
        Ok(())
    }

    /// Gives up all capabilities but these, as far as the process has them, also those that a program could gain by being executed.
    pub fn capabilities(&mut self, kept: CapabilitySet) {
        let kept = kept & capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
        // Fails without CAP_SETPCAP, that is if there is nothing to give up.
        for capability in CapabilitySet::all().iter().filter(|capability| !kept.contains(*capability)) {
            let _ = remove_capability_from_bounding_set(capability);
        }
        let _ = clear_ambient_capability_set();
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        self.confinement.capabilities = match set_capabilities(None, sets) {
            Ok(()) => Layer::InForce,
            Err(error) => Layer::Missing { why: error.to_string() },
        };
    }

    /// Allows this process to open these files only.
    pub fn files(&mut self, files: Files<'_>) {
        self.confinement.files = files.restrict();
    }

    /// Allows this process these system calls only. Returns what is in force.
    pub fn syscalls(mut self, list: &SyscallList) -> Confinement {
        self.confinement.syscalls = match list.enforce() {
            Ok(()) => Layer::InForce,
            Err(error) => Layer::Missing { why: error.to_string() },
        };
        self.confinement
    }
}
