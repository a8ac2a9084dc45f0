//! Files of the host: walks that stay below a directory, and writes that are whole or not at all.
//!
//! Architecture invariant: below a [`Directory`] every file is opened by a descriptor and a plain name, or by
//! `openat2` with `RESOLVE_BENEATH`. Nobody who may rename files in there can lead a walk out of it.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod beneath;
pub mod space;

pub use beneath::{Directory, Kind};
