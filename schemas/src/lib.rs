//! The data that the layers of msb exchange: the validated model of a project, the snapshot of the catalog, the plan and
//! its report, the lock file and the user's settings.
//!
//! The crates in its folder are `rules` (texts with a grammar), `protocol` (the agent protocol) and `sandboxfile` (the
//! front end, which reads and prints Sandboxfiles).
//!
//! Architecture invariant: no files, environment, clock or sockets.

#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod config;
pub mod digest;
pub mod excerpt;
pub mod host_access;
pub mod listing;
pub mod lockfile;
pub mod model;
pub mod name;
pub mod plan;
pub mod report;
pub mod signal;
pub mod snapshot;
pub mod spec;
pub mod terminal;
