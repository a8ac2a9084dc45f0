//! VM drivers: one narrow interface to krun and qemu.
//!
//! ```text
//!   host::observe() ──► HostFacts ──► choose::choose(facts, wish) ──► Choice
//!                                                                       │
//!   VmSpec ──► launch::launch(VmmCommand, &Backend, VmSpec) ◄───────────┘
//!                    │  fork, shed descriptors, exec `msb vmm <descriptor>`
//!                    ▼                               ▼
//!                Launched (VmProcess, DeviceMap)   vmm::run_vmm(descriptor)
//!                                             ├─ krun: this process becomes the VM
//!                                             └─ qemu: this process becomes qemu-system-*
//! ```
//!
//! Architecture invariants: a caller names a driver only to choose one, and learns its properties from [`Features`] and
//! [`DeviceMap`]. The VM's process has the descriptors of its specification and no others, and never outlives the thread
//! that launched it. Nothing here prints.
//!
//! A guest ends its VM by *rebooting* (`reboot(RB_AUTOBOOT)`): under both drivers that ends the process with
//! code 0, as a kernel panic does (`panic=-1`). There is no ACPI, so a guest that powers off only halts, and
//! its VM has to be killed.
#![warn(missing_docs)]

pub mod arch;
pub mod choose;
pub mod config;
pub mod devices;
pub mod driver;
pub mod host;
mod krun;
pub mod launch;
pub mod monitor;
pub mod probe;
pub mod process;
mod qemu;
pub mod report;
pub mod spec;
pub mod vmm;

pub use choose::{Choice, ChooseError, choose};
pub use devices::{DeviceMap, DiskAddress, DiskAddressing, MOUNTS_TAG, disks_max};
pub use driver::{Accelerator, Backend, DriverKind, Features, MountsTransport, UnknownDriver};
pub use host::{HostFacts, KvmState, QemuState};
pub use krun::fuse::{FuseProblem, FuseStep};
pub use launch::{LaunchError, Launched, VmmCommand, launch};
pub use monitor::{Monitor, MonitorProtocol, VmEvent};
pub use probe::{ProbeError, probe};
pub use process::{VmExit, VmProcess};
pub use report::HostReport;
pub use spec::{ConsolePort, Disk, DiskFormat, MacAddress, MountsLink, NetworkLink, SpecError, VmSpec};
pub use vmm::{VmmError, run_vmm, run_vmm_without_jail};
