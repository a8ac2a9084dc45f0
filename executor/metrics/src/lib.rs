//! Metrics of running sandboxes: a registry in shared memory, with a slot for each running supervisor.
//!
//! The registry of a state folder is the POSIX shared memory object `/msb-met-<hash>-v1`, where the hash is the first 8
//! bytes of the SHA-256 of the folder's path, in hex. Version 1, with little-endian numbers:
//!
//! | offset | size | header |
//! | --- | --- | --- |
//! | 0 | 8 | `MSBMET01` |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | size of the header in bytes: 512 |
//! | 16 | 4 | size of a slot in bytes: 512 |
//! | 20 | 4 | capacity: the number of slots |
//! | 24 | 4 | state: 0 while it is being made, 1 |
//! | 32 | 8 | generation: random, another one whenever the slots are laid out anew |
//!
//! | offset | size | slot |
//! | --- | --- | --- |
//! | 0 | 8 | sequence: odd while the slot is being written |
//! | 8 | 8 | state: 0 for a free slot, 1 |
//! | 16 | 24 | the supervisor: pid, start time in clock ticks, first half of the boot id |
//! | 40 | 8 | pid of the VM's process; 0 while none runs |
//! | 48 | 8 | start of the VM in milliseconds since 1970 |
//! | 56 | 8 | start of the VM, in nanoseconds of `CLOCK_BOOTTIME` |
//! | 64 | 8 | time of the sample, in nanoseconds of `CLOCK_BOOTTIME` |
//! | 72 | 8 | processor time since the start of the VM, in nanoseconds |
//! | 80 | 16 | time and processor time of the sample before |
//! | 96 | 8 | virtual processors |
//! | 104 | 16 | memory in use, and its limit, in bytes |
//! | 120 | 16 | bytes read from and written to the host's disks |
//! | 136 | 16 | bytes received and sent by the guest |
//! | 152 | 8 | refusals of the network |
//! | 160 | 8 | restarts by the restart policy |
//! | 192 | 32, 64, 64 | id, project and name: ASCII, filled with NUL |
//!
//! A number that is not known is 2⁶⁴ - 1. A reader takes a slot if its sequence is even, and the same before and after; and
//! ignores it if its supervisor does not run any more.
//!
//! The registry is only read and written as a file: a mapping would end a process if another one truncated the file, and a
//! sample per second does not need it. Programs that map it see the same bytes.
//!
//! Architecture invariant: no VM's process has the registry. Nothing is written anywhere else in the steady state.
#![warn(missing_docs)]

mod layout;
mod process;
mod registry;

pub use layout::Sample;
pub use process::{Usage, since_boot, usage};
pub use registry::{Registry, RegistryError, Slot};
