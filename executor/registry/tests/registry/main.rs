//! Pulls from a real registry, and from ones that fail, lie and mean harm.

// A test fails by panicking, in what it calls as well.
#![allow(clippy::unwrap_used)]

mod image;
mod real;
mod support;
