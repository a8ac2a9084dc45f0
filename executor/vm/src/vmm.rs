//! The VM's own process: reads its configuration and becomes the VM.

use crate::config::VmConfig;
use crate::krun::fuse::FuseProblem;
use executor_host::child::{read_config, tie_to_launcher};
use std::convert::Infallible;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// A failure to become a VM.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    /// The descriptor is not open, or contains no configuration.
    #[error("descriptor {descriptor} holds no VM configuration: `msb vmm` is started by msb itself")]
    Config {
        /// The given number.
        descriptor: RawFd,
        /// The cause.
        source: io::Error,
    },
    /// The launcher has ended.
    #[error("the process that launched this VM has ended")]
    Orphaned,
    /// The kernel refused to send a signal at the launcher's end.
    #[error("cannot tie this VM to its launcher")]
    Tie {
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
    let config: VmConfig = read_config(config_descriptor)
        .map_err(|source| VmmError::Config { descriptor: config_descriptor, source })?;
    // An exec keeps the death signal, but a fork in between does not.
    tie(config.parent_pid)?;
    config.backend.driver().enter(&config)
}

/// Ties this process to its launcher.
pub(crate) fn tie(launcher_pid: i32) -> Result<(), VmmError> {
    match tie_to_launcher(launcher_pid) {
        Ok(true) => Ok(()),
        Ok(false) => Err(VmmError::Orphaned),
        Err(source) => Err(VmmError::Tie { source }),
    }
}
