//! The commands on a Sandboxfile's project.

pub mod config;
pub mod down;
pub mod graph;
pub mod init;
pub mod lock;
pub mod plan;
pub mod trust;
pub mod up;
pub mod validate;
