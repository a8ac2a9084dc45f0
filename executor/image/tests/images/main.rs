//! Builds images and checks them with e2fsprogs, an independent implementation.

// Test helpers may panic, as tests do.
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
