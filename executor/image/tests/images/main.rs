//! Images built for real, and looked at with e2fsprogs, which share no code with us.

// Helpers of tests may fail by panicking, as tests do.
#![allow(clippy::unwrap_used)]

mod archives;
mod conformance;
mod directories;
mod disks;
mod forms;
mod hostile;
mod listing;
mod oci;
mod support;
