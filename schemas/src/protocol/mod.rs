//! The agent protocol: what the host and the guest's PID 1 say to each other over one byte stream.
//!
//! Two layers, so that a relay need not understand what it carries:
//!
//! - [`frame`]: length, id and flags around an opaque body. The same for every generation; enough to
//!   route by. No CBOR is decoded here.
//! - [`v1`]: the body, a CBOR envelope `{v, t, p}` whose `p` is the CBOR of the payload, and the typed
//!   [`Message`](v1::Message)s. A later generation becomes a module beside it and [`latest`] moves.
//!
//! Architecture invariant: no sockets and no clocks. Bytes in, values out. Whatever bytes come in,
//! nothing panics and nothing is allocated beyond what arrived.

pub mod frame;
pub mod v1;

/// The generation that this build speaks.
pub use v1 as latest;

#[cfg(test)]
mod tests;
