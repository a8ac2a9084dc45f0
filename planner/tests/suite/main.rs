//! Plans as a whole: golden ones found by folder, and properties of any.

// Helpers of tests may fail by panicking, as tests do.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "golden files are read")]
#![allow(clippy::unwrap_used)]

mod fixtures;
mod golden;
mod lifecycle;
mod ports;
mod properties;
mod refusals;
mod simulate;
mod strategies;
mod text;
