//! The agent protocol: the messages between the host and the guest's PID 1 over one byte stream.
//!
//! It has two layers, so that a relay can forward frames without decoding their bodies:
//!
//! - [`frame`]: a length, an id and flags, all big endian, and an opaque body. It is the same in every generation and
//!   sufficient for routing.
//! - [`v1`]: the body, which is a CBOR map `{v, t, p}` of generation, message type and payload; `p` is a byte string
//!   that contains the CBOR of the payload. [`Message`](v1::Message) is the typed form. A later generation is another
//!   module, and [`latest`] refers to the current one.
//!
//! # Versions
//!
//! The `v` of the envelope is the generation. Within a generation, peers of different versions are compatible:
//!
//! - A message may gain a field with a default, as readers ignore unknown fields. A kind may gain a word, as readers
//!   map unknown words to `other`.
//! - A new type of message is only sent to a peer that lists a word for it in the `features` of `core.ready`. Without
//!   that word the client fails with `UnsupportedOperation` and sends nothing. A message of an unknown type is answered
//!   with `core.error` (`unsupported_type`) and otherwise ignored.
//! - Nothing is renamed or removed, no meaning or type changes, and the format of frames stays.
//!
//! Any other change needs a new generation: a module `v2` beside [`v1`], which stays as it is with its golden schema,
//! and a relay that supports both. `schema.txt` of a generation only gains lines: a test checks that it contains each
//! line of `frozen.txt`.
//!
//! `core.tcp.*` is reserved and not part of generation 1: connections into a sandbox belong to its network, which ends
//! them in the supervisor without the agent.
//!
//! Architecture invariant: no sockets and no clocks, only bytes and values. No input panics, and no length allocates
//! more than the bytes that have arrived.

#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod frame;
pub mod v1;

/// The generation of this build.
pub use v1 as latest;

#[cfg(test)]
mod tests;
