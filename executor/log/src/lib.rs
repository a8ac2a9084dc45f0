//! Log files of a sandbox: `exec.log`, written by its supervisor and read by anyone.
//!
//! One JSON object a line (JSON Lines): `t` RFC 3339 UTC with milliseconds; `s` the source; `d` the
//! data; `id` the session's number from 1, absent for `system`; `e: "b64"` when `d` is base64
//! because the bytes are not UTF-8. The format is that of microsandbox 0.5 and later. An entry without
//! data says that the session has ended in the middle of a line.
//!
//! What a log holds comes from a guest and has no limit, so no reader here ever holds all of it.

mod assemble;
mod entry;
mod follow;
mod read;
pub mod time;
mod write;

pub use assemble::{LineAssembler, LogLine};
pub use entry::{Entry, Source};
pub use follow::Follower;
pub use read::{Lines, last_lines, lines};
pub use write::Writer;

/// The file's name in a sandbox's log folder.
pub const EXEC_LOG: &str = "exec.log";
/// What the supervisor says of itself.
pub const RUNTIME_LOG: &str = "runtime.log";
/// What the guest kernel prints.
pub const KERNEL_LOG: &str = "kernel.log";
