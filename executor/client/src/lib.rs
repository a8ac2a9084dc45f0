//! Clients of a running sandbox: its agent, its supervisor, copies, syncs and watched folders.
//!
//! Architecture invariant: nothing here knows drivers, networks, images or the catalog, so that a program that only
//! talks to sandboxes builds without them.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
pub mod control;
pub mod copy;
pub mod deadline;
pub mod event;
pub mod frame_reader;
pub mod guest_text;
pub mod jobs;
pub mod sync;
pub mod watch;
