//! Everything that touches the world: `observe` reads it, `apply` changes it, `supervisor` keeps a sandbox.
//!
//! Architecture invariant: nothing here knows the command line or prints; progress goes through a
//! [`reporter::Reporter`]. Nothing here plans: the plan comes in finished.

pub mod agent;
pub mod apply;
pub mod catalog;
pub mod config;
pub mod control;
pub mod copy;
pub mod deadline;
mod disk;
pub mod event;
pub mod guest_text;
pub mod home;
pub mod images;
pub mod lock;
pub mod observe;
pub mod process;
pub mod reporter;
mod reserve;
pub mod state;
pub mod supervisor;
pub mod sync;
pub mod volume;
pub mod watch;
