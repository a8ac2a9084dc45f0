//! QEMU's `microvm` machine: the process is replaced by `qemu-system-*`, with KVM if that works.

mod cmdline;
mod machine;
pub(crate) mod qmp;

use crate::arch;
use crate::config::VmConfig;
use crate::devices::DiskAddressing;
use crate::driver::{Accelerator, Driver, Features, MountsTransport};
use crate::host::{KVM_DEVICE, NULL_DEVICE};
use crate::vmm::VmmError;
use executor_jail::syscalls::{self, SyscallList};
use executor_jail::{Access, Files, RootPlan, Users};
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folders of programs, their libraries and their data.
const PROGRAM_FOLDERS: &[&str] = &["/usr", "/lib", "/lib32", "/lib64", "/nix/store"];
/// The places of libraries.
const LINKER_CACHE: &str = "/etc/ld.so.cache";

/// The driver.
pub(crate) struct Qemu<'a> {
    /// The emulator.
    pub(crate) binary: &'a Path,
    /// The execution of the guest's instructions.
    pub(crate) accelerator: Accelerator,
}

impl Qemu<'_> {
    /// Returns the folder in which QEMU is installed with its data, if it is none of [`PROGRAM_FOLDERS`]: `/opt/qemu` for
    /// `/opt/qemu/bin/qemu-system-x86_64`.
    fn own_folder(&self) -> Option<PathBuf> {
        let binary = self.binary.canonicalize().ok()?;
        let prefix = binary.parent()?.parent()?;
        let is_known = PROGRAM_FOLDERS.iter().any(|folder| binary.starts_with(folder));
        (!is_known && prefix != Path::new("/")).then(|| prefix.to_owned())
    }
}

impl Driver for Qemu<'_> {
    /// Both ends of its link take the largest packets, and the larger they are, the fewer.
    fn features(&self) -> Features {
        Features { mtu: 65_520, disk_addressing: DiskAddressing::Serial, mounts: MountsTransport::VhostUser }
    }

    fn kernel_cmdline(&self, extra: &[String]) -> String {
        cmdline::kernel_cmdline(self.accelerator, extra)
    }

    fn has_monitor(&self) -> bool {
        true
    }

    fn users(&self, _mounts: bool) -> Users {
        Users::Own
    }

    fn root(&self, _config: &VmConfig) -> RootPlan {
        let mut files = vec![NULL_DEVICE.into()];
        if self.accelerator == Accelerator::Kvm {
            files.push(KVM_DEVICE.into());
        }
        files.push(LINKER_CACHE.into());
        let mut folders: Vec<PathBuf> = PROGRAM_FOLDERS.iter().map(PathBuf::from).collect();
        folders.extend(self.own_folder());
        RootPlan { files, folders, mount_points: Vec::new() }
    }

    fn allow_files(&self, _config: &VmConfig, files: &mut Files<'_>) {
        files.allow_path(NULL_DEVICE, Access::Write);
        if self.accelerator == Accelerator::Kvm {
            files.allow_path(KVM_DEVICE, Access::Write);
        }
        files.allow_path(LINKER_CACHE, Access::Read);
        for folder in PROGRAM_FOLDERS {
            files.allow_path(folder, Access::Execute);
        }
        if let Some(folder) = self.own_folder() {
            files.allow_path(folder, Access::Execute);
        }
    }

    fn syscalls(&self, _config: &VmConfig) -> SyscallList {
        syscalls::qemu()
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
