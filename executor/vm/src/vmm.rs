//! The VM's own process: reads its configuration and becomes the VM.
#![allow(unsafe_code, reason = "descriptors come in by number")]

use crate::config::VmConfig;
use rustix::process::{Signal, getppid};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// The largest configuration in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

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
    let config = read_config(config_descriptor)
        .map_err(|source| VmmError::Config { descriptor: config_descriptor, source })?;
    // An exec keeps the death signal, but a fork in between does not.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| VmmError::Tie { source: error.into() })?;
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(config.parent_pid) {
        return Err(VmmError::Orphaned);
    }
    config.backend.driver().enter(&config)
}

fn read_config(descriptor: RawFd) -> io::Result<VmConfig> {
    if descriptor < 3 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the launcher left this descriptor open for us alone; nothing else in this process knows it.
    // Reading a number that is not open fails, which is handled.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let mut text = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
