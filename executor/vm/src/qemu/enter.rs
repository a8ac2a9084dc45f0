//! Starts the VM: one exec.

use super::{Qemu, cmdline, machine};
use crate::arch;
use crate::config::VmConfig;
use crate::driver::Accelerator;
use crate::vmm::VmmError;
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(super) fn enter(driver: &Qemu<'_>, config: &VmConfig) -> Result<Infallible, VmmError> {
    let mut config = config.clone();
    if driver.accelerator == Accelerator::Tcg
        && let Some(khz) = arch::counter_khz()
    {
        config.cmdline = format!("{} {}", cmdline::counter_words(khz), config.cmdline);
    }
    let arguments = machine::arguments(&config, driver.accelerator);
    let source = Command::new(driver.binary).args(arguments).exec();
    Err(VmmError::Qemu { binary: driver.binary.to_owned(), source })
}
