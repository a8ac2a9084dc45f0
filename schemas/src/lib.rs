//! The data that crosses a border in msb: the Sandboxfile as typed and as validated, the catalog's
//! snapshot, the plan and its report, and (behind `protocol`) the agent protocol.
//!
//! Architecture invariant: nothing here touches files, the environment, the clock or a socket.

#[cfg(feature = "rules")]
pub mod config;
pub mod digest;
pub mod excerpt;
pub mod listing;
pub mod lockfile;
pub mod model;
#[cfg(feature = "rules")]
pub mod mount_text;
pub mod name;
pub mod plan;
#[cfg(feature = "rules")]
pub mod pool;
#[cfg(feature = "rules")]
pub mod port;
#[cfg(feature = "protocol")]
pub mod protocol;
#[cfg(feature = "rules")]
pub mod reach;
#[cfg(feature = "rules")]
pub mod reference;
pub mod report;
#[cfg(feature = "rules")]
pub mod rule;
#[cfg(feature = "sandboxfile")]
pub mod sandboxfile;
pub mod snapshot;
pub mod spec;
#[cfg(feature = "rules")]
mod suggest;
pub mod terminal;
pub mod unit;
