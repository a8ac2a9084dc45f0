//! A project as typed, and its checks: the whole file, each sandbox, what they depend on, and what they expand to.

mod budget;
mod dependencies;
pub(crate) mod project;
mod reach;
mod replicas;
mod sandbox;
mod volumes;

pub(crate) use budget::{Budget, ENTRY_BYTES, Growth, Weight};
pub(crate) use project::RawProject;
pub(crate) use sandbox::{Declaration, RESERVED_NAMES, RawSandbox, word};
