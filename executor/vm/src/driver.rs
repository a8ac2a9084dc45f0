//! Drivers by name, and what each of them has to do.

use crate::config::VmConfig;
use crate::vmm::VmmError;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// libkrun, in a process of ours. Needs KVM.
    Krun,
    /// QEMU's `microvm` machine. Runs anywhere.
    Qemu,
}

impl DriverKind {
    /// All of them, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Krun, Self::Qemu];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Krun => "krun",
            Self::Qemu => "qemu",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no driver's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no driver '{name}', only krun and qemu")]
pub struct UnknownDriver {
    /// The name given.
    pub name: String,
}

impl FromStr for DriverKind {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownDriver { name: name.to_owned() })
    }
}

/// What makes QEMU's processors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The hardware, through the host's kernel.
    Kvm,
    /// Nothing: every instruction is translated.
    Tcg,
}

/// A driver with all that it needs to know of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "driver")]
pub enum Backend {
    /// libkrun.
    Krun,
    /// QEMU.
    Qemu {
        /// The emulator.
        binary: PathBuf,
        /// How it runs the guest's processors.
        accelerator: Accelerator,
    },
}

impl Backend {
    /// Its driver.
    pub const fn kind(&self) -> DriverKind {
        match self {
            Self::Krun => DriverKind::Krun,
            Self::Qemu { .. } => DriverKind::Qemu,
        }
    }
}

/// What a driver does. The order of calls: [`Driver::kernel_cmdline`] in the supervisor, and [`Driver::has_monitor`] in the
/// supervisor, when it writes the configuration of the process to be; then, in that process and with that configuration, once,
/// [`Driver::enter`], which returns only if no VM came of it.
pub(crate) trait Driver {
    /// The whole kernel command line, the words that the driver itself needs in front of the given ones.
    fn kernel_cmdline(&self, vcpus: u8, extra: &[String]) -> String;

    /// Whether its VMs report events, over the socket that [`VmConfig::monitor`] names.
    fn has_monitor(&self) -> bool;

    /// Turns the calling process into the VM. Every descriptor in the configuration is open.
    fn enter(&self, config: &VmConfig) -> Result<Infallible, VmmError>;
}

impl Backend {
    /// The code behind it.
    pub(crate) fn driver(&self) -> Box<dyn Driver + '_> {
        match self {
            Self::Krun => Box::new(crate::krun::Krun),
            Self::Qemu { binary, accelerator } => {
                Box::new(crate::qemu::Qemu { binary, accelerator: *accelerator })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in DriverKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert!("kvm".parse::<DriverKind>().is_err());
    }
}
