//! Log files of a sandbox, written by its supervisor.
//!
//! `exec.log` contains the output of sessions in JSON Lines: `t` RFC 3339 UTC with milliseconds; `s` the source; `d`
//! the data; `id` the session's number from 1, absent for `system`; `e: "b64"` when `d` is base64 because the bytes are
//! not UTF-8. The format is that of microsandbox 0.5 and later. An entry without data says that the session has ended
//! in the middle of a line. `runtime.log` and `kernel.log` are text. `network.log` and `events.log` are JSON Lines as
//! well; their writers define the fields beside `t`.
//!
//! Each log is rotated before it becomes too large (see [`Rotation`]). Readers follow the rotation, and resume at any
//! [`Cursor`].
//!
//! Log contents come from a guest and have no limit, so no reader here keeps all of it in memory.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::missing_errors_doc)]

mod cursor;
mod entry;
mod events;
mod exec_lines;
mod files;
mod line;
mod live_lines;
mod read;
mod records;
mod rotating;
mod segments;
mod sessions;
mod stream;
mod text;
mod text_lines;
pub mod time;
mod watch;
mod write;

pub use cursor::{Cursor, InvalidCursor};
pub use entry::{Entry, Source, encode_data};
pub use events::EventWriter;
pub use line::{LogError, LogLine};
pub use live_lines::LiveLines;
pub use read::{LastLines, ReadLogs, ReadOptions, last_lines, read_logs};
pub use segments::{Limits, Rotation};
pub use stream::{LogStream, Start};
pub use text::TextWriter;
pub use watch::{LogWatch, Woken};
pub use write::Writer;

/// The output of sessions.
pub const EXEC_LOG: &str = "exec.log";
/// The supervisor's own messages.
pub const RUNTIME_LOG: &str = "runtime.log";
/// The output of the guest's kernel.
pub const KERNEL_LOG: &str = "kernel.log";
/// Network refusals.
pub const NETWORK_LOG: &str = "network.log";
/// Allowed traffic.
pub const FLOWS_LOG: &str = "flows.log";
/// Lifecycle events.
pub const EVENTS_LOG: &str = "events.log";
