//! One file for each section of a sandbox: as typed (`Raw…`), how it is read, and how it is checked.

pub(crate) mod depends_on;
pub(crate) mod env;
pub(crate) mod healthcheck;
pub(crate) mod image;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod resources;
pub(crate) mod restart;
pub(crate) mod script;
pub(crate) mod start;
pub(crate) mod volume;
