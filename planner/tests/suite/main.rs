//! Plans as a whole: golden ones found by folder, and properties of any.

// Helpers of tests may fail by panicking, as tests do.
#![allow(clippy::unwrap_used)]

mod golden;
mod ports;
mod properties;
mod recorded;
mod refusals;
mod simulate;
mod story;
mod text;
mod world;
