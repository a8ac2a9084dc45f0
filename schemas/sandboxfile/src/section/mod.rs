//! One file for each section of a sandbox: as typed (`Raw…`), how it is read, and how it is checked.

pub(crate) mod depends_on;
pub(crate) mod env;
pub(crate) mod guest_path;
pub(crate) mod healthcheck;
pub(crate) mod hook;
pub(crate) mod image;
pub(crate) mod logs;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod place;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod resources;
pub(crate) mod restart;
pub(crate) mod script;
pub(crate) mod secret;
pub(crate) mod start;
pub(crate) mod sync;
pub(crate) mod volume;
