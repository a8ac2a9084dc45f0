//! libkrun: the process itself becomes the VM. Needs KVM.

mod cmdline;
mod enter;
mod machine;

use crate::config::VmConfig;
use crate::devices::DiskAddressing;
use crate::driver::{Driver, Features};
use crate::vmm::VmmError;
use std::convert::Infallible;

/// The driver.
pub(crate) struct Krun;

impl Driver for Krun {
    /// Its guests have no receive buffers for more than ethernet's own packets.
    fn features(&self) -> Features {
        Features { mtu: 1500, disk_addressing: DiskAddressing::Index }
    }

    fn kernel_cmdline(&self, _vcpus: u8, extra: &[String]) -> String {
        cmdline::kernel_cmdline(extra)
    }

    /// Its guests get an I/O error if the host's disk is full.
    fn has_monitor(&self) -> bool {
        false
    }

    fn enter(&self, config: &VmConfig) -> Result<Infallible, VmmError> {
        enter::enter(config)
    }
}
