//! Chooses the driver: a pure function of the host's facts and the requested driver.

use crate::arch;
use crate::driver::{Accelerator, Backend, DriverKind};
use crate::host::{HostFacts, KVM_DEVICE, KvmState, QEMU_VERSION_MIN, QemuState};
use serde::Serialize;
use std::path::Path;

/// A chosen driver with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The driver with its settings.
    pub backend: Backend,
    /// The reason, as half a sentence.
    pub reason: String,
}

/// The reason for which no VM can run on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// A driver was requested and does not work.
    #[error("driver {driver} was asked for, but {problem}")]
    Requested {
        /// The driver.
        driver: DriverKind,
        /// The problem of KVM or QEMU.
        problem: String,
        /// The next step.
        help: String,
    },
    /// No driver was requested, and none works.
    #[error("no VM can run here: {kvm_problem}, and {qemu_problem}")]
    None {
        /// The problem of KVM.
        kvm_problem: String,
        /// The problem of QEMU.
        qemu_problem: String,
        /// The next step.
        help: String,
    },
}

impl ChooseError {
    /// Returns the next step.
    pub fn help(&self) -> &str {
        match self {
            Self::Requested { help, .. } | Self::None { help, .. } => help,
        }
    }
}

/// Chooses a driver. `wish` is the driver of `--driver` or `MSB_DRIVER`, which is never replaced by another one.
///
/// # Errors
///
/// If the requested driver does not work, or none does.
pub fn choose(facts: &HostFacts, wish: Option<DriverKind>) -> Result<Choice, ChooseError> {
    let kvm = usable_kvm(&facts.kvm);
    let qemu = usable_qemu(&facts.qemu).map(|binary| Backend::Qemu {
        binary: binary.to_owned(),
        accelerator: if kvm.is_ok() { Accelerator::Kvm } else { Accelerator::Tcg },
    });
    if let Some(driver) = wish {
        let found = match driver {
            DriverKind::Krun => kvm.map(|()| Backend::Krun).map_err(|Problem { what, help }| Problem {
                what,
                help: format!("{help}; or use --driver qemu, which needs no KVM"),
            }),
            DriverKind::Qemu => qemu,
        };
        return found
            .map(|backend| Choice { backend, reason: "it was asked for".to_owned() })
            .map_err(|Problem { what: problem, help }| ChooseError::Requested { driver, problem, help });
    }
    match (kvm, qemu) {
        (Ok(()), _) => Ok(Choice { backend: Backend::Krun, reason: "KVM works".to_owned() }),
        (Err(kvm), Ok(backend)) => {
            Ok(Choice { backend, reason: format!("{}, so QEMU emulates the processor", kvm.what) })
        }
        (Err(kvm), Err(qemu)) => Err(ChooseError::None {
            kvm_problem: kvm.what,
            qemu_problem: qemu.what,
            help: format!("{}; or {}", qemu.help, kvm.help),
        }),
    }
}

/// A problem and the next step, both as half sentences.
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) help: String,
}

/// Checks that KVM runs guests.
pub(crate) fn usable_kvm(state: &KvmState) -> Result<(), Problem> {
    let (what, help) = match state {
        KvmState::Usable => return Ok(()),
        KvmState::NoCpuSupport => (
            format!("the processor shows no virtualization ({})", arch::VIRTUALIZATION_FLAGS.join(", ")),
            "switch virtualization on in the firmware, or nested virtualization in the cloud's settings"
                .to_owned(),
        ),
        KvmState::NoDevice => {
            (format!("there is no {KVM_DEVICE}"), "load the kvm_intel or kvm_amd module".to_owned())
        }
        KvmState::NoPermission => (
            format!("{KVM_DEVICE} may not be opened"),
            "join its group with `sudo usermod -aG kvm $USER` and log in again".to_owned(),
        ),
        KvmState::Broken { detail } => {
            (format!("KVM creates no VM ({detail})"), "see `dmesg | grep -i kvm`".to_owned())
        }
    };
    Err(Problem { what, help })
}

/// Finds a usable QEMU.
pub(crate) fn usable_qemu(state: &QemuState) -> Result<&Path, Problem> {
    let install =
        || format!("install QEMU {QEMU_VERSION_MIN} or newer (`apt-get install {}`)", arch::QEMU_PACKAGE);
    let (what, help) = match state {
        QemuState::Usable { binary, .. } => return Ok(binary),
        QemuState::Missing => (format!("{} is not on PATH", arch::QEMU_BINARY), install()),
        QemuState::TooOld { binary, version } => (
            format!("{} is version {version}, and {QEMU_VERSION_MIN} is needed", binary.display()),
            install(),
        ),
        QemuState::Broken { binary, detail } => (
            format!("{} does not run ({detail})", binary.display()),
            format!("run `{} --version` by hand", binary.display()),
        ),
    };
    Err(Problem { what, help })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::QemuVersion;

    fn good_qemu() -> QemuState {
        QemuState::Usable { binary: "/usr/bin/qemu".into(), version: QEMU_VERSION_MIN }
    }

    fn old_qemu() -> QemuState {
        QemuState::TooOld { binary: "/usr/bin/qemu".into(), version: QemuVersion { major: 6, minor: 0 } }
    }

    /// Summarizes a choice: driver and accelerator, or the refusing driver.
    fn outcome(kvm: KvmState, qemu: QemuState, wish: Option<DriverKind>) -> &'static str {
        match choose(&HostFacts { kvm, qemu }, wish) {
            Ok(Choice { backend: Backend::Krun, .. }) => "krun",
            Ok(Choice { backend: Backend::Qemu { accelerator: Accelerator::Kvm, .. }, .. }) => "qemu+kvm",
            Ok(Choice { backend: Backend::Qemu { accelerator: Accelerator::Tcg, .. }, .. }) => "qemu+tcg",
            Err(ChooseError::Requested { driver: DriverKind::Krun, .. }) => "no krun",
            Err(ChooseError::Requested { driver: DriverKind::Qemu, .. }) => "no qemu",
            Err(ChooseError::None { .. }) => "none",
        }
    }

    #[test]
    fn the_whole_table() {
        use DriverKind::{Krun, Qemu};
        use KvmState::{NoCpuSupport, NoPermission, Usable};
        let table = [
            (Usable, good_qemu(), None, "krun"),
            (Usable, QemuState::Missing, None, "krun"),
            (Usable, good_qemu(), Some(Krun), "krun"),
            (Usable, good_qemu(), Some(Qemu), "qemu+kvm"),
            (Usable, QemuState::Missing, Some(Qemu), "no qemu"),
            (NoCpuSupport, good_qemu(), None, "qemu+tcg"),
            (NoCpuSupport, good_qemu(), Some(Krun), "no krun"),
            (NoCpuSupport, good_qemu(), Some(Qemu), "qemu+tcg"),
            (NoPermission, old_qemu(), None, "none"),
            (NoPermission, old_qemu(), Some(Qemu), "no qemu"),
            (KvmState::NoDevice, QemuState::Missing, None, "none"),
            (KvmState::Broken { detail: "busy".into() }, good_qemu(), None, "qemu+tcg"),
        ];
        for (kvm, qemu, wish, expected) in table {
            let case = format!("{kvm:?} {qemu:?} {wish:?}");
            assert_eq!(outcome(kvm, qemu, wish), expected, "{case}");
        }
    }

    #[test]
    fn a_refusal_names_the_next_step() {
        let facts = HostFacts { kvm: KvmState::NoPermission, qemu: QemuState::Missing };
        for wish in [None, Some(DriverKind::Krun)] {
            let refusal = choose(&facts, wish).unwrap_err();
            assert!(refusal.help().contains("usermod"), "{}", refusal.help());
        }
        assert!(choose(&facts, None).unwrap_err().help().contains("apt-get install"));
    }

    #[test]
    fn the_reason_says_why_not_the_other() {
        let facts = HostFacts { kvm: KvmState::NoDevice, qemu: good_qemu() };
        assert_eq!(
            choose(&facts, None).unwrap().reason,
            "there is no /dev/kvm, so QEMU emulates the processor"
        );
    }
}
