//! The VM's own process: reads its configuration and becomes the VM.
#![allow(unsafe_code, reason = "descriptors come in by number")]

use crate::config::VmConfig;
use rustix::process::{Signal, getppid};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// More than any configuration has, in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Why the process did not become a VM.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    /// Not a descriptor, or not one that holds a configuration.
    #[error("descriptor {descriptor} holds no VM configuration: `msb vmm` is started by msb itself")]
    Config {
        /// The number given.
        descriptor: RawFd,
        /// Why.
        source: io::Error,
    },
    /// The launcher ended meanwhile.
    #[error("the process that launched this VM has ended")]
    Orphaned,
    /// The kernel refused what every kernel grants.
    #[error("cannot tie this VM to its launcher")]
    Tie {
        /// Why.
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
        /// Why.
        source: io::Error,
    },
}

/// Becomes the VM that the configuration behind a descriptor describes; the number is the last argument
/// that [`crate::launch::launch`] gives. Call it before the process has started any thread.
///
/// With libkrun the process ends with the guest. With QEMU it is replaced.
pub fn run_vmm(config_descriptor: RawFd) -> Result<Infallible, VmmError> {
    let config = read_config(config_descriptor)
        .map_err(|source| VmmError::Config { descriptor: config_descriptor, source })?;
    // An exec keeps the death signal; a program in between that forked would not have it.
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
    // A number that is not open gives a read error, which is handled.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let mut text = Vec::new();
    file.take(CONFIG_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
