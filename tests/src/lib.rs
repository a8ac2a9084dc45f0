//! Helpers of the end-to-end tests: scratch projects, `msb` run as a user runs it, and checks for leftovers.
//!
//! Architecture invariant: nothing here links against the product. The tests know `msb` by its command line, its output
//! and its files only.

pub mod document;
pub mod generate;
pub mod installation;
pub mod layers;
pub mod leftovers;
pub mod listing;
mod live;
pub mod memory;
pub mod oci;
pub mod outside;
pub mod ports;
pub mod process;
pub mod project;
pub mod python;
pub mod random;
pub mod registry;
pub mod run;
pub mod servers;
pub mod session;
pub mod small_fs;
pub mod tries;
pub mod wait;

pub use project::Project;
pub use run::{Msb, Run};
