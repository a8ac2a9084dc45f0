//! The VM's own process: reads its configuration, enters its jail and becomes the VM.
#![allow(unsafe_code, reason = "descriptors are numbers in the configuration")]

use crate::config::VmConfig;
use crate::driver::Driver;
use crate::krun::fuse::FuseProblem;
use executor_jail::child::{EnterError, enter};
use executor_jail::{Access, Files, Handed, Jail, Report, probe};
use std::convert::Infallible;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;

/// A failure to become a VM.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    /// The process has no configuration, or no launcher.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The process cannot have a root directory of its own.
    #[error("cannot make a root directory for the VM's process")]
    Root {
        /// The cause.
        source: io::Error,
    },
    /// The mounts' file system cannot be mounted for libkrun.
    #[error("cannot mount the file system of the mounts")]
    Mounts {
        /// The failed step.
        #[from]
        source: FuseProblem,
    },
    /// The file server ended before it had the mounts' file system.
    #[error("cannot pass the mounts to their file server")]
    MountsServer {
        /// The cause.
        source: io::Error,
    },
    /// libkrun refused a part of the VM.
    #[error("libkrun's {call} failed")]
    Krun {
        /// The call.
        call: &'static str,
        /// Its error number.
        source: io::Error,
    },
    /// QEMU did not start.
    #[error("cannot run {}", binary.display())]
    Qemu {
        /// The program.
        binary: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Becomes the VM of the configuration in a descriptor, whose number is the last argument of the program that
/// [`crate::launch::launch`] starts. Call it before the process starts any thread.
///
/// With libkrun the process ends with the guest; with QEMU it is replaced.
///
/// # Errors
///
/// If the descriptor contains no configuration, the launcher has ended, or the driver fails.
pub fn run_vmm(config_descriptor: RawFd) -> Result<Infallible, VmmError> {
    let Handed { config, namespaces, limits, launcher } = enter::<VmConfig>(config_descriptor)?;
    let driver = config.backend.driver();
    let mut jail = Jail::new(&namespaces, &limits);
    jail.root(&driver.root(&config)).map_err(|source| VmmError::Root { source })?;
    driver.mount(&config, &namespaces)?;
    jail.capabilities(driver.capabilities(&config));
    // New credentials may have cleared it.
    launcher.tie()?;
    drop(launcher);
    jail.files(files(&config, driver.as_ref()));
    let confinement = jail.syscalls(&driver.syscalls(&config));
    let attempts = config.probe.as_ref().map(probe::run);
    let is_probe = attempts.is_some();
    Report { confinement, attempts: attempts.unwrap_or_default() }.send(config.report);
    if is_probe {
        std::process::exit(0);
    }
    driver.enter(&config)
}

/// As [`run_vmm`], without a jail: for measurements beside devices that no product's VM has. No program of the product calls
/// it.
///
/// # Errors
///
/// As [`run_vmm`].
pub fn run_vmm_without_jail(config_descriptor: RawFd) -> Result<Infallible, VmmError> {
    let Handed { config, .. } = enter::<VmConfig>(config_descriptor)?;
    config.backend.driver().enter(&config)
}

/// Returns the files that the process opens after this: those of the configuration, by `/proc/self/fd`, and the driver's own.
fn files<'a>(config: &'a VmConfig, driver: &dyn Driver) -> Files<'a> {
    let mut files = Files::default();
    let mut allow = |number: RawFd, access| files.allow(borrow(number), access);
    allow(config.kernel, Access::Read);
    allow(config.initramfs, Access::Read);
    for disk in &config.disks {
        allow(disk.file, if disk.read_only { Access::Read } else { Access::Write });
    }
    driver.allow_files(config, &mut files);
    files
}

/// Borrows a descriptor of the configuration.
fn borrow<'a>(number: RawFd) -> BorrowedFd<'a> {
    // SAFETY: `launch` leaves the descriptors of the configuration open, and nothing in this process closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}
