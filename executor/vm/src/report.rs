//! The report of `msb doctor` about running VMs on this host, as data.

use crate::arch;
use crate::choose::{Choice, Problem, choose, usable_kvm, usable_qemu};
use crate::driver::{Backend, DriverKind};
use crate::host::{HostFacts, QemuState};
use serde::Serialize;

/// The report on this host.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct HostReport {
    /// The finding about KVM.
    pub kvm: Check,
    /// The finding about QEMU.
    pub qemu: Check,
    /// The finding about libkrun, which is built in.
    pub krun: Check,
    /// The driver that is chosen now; `None` if none works.
    pub chosen: Option<Backend>,
    /// The reason for the choice, or for its failure.
    pub why: String,
    /// Possible improvements.
    pub missing: Vec<Missing>,
}

/// A finding about one part of the host.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct Check {
    /// Whether the part works.
    pub usable: bool,
    /// The finding as text.
    pub detail: String,
}

/// A possible improvement.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct Missing {
    /// The problem.
    pub what: String,
    /// The next step.
    pub next_step: String,
    /// Whether no VM runs without it.
    pub fatal: bool,
}

impl HostReport {
    /// Reports on these facts, for the driver of `--driver` or `MSB_DRIVER`.
    pub fn new(facts: &HostFacts, wish: Option<DriverKind>) -> Self {
        let HostFacts { kvm, qemu } = facts;
        let kvm_problem = usable_kvm(kvm).err();
        let qemu_problem = usable_qemu(qemu).err();
        let choice = choose(facts, wish);
        let chosen = choice.as_ref().ok().map(|choice| choice.backend.clone());
        let refused = chosen.is_none();
        let mut missing = Vec::new();
        for (problem, other) in [(&kvm_problem, DriverKind::Qemu), (&qemu_problem, DriverKind::Krun)] {
            if let Some(Problem { what, help }) = problem {
                let fatal = refused && wish != Some(other);
                missing.push(Missing { what: what.clone(), next_step: help.clone(), fatal });
            }
        }
        let krun_detail = match &kvm_problem {
            None => "built in, KVM works".to_owned(),
            Some(_) => "built in, needs KVM".to_owned(),
        };
        Self {
            krun: Check { usable: kvm_problem.is_none(), detail: krun_detail },
            kvm: check(kvm_problem, || "the processor virtualizes, and a VM could be created".to_owned()),
            qemu: check(qemu_problem, || qemu_found(qemu)),
            chosen,
            why: choice.map_or_else(|refusal| refusal.to_string(), |Choice { reason, .. }| reason),
            missing,
        }
    }
}

fn check(problem: Option<Problem>, found: impl FnOnce() -> String) -> Check {
    match problem {
        None => Check { usable: true, detail: found() },
        Some(Problem { what, .. }) => Check { usable: false, detail: what },
    }
}

fn qemu_found(state: &QemuState) -> String {
    match state {
        QemuState::Usable { binary, version } => format!("{}, version {version}", binary.display()),
        QemuState::TooOld { binary, .. } | QemuState::Broken { binary, .. } => binary.display().to_string(),
        QemuState::Missing => arch::QEMU_BINARY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{KvmState, QEMU_VERSION_MIN};

    #[test]
    fn a_host_without_virtualization_still_has_a_driver() {
        let qemu = QemuState::Usable { binary: "/usr/bin/qemu".into(), version: QEMU_VERSION_MIN };
        let report = HostReport::new(&HostFacts { kvm: KvmState::NoPermission, qemu }, None);
        assert_eq!(report.chosen.as_ref().map(Backend::kind), Some(DriverKind::Qemu));
        assert!(!report.kvm.usable && report.qemu.usable && !report.krun.usable);
        assert_eq!(report.missing.len(), 1);
        assert!(!report.missing[0].fatal);
        assert!(report.missing[0].next_step.contains("usermod"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["chosen"]["driver"], "qemu");
        assert_eq!(json["qemu"]["detail"], "/usr/bin/qemu, version 7.2");
    }

    #[test]
    fn a_missing_driver_is_fatal() {
        let facts = HostFacts { kvm: KvmState::NoDevice, qemu: QemuState::Missing };
        let report = HostReport::new(&facts, None);
        assert_eq!(report.chosen, None);
        assert!(report.missing.iter().all(|missing| missing.fatal));
        let report = HostReport::new(&facts, Some(DriverKind::Krun));
        assert_eq!(report.missing.iter().map(|missing| missing.fatal).collect::<Vec<_>>(), [true, false]);
    }
}
