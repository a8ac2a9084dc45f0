//! Processes of msb's own hidden commands (`msb vmm`, `msb share`), and the jail that each of them enters: what an
//! attacker who has taken one over finds himself in.
//!
//! ```text
//!   child::spawn ──► clone3 into namespaces ──► cgroup ──► exec ──► child::enter      reads the configuration
//!                                                                   jail::Jail::enter root, capabilities, files, system calls
//! ```
//!
//! Architecture invariant: the launcher needs no privileges. What a host does not allow is left out and reported, layer
//! by layer, never silently.
#![warn(missing_docs)]

pub mod cgroup;
pub mod child;
mod clone;
pub mod confinement;
pub mod files;
mod id_map;
pub mod jail;
pub mod namespaces;
pub mod probe;
pub mod process;
pub mod report;
pub mod root;
pub mod syscalls;

pub use cgroup::{Cgroup, Limits};
pub use child::{Handed, Inheritance, InternalCommand, SpawnError, Spawned, spawn};
pub use confinement::{Confinement, Layer};
pub use files::{Access, Files};
pub use id_map::IdMapError;
pub use jail::Jail;
pub use namespaces::{Namespace, Obtained, Users, Wish};
pub use process::ChildProcess;
pub use report::{JailReport, Report};
pub use root::RootPlan;
