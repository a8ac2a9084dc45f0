//! Generation 1 of the messages. `schema.txt` beside this file is its golden text: a test compares it
//! with what is declared here, so that no message changes by accident.
//!
//! # The handshake
//!
//! 1. The guest opens its port and waits. Bytes that the host wrote earlier are kept by the VMM until then.
//! 2. Host → guest, id 0: `core.boot`, one or several chunks of one [`BootDocument`].
//! 3. Guest → host, id 0: `core.ready`, or `core.boot.failed` followed by power off.
//!    `core.clock` answers the first, if the agent knows it.
//! 4. Sessions, in any order, until the host sends `core.shutdown` (flag SHUTDOWN). The guest ends every
//!    process, syncs, unmounts, answers `core.shutdown` with TERMINAL, and powers off.
//!
//! # Sessions
//!
//! An id is chosen by the client with `core.exec.request` (flag SESSION_START). The guest answers
//! `started`, then any number of `stdout` and `stderr`, then `exited` (TERMINAL): all output of the command
//! comes before it. Or it answers `failed` (TERMINAL) and nothing else. `stdin` with empty data closes
//! the command's standard input; bytes after that are reported by `stdin.error`. With a tty there is
//! one stream, `stdout`. A message of an unknown type is answered by `core.error` and otherwise ignored.
//!
//! A session that begins with `core.fs.request` is one file operation and ends with `core.fs.response`
//! (TERMINAL). An agent that knows them says `fs` among the features of `core.ready`.

mod boot;
mod envelope;
mod exec;
mod file;
mod link;
mod message;
mod payload;

pub use boot::{
    BOOT_CHUNK_BYTES, BOOT_DOCUMENT_VERSION, BootAssembler, BootChunk, BootDocument, BootError, BootFailed,
    Disk, DiskAt, MAX_BOOT_BYTES, Mount, Network, VolumeMount,
};
pub use envelope::{Envelope, MessageError};
pub use exec::{
    ExecExited, ExecFailed, ExecOutputAck, ExecRequest, ExecResize, ExecSignal, ExecStarted, ExecStderr,
    ExecStdin, ExecStdinAck, ExecStdinError, ExecStdout, FailureKind, OUTPUT_WINDOW_BYTES, OutputStream,
    Rlimit, STDIN_WINDOW_BYTES, append_output,
};
pub use file::{
    FEATURE_FILES, FILE_DATA_BYTES, FILE_ENTRIES, FILE_WINDOW_FRAMES, FileAck, FileData, FileEntry,
    FileFailure, FileFailureKind, FileKind, FileOperation, FileRequest, FileResponse, FileStat,
};
pub use link::{
    ClientDisconnected, Clock, ErrorKind, ErrorReport, FEATURE_CLOCK, Ping, Pong, Ready, Shutdown,
};
pub use message::{Message, schema_text};

/// What the envelope's `v` says.
pub const PROTOCOL_VERSION: u8 = 1;

/// The name of the console port that carries this protocol, on every driver.
pub const AGENT_PORT_NAME: &str = "msb.agent";
