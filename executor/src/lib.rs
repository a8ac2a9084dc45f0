//! Everything that touches the world: `observe` reads it, `apply` changes it, `supervisor` keeps a sandbox.
//!
//! Architecture invariant: nothing here knows the command line or prints; progress goes through a
//! [`reporter::Reporter`]. Nothing here plans: the plan comes in finished.

pub mod apply;
pub mod catalog;
pub mod images;
pub mod launch;
pub mod observe;
pub mod reporter;
pub mod supervisor;

#[cfg(test)]
mod full_disk_tests;
