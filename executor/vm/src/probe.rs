//! Tries what the jail of a VM's process must not allow, from a process that is in it.

use crate::driver::Backend;
use crate::launch::{LaunchError, VmmCommand, start};
use crate::spec::{Disk, DiskFormat, VmSpec};
use executor_jail::probe::ProbeTargets;
use executor_jail::{JailReport, Report};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A failure to probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A file to try cannot be created.
    #[error("cannot create a temporary file in the state folder")]
    File {
        /// The cause.
        source: io::Error,
    },
    /// The process does not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The process has not reported.
    #[error("the process in the jail has ended without a report")]
    Silent,
}

/// Starts a process in the jail of this driver's VMs, which tries what it must not do, and ends.
///
/// `folder` is on a file system with files of VMs. `foreign` names files of the host.
///
/// # Errors
///
/// If the process does not start, or ends without a report.
pub fn probe(
    command: VmmCommand,
    backend: &Backend,
    folder: &Path,
    foreign: Vec<String>,
) -> Result<Report, ProbeError> {
    let disk = |id: &str, file: OwnedFd, read_only| Disk {
        id: id.to_owned(),
        file,
        read_only,
        format: DiskFormat::Raw,
    };
    let (targets, read_only, writable) =
        ProbeTargets::create(folder, foreign).map_err(|source| ProbeError::File { source })?;
    let targets = ProbeTargets { executes: matches!(backend, Backend::Qemu { .. }), ..targets };
    let null = File::open("/dev/null").map_err(|source| ProbeError::File { source })?;
    let spec = VmSpec {
        kernel: "/dev/null".into(),
        initramfs: "/dev/null".into(),
        extra_cmdline: Vec::new(),
        vcpus: 1,
        memory_mib: crate::spec::MEMORY_MIB_MIN,
        disks: vec![disk("base", read_only, true), disk("writable", writable, false)],
        ports: Vec::new(),
        network: None,
        mounts: None,
        console: null.into(),
    };
    let mut process = start(command, backend, spec, Some(targets))?.process;
    let _ = process.wait();
    process.take_report().and_then(JailReport::read).ok_or(ProbeError::Silent)
}
