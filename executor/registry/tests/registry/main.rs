//! Pulls from a real registry, and from ones that fail, lie and mean harm.

mod image;
mod real;
mod support;
