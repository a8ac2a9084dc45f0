//! The values of secrets: read from their sources when a sandbox starts, and passed to its supervisor in memory.
//!
//! Architecture invariant: a value is in no file, argument, environment variable, error or log.

mod authorities;
mod handover;
mod source;

pub use authorities::extra_ca;
pub use handover::{receive, send};
pub use source::{problems, read_all, unusable};
