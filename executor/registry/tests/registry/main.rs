//! Pulls from a real registry, and from failing and malicious ones.

// Tests fail by panicking, in helpers as well.
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
