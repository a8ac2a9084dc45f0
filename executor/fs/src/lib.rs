//! Files of the host: walks that stay below a directory, atomic writes, removal of trees, operations on single files,
//! and free space.
//!
//! Architecture invariant: below a [`Directory`] every file is opened by a descriptor and a plain name, or by `openat2`
//! with `RESOLVE_BENEATH`. A process that renames files in there cannot lead a walk out of it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod atomic;
pub mod beneath;
pub mod file;
pub mod remove;
pub mod space;
pub mod usage;

pub use beneath::{Directory, Kind};
