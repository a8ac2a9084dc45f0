//! Texts with a grammar of their own, which a Sandboxfile, flags and records share: network rules, ports, address
//! pools, mounts, directories in memory, image references, users and quantities.
//!
//! Each type parses with `FromStr`, and its `Display` is a text that parses to the same value. Errors suggest the text
//! that was probably meant.
//!
//! Architecture invariant: no files, environment, clock or sockets.

#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod mount_text;
pub mod nameserver;
pub mod pool;
pub mod port;
pub mod proxy;
pub mod reference;
pub mod rule;
pub mod suggest;
pub mod tmpfs_text;
pub mod ulimit;
pub mod unit;
pub mod user;
mod words;

pub use words::Word;
