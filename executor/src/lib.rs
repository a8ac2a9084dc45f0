//! Everything that touches the host: `observe` reads its state, `apply` changes it, `supervisor` runs one sandbox.
//!
//! Architecture invariant: nothing here knows the command line or prints; progress goes through a
//! [`reporter::Reporter`]. Nothing here plans: plans are an input.
#![warn(missing_docs)]

pub mod apply;
pub mod catalog;
mod data_paths;
pub mod images;
pub mod launch;
pub mod observe;
pub mod reporter;
pub mod secrets;
pub mod snapshots;
pub mod supervisor;

#[cfg(test)]
mod full_disk_tests;
