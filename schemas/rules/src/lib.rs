//! Texts with a grammar of their own, which a Sandboxfile, flags and records share: network rules, ports, address
//! pools, mounts, image references, users and quantities.
//!
//! Each type parses with `FromStr` and prints a text that parses to the same value. Errors carry the text that was
//! probably meant, where there is one.
//!
//! Architecture invariant: nothing here touches files, the environment, the clock or a socket.

pub mod mount_text;
pub mod pool;
pub mod port;
pub mod reference;
pub mod rule;
pub mod suggest;
pub mod unit;
pub mod user;
mod words;

pub use words::Word;
