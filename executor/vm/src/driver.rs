//! Drivers by name, and their common interface.

use crate::config::VmConfig;
use crate::devices::DiskAddressing;
use crate::krun::fuse::{FuseProblem, can_mount_fuse};
use crate::vmm::VmmError;
use executor_jail::syscalls::SyscallList;
use executor_jail::{Files, Obtained, RootPlan, Users};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A driver.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, schemars::JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// libkrun, in a process of msb itself. Needs KVM.
    Krun,
    /// QEMU's `microvm` machine. Runs on any host.
    Qemu,
}

impl DriverKind {
    /// All drivers, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Krun, Self::Qemu];

    /// Returns its name on the command line and in reports.
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

/// An unknown name of a driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no driver '{name}', only krun and qemu")]
pub struct UnknownDriver {
    /// The given name.
    pub name: String,
}

impl FromStr for DriverKind {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownDriver { name: name.to_owned() })
    }
}

/// The execution of a guest's instructions by QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the hardware, with the host's kernel.
    Kvm,
    /// By translation.
    Tcg,
}

/// A driver with its settings for this host.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "driver")]
pub enum Backend {
    /// libkrun.
    Krun,
    /// QEMU.
    Qemu {
        /// The emulator.
        binary: PathBuf,
        /// The execution of the guest's instructions.
        accelerator: Accelerator,
    },
}

impl Backend {
    /// Returns the kind of its driver.
    pub const fn kind(&self) -> DriverKind {
        match self {
            Self::Krun => DriverKind::Krun,
            Self::Qemu { .. } => DriverKind::Qemu,
        }
    }
}

/// Properties of a driver that the rest of a sandbox is configured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The largest IP packet of a network link, in bytes.
    pub mtu: u16,
    /// How guests find their disks.
    pub disk_addressing: DiskAddressing,
    /// What a mounts link carries.
    pub mounts: MountsTransport,
}

/// The protocol of a mounts link between a VM's process and its file server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountsTransport {
    /// The vhost-user protocol, with the VM's process as the front end.
    VhostUser,
    /// One message from the VM's process, with the descriptor of a mounted FUSE device.
    Fuse,
}

/// The two halves of a driver. The launcher asks for features, command line and monitor while it writes the
/// configuration; the process of the VM then calls [`Driver::enter`] once, which returns only on failure.
pub(crate) trait Driver {
    /// Returns its properties.
    fn features(&self) -> Features;

    /// Returns the whole kernel command line: the driver's own words, then the given ones.
    fn kernel_cmdline(&self, extra: &[String]) -> String;

    /// Whether its VMs report events, over the socket that [`VmConfig::monitor`] names.
    fn has_monitor(&self) -> bool;

    /// Returns the users that exist for the process of a VM.
    fn users(&self, mounts: bool) -> Users;

    /// Returns the host's files that the process of a VM has in its root directory.
    fn root(&self, config: &VmConfig) -> RootPlan;

    /// Mounts what the VM needs in its root directory. The process can still do so; later it cannot.
    fn mount(&self, _config: &VmConfig, _namespaces: &Obtained) -> Result<(), VmmError> {
        Ok(())
    }

    /// Returns the capabilities that the process keeps, in its user namespace.
    fn capabilities(&self, _config: &VmConfig) -> CapabilitySet {
        CapabilitySet::empty()
    }

    /// Allows access to the files that the driver opens besides those of the configuration.
    fn allow_files(&self, config: &VmConfig, files: &mut Files<'_>);

    /// Returns the system calls that the process makes.
    fn syscalls(&self, config: &VmConfig) -> SyscallList;

    /// Turns the calling process into the VM. Every descriptor of the configuration must be open.
    fn enter(&self, config: &VmConfig) -> Result<Infallible, VmmError>;
}

impl Backend {
    /// Returns the properties of its driver.
    pub fn features(&self) -> Features {
        self.driver().features()
    }

    /// Checks that its VMs can have mounts on this host. For some drivers this starts a process.
    ///
    /// # Errors
    ///
    /// The step that fails.
    pub fn check_mounts(&self) -> Result<(), FuseProblem> {
        match self.features().mounts {
            MountsTransport::VhostUser => Ok(()),
            MountsTransport::Fuse => can_mount_fuse(),
        }
    }

    /// Returns its implementation.
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
