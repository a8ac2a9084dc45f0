//! The files that a process can open from now on, by Landlock. Descriptors that are open already go on working.

use crate::confinement::Layer;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, fstat};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The newest version of Landlock that the rules below were written for. Older kernels enforce what they know.
const VERSION: ABI = ABI::V6;
/// The first version that knows everything that matters here: moves across folders, truncation, and device controls.
const SUFFICIENT: ABI = ABI::V5;

/// What a process may do with a file, or with all files in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Read and write, and control if it is a device.
    Write,
    /// Read and execute.
    Execute,
    /// All that changes a tree of folders, regular files and links, but not execute. No device nodes.
    Tree,
    /// As [`Access::Tree`], and device nodes: in a file system that does not create them on the host.
    VirtualTree,
}

impl Access {
    /// Returns the rights for a folder, or for any other file.
    fn rights(self, is_folder: bool) -> BitFlags<AccessFs> {
        let all = self.folder_rights();
        if is_folder { all } else { all & AccessFs::from_file(VERSION) }
    }

    fn folder_rights(self) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
        match self {
            Self::Read => read,
            Self::Write => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
            Self::Execute => read | AccessFs::Execute,
            Self::Tree => AccessFs::from_all(VERSION) & !(devices | AccessFs::Execute | AccessFs::IoctlDev),
            Self::VirtualTree => AccessFs::from_all(VERSION) & !(AccessFs::Execute | AccessFs::IoctlDev),
        }
    }
}

/// The files that a process may open.
#[derive(Debug, Default)]
pub struct Files<'a> {
    rules: Vec<(Place<'a>, Access)>,
}

#[derive(Debug)]
enum Place<'a> {
    Descriptor(BorrowedFd<'a>),
    Path(PathFd),
}

impl<'a> Files<'a> {
    /// Allows access to the file of a descriptor, also by `/proc/self/fd`.
    pub fn allow(&mut self, file: BorrowedFd<'a>, access: Access) {
        self.rules.push((Place::Descriptor(file), access));
    }

    /// Allows access to a file or folder, if it exists.
    pub fn allow_path(&mut self, path: impl AsRef<Path>, access: Access) {
        if let Ok(file) = PathFd::new(path) {
            self.rules.push((Place::Path(file), access));
        }
    }

    /// Allows this process nothing else, no TCP, and no signals and abstract sockets of processes outside. Call it while the
    /// process has one thread.
    pub(crate) fn restrict(self) -> Layer {
        match self.enforce() {
            Ok(RulesetStatus::FullyEnforced) => Layer::InForce,
            Ok(RulesetStatus::PartiallyEnforced) => Layer::Partial {
                why: format!("this kernel's Landlock is older than version {}", SUFFICIENT as i32),
            },
            Ok(_) => Layer::Missing { why: "this kernel has no Landlock, or it is not enabled".to_owned() },
            Err(error) => Layer::Missing { why: format!("Landlock: {error}") },
        }
    }

    fn enforce(self) -> Result<RulesetStatus, RulesetError> {
        // Version 6 adds scopes to files, which namespaces cover as well.
        let best = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        let ruleset = best
            .handle_access(AccessFs::from_all(VERSION))?
            .handle_access(AccessNet::from_all(VERSION))?
            .scope(Scope::from_all(VERSION))?;
        let mut created = ruleset.create()?;
        for (place, access) in self.rules {
            let file = match &place {
                Place::Descriptor(file) => file.as_fd(),
                Place::Path(file) => file.as_fd(),
            };
            let is_folder = fstat(file).is_ok_and(|status| FileType::from_raw_mode(status.st_mode).is_dir());
            created = created.add_rule(PathBeneath::new(file, access.rights(is_folder)))?;
        }
        Ok(created.restrict_self()?.ruleset)
    }
}
