//! Pulls from a real registry, and from ones that fail, lie and mean harm.

// A test fails by panicking, in what it calls as well.
#![allow(clippy::unwrap_used)]

mod between;
mod child;
mod credentials;
mod faults;
mod image;
mod kills;
mod lies;
mod real;
mod server;
mod support;
