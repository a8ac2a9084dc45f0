//! State of one user on the host: the layout of `MSB_HOME`, locks, processes, state files and disks in use; and the
//! start of msb's own child processes.
//!
//! Architecture invariant: nothing here talks to a supervisor, a guest or the network, and nothing here is async.
#![warn(missing_docs)]

pub mod config;
pub mod disk;
pub mod home;
pub mod lock;
pub mod process;
pub mod reserve;
pub mod state;
pub mod volume;
