//! Log files of a sandbox: written by its supervisor, read by anyone.
//!
//! `exec.log` holds what sessions print, one JSON object a line (JSON Lines): `t` RFC 3339 UTC with milliseconds; `s`
//! the source; `d` the data; `id` the session's number from 1, absent for `system`; `e: "b64"` when `d` is base64
//! because the bytes are not UTF-8. The format is that of microsandbox 0.5 and later. An entry without data says that
//! the session has ended in the middle of a line. `runtime.log` and `kernel.log` are text. `network.log` and `events.log`
//! are JSON Lines as well: what else stands in an object beside `t` is its writer's matter.
//!
//! Each of them is followed by a new file before it becomes too large (see [`Rotation`]). Readers go from file to file,
//! and from any [`Cursor`] on.
//!
//! What a log holds comes from a guest and has no limit, so no reader here ever holds all of it.

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

/// What sessions print.
pub const EXEC_LOG: &str = "exec.log";
/// What the supervisor says of itself.
pub const RUNTIME_LOG: &str = "runtime.log";
/// What the guest kernel prints.
pub const KERNEL_LOG: &str = "kernel.log";
/// What the network has refused.
pub const NETWORK_LOG: &str = "network.log";
/// What has become of the sandbox.
pub const EVENTS_LOG: &str = "events.log";
