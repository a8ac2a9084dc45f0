//! The agent protocol: what the host and the guest's PID 1 say to each other over one byte stream.
//!
//! Two layers, so that a relay need not understand what it carries:
//!
//! - [`frame`]: length, id and flags around an opaque body. The same for every generation; enough to
//!   route by. No CBOR is decoded here.
//! - [`v1`]: the body, a CBOR envelope `{v, t, p}` whose `p` is the CBOR of the payload, and the typed
//!   [`Message`](v1::Message)s. A later generation becomes a module beside it and [`latest`] moves.
//!
//! # Versions
//!
//! The envelope's `v` names the generation. Within one, peers of different age understand each other:
//!
//! - A message may gain a field that has a default; readers ignore fields that they do not know. A kind may gain a
//!   word; readers take one that they do not know for `other`.
//! - A new type of message goes only to a peer that has said it knows it, by a word among the `features` of
//!   `core.ready`. Without that word the client fails by itself (`UnsupportedOperation`) and sends nothing. What is sent
//!   all the same is answered by `core.error` with `unsupported_type`, and nothing else happens.
//! - Nothing is renamed, removed or given another meaning or type, and a frame stays what it is.
//!
//! Whatever cannot be said so is a new generation: a module `v2` beside [`v1`], which stays as it is with its golden
//! schema, and a relay that speaks both. `schema.txt` of a generation changes only by additions, which a test holds:
//! each line of the frozen text (`frozen.txt`) is still there.
//!
//! `core.tcp.*` is reserved and not part of generation 1: connections into a sandbox are the network's, which ends
//! them in the supervisor and needs no word of the agent's.
//!
//! Architecture invariant: no sockets and no clocks. Bytes in, values out. Whatever bytes come in,
//! nothing panics and nothing is allocated beyond what arrived.

pub mod frame;
pub mod v1;

/// The generation that this build speaks.
pub use v1 as latest;

#[cfg(test)]
mod tests;
