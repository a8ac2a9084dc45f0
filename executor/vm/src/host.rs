//! Facts about running VMs on this host. [`observe`] collects them, [`crate::choose()`] decides.

use crate::arch;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The device of the kernel's virtualization.
pub const KVM_DEVICE: &str = "/dev/kvm";
/// The device that is always empty.
pub(crate) const NULL_DEVICE: &str = "/dev/null";
/// The first QEMU with `-netdev stream`.
pub const QEMU_VERSION_MIN: QemuVersion = QemuVersion { major: 7, minor: 2 };

/// The facts of this host.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct HostFacts {
    /// The state of KVM.
    pub kvm: KvmState,
    /// The state of QEMU.
    pub qemu: QemuState,
}

/// The state of KVM.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum KvmState {
    /// It runs guests.
    Usable,
    /// The processor does not virtualize, or hides it. `/dev/kvm` may still exist on such a host, open, and create VMs that
    /// do not run.
    NoCpuSupport,
    /// There is no `/dev/kvm`.
    NoDevice,
    /// The user may not open `/dev/kvm`.
    NoPermission,
    /// `/dev/kvm` opens but creates no VM.
    Broken {
        /// The kernel's error.
        detail: String,
    },
}

/// The state of QEMU.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum QemuState {
    /// It is installed and new enough.
    Usable {
        /// The program.
        binary: PathBuf,
        /// The version.
        version: QemuVersion,
    },
    /// It is older than [`QEMU_VERSION_MIN`].
    TooOld {
        /// The program.
        binary: PathBuf,
        /// The version.
        version: QemuVersion,
    },
    /// It is installed, but does not run.
    Broken {
        /// The program.
        binary: PathBuf,
        /// The error.
        detail: String,
    },
    /// It is not on the search path.
    Missing,
}

/// A version of QEMU.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, schemars::JsonSchema, Serialize, Deserialize,
)]
pub struct QemuVersion {
    /// The major version.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
}

impl std::fmt::Display for QemuVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// Collects the facts of this host. `search_path` is the value of `PATH`.
pub fn observe(search_path: Option<&OsStr>) -> HostFacts {
    HostFacts { kvm: observe_kvm(), qemu: observe_qemu(search_path) }
}

/// Determines the state of KVM.
fn observe_kvm() -> KvmState {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu_virtualizes(&cpuinfo) {
        return KvmState::NoCpuSupport;
    }
    let broken = |error: kvm_ioctls::Error| KvmState::Broken {
        detail: std::io::Error::from_raw_os_error(error.errno()).to_string(),
    };
    match kvm_ioctls::Kvm::new() {
        Ok(kvm) => kvm.create_vm().map_or_else(broken, |_vm| KvmState::Usable),
        Err(error) => match rustix::io::Errno::from_raw_os_error(error.errno()) {
            rustix::io::Errno::NOENT | rustix::io::Errno::NODEV | rustix::io::Errno::NXIO => {
                KvmState::NoDevice
            }
            rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => KvmState::NoPermission,
            _ => broken(error),
        },
    }
}

/// Whether a `/proc/cpuinfo` shows a processor that can virtualize.
fn cpu_virtualizes(cpuinfo: &str) -> bool {
    if arch::VIRTUALIZATION_FLAGS.is_empty() {
        return true;
    }
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.trim_start().strip_prefix(':'));
    flags.is_some_and(|flags| {
        flags.split_ascii_whitespace().any(|flag| arch::VIRTUALIZATION_FLAGS.contains(&flag))
    })
}

/// Determines the state of QEMU.
fn observe_qemu(search_path: Option<&OsStr>) -> QemuState {
    let folders = search_path.map(std::env::split_paths).into_iter().flatten();
    // A relative entry depends on the working directory, which the VM's process leaves.
    let candidates =
        folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(arch::QEMU_BINARY));
    let Some(binary) = candidates.into_iter().find(|path| is_executable(path)) else {
        return QemuState::Missing;
    };
    let ran = Command::new(&binary).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let said = match ran {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => {
            let detail = format!("--version ended with {}", output.status);
            return QemuState::Broken { binary, detail };
        }
        Err(error) => return QemuState::Broken { binary, detail: error.to_string() },
    };
    match parse_qemu_version(&said) {
        Some(version) if version >= QEMU_VERSION_MIN => QemuState::Usable { binary, version },
        Some(version) => QemuState::TooOld { binary, version },
        None => QemuState::Broken { binary, detail: "--version did not print a version".to_owned() },
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Parses the output of `qemu --version`.
fn parse_qemu_version(said: &str) -> Option<QemuVersion> {
    let version = said.lines().find_map(|line| line.strip_prefix("QEMU emulator version "))?;
    let mut numbers = version.split(|character: char| !character.is_ascii_digit());
    Some(QemuVersion { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_tell_whether_a_processor_virtualizes() {
        if arch::VIRTUALIZATION_FLAGS.is_empty() {
            return;
        }
        assert!(cpu_virtualizes("processor\t: 0\nflags\t\t: fpu vme svm npt\nbugs\t\t:\n"));
        assert!(cpu_virtualizes("flags : fpu vmx\n"));
        assert!(!cpu_virtualizes("flags\t\t: fpu svm_lock\nvmx flags\t: ept\n"));
        assert!(!cpu_virtualizes(""));
    }

    #[test]
    fn versions_are_read_as_distributions_print_them() {
        let version = |said| parse_qemu_version(said).map(|version| version.to_string());
        assert_eq!(
            version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright").as_deref(),
            Some("7.2")
        );
        assert_eq!(version("QEMU emulator version 10.0.2\n").as_deref(), Some("10.0"));
        assert_eq!(version("qemu: not found"), None);
        assert!(QemuVersion { major: 10, minor: 0 } > QEMU_VERSION_MIN);
        assert!(QemuVersion { major: 6, minor: 9 } < QEMU_VERSION_MIN);
    }

    #[test]
    fn qemu_is_sought_on_the_search_path_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(observe_qemu(Some(folder.path().as_os_str())), QemuState::Missing);
        assert_eq!(observe_qemu(None), QemuState::Missing);
        let binary = folder.path().join(arch::QEMU_BINARY);
        std::fs::write(&binary, "#!/bin/sh\necho QEMU emulator version 5.1.0\n").unwrap();
        assert_eq!(observe_qemu(Some(folder.path().as_os_str())), QemuState::Missing, "not executable");
        std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let found = observe_qemu(Some(folder.path().as_os_str()));
        assert_eq!(found, QemuState::TooOld { binary, version: QemuVersion { major: 5, minor: 1 } });
    }
}
