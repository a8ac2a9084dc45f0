//! Generation 1 of the messages. A test compares them with the golden text `schema.txt`, so that no message changes by
//! accident.
//!
//! # The handshake
//!
//! 1. The guest opens its port and waits. The VMM buffers what the host writes before that.
//! 2. Host → guest, id 0: `core.boot`, once for each chunk of one [`BootDocument`].
//! 3. Guest → host, id 0: `core.ready`, or `core.boot.failed` before it powers off. The host answers `core.ready` with
//!    `core.clock`, if the agent supports it.
//! 4. Sessions, in any order, until the host sends `core.shutdown` (flag SHUTDOWN). The guest ends all processes,
//!    syncs, unmounts, answers `core.shutdown` with TERMINAL, and powers off.
//!
//! # Sessions
//!
//! The client chooses an id for `core.exec.request` (flag SESSION_START). The guest answers `started`, then any number
//! of `stdout` and `stderr`, then, after all output, `exited` (TERMINAL); or only `failed` (TERMINAL). `stdin` with
//! empty data closes the standard input of the command; further bytes are answered with `stdin.error`. With a tty
//! there is one output stream, `stdout`. A message of an unknown type is answered with `core.error` and otherwise
//! ignored.
//!
//! A session that begins with `core.fs.request` is one file operation and ends with `core.fs.response` (TERMINAL). An
//! agent that supports it lists `fs` in the features of `core.ready`.
//!
//! A session that begins with `core.tcp.connect` is one TCP connection inside the guest: `connected`, then `data` and
//! `eof` in both directions, and `closed` or `failed` (TERMINAL). An agent that supports it lists `tcp` in the features.
//!
//! A session that begins with `core.job.attach` is one of the relay, which is attached to a job of the supervisor. A relay
//! that does not support it forwards the request to the guest, which answers `core.error`.

mod boot;
mod cddl;
mod envelope;
mod exec;
mod file;
mod job;
mod link;
mod message;
mod payload;
mod tagged_file;
mod tcp;

pub use boot::*;
pub use cddl::cddl_text;
pub use envelope::{Envelope, MessageError};
pub use exec::*;
pub use file::*;
pub use job::*;
pub use link::*;
pub use message::{Message, schema_text};
pub use tagged_file::*;
pub use tcp::*;

/// The generation: the `v` of the envelope.
pub const PROTOCOL_VERSION: u8 = 1;

/// The name of the virtio console port for this protocol, on every driver.
pub const AGENT_PORT_NAME: &str = "msb.agent";
