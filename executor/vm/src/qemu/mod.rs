//! QEMU's `microvm` machine: the process is replaced by `qemu-system-*`, with KVM if that works.

mod cmdline;
mod machine;
pub(crate) mod qmp;

use crate::arch;
use crate::config::VmConfig;
use crate::devices::DiskAddressing;
use crate::driver::{Accelerator, Driver, Features, MountsTransport};
use crate::vmm::VmmError;
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The driver.
pub(crate) struct Qemu<'a> {
    /// The emulator.
    pub(crate) binary: &'a Path,
    /// The execution of the guest's instructions.
    pub(crate) accelerator: Accelerator,
}

impl Driver for Qemu<'_> {
    /// Both ends of its link take the largest packets, and the larger they are, the fewer.
    fn features(&self) -> Features {
        Features { mtu: 65_520, disk_addressing: DiskAddressing::Serial, mounts: MountsTransport::VhostUser }
    }

    fn kernel_cmdline(&self, vcpus: u8, extra: &[String]) -> String {
        cmdline::kernel_cmdline(self.accelerator, vcpus, extra)
    }

    fn has_monitor(&self) -> bool {
        true
    }

    fn enter(&self, config: &VmConfig) -> Result<Infallible, VmmError> {
        let mut config = config.clone();
        if self.accelerator == Accelerator::Tcg
            && let Some(khz) = arch::counter_khz()
        {
            config.cmdline = format!("{} {}", cmdline::counter_words(khz), config.cmdline);
        }
        let source = Command::new(self.binary).args(machine::arguments(&config, self.accelerator)).exec();
        Err(VmmError::Qemu { binary: self.binary.to_owned(), source })
    }
}
