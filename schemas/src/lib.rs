//! The data that crosses a border in msb: the validated model of a project, the catalog's snapshot, the plan and its
//! report, the lock file and the user's settings.
//!
//! The crates below its folder are `rules` (texts with a grammar), `protocol` (the agent protocol) and `sandboxfile`
//! (the front end, which reads and prints Sandboxfiles).
//!
//! Architecture invariant: nothing here touches files, the environment, the clock or a socket.

pub mod config;
pub mod digest;
pub mod excerpt;
pub mod listing;
pub mod lockfile;
pub mod model;
pub mod name;
pub mod plan;
pub mod reach;
pub mod report;
pub mod snapshot;
pub mod spec;
pub mod terminal;
