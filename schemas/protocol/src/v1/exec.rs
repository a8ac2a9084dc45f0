//! Messages of a session: one command in the guest.

use super::envelope::{MessageError, append_data};
use super::payload::{kinds, payload};
use crate::frame::Flags;

/// The most input of one session that a client may send without an acknowledgement, in bytes. The agent buffers eight
/// times as much, and drops and reports the rest with `core.exec.stdin.error`.
pub const STDIN_WINDOW_BYTES: usize = 1024 * 1024;

/// The most output of one session that the agent sends without an acknowledgement if the request promises them, in
/// bytes. One read of a pipe may exceed it.
pub const OUTPUT_WINDOW_BYTES: u64 = 1024 * 1024;

const fn default_rows() -> u16 {
    24
}

const fn default_cols() -> u16 {
    80
}

payload! {
    /// `core.exec.request`, flag SESSION_START: runs a command.
    pub struct ExecRequest {
        /// A path if it contains a `/`, or else a name to search on PATH.
        pub cmd: String,
        /// The arguments after the program's name.
        #[serde(default)]
        pub args: Vec<String>,
        /// The environment as `NAME=VALUE`, in addition to that of the boot document, over which it takes precedence.
        #[serde(default)]
        pub env: Vec<String>,
        /// The working directory; without it the boot document's `workdir` or `/`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cwd: Option<String>,
        /// The user as `name|uid[:group|gid]`, looked up in the guest's /etc/passwd and /etc/group; without it the boot
        /// document's `user` or root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub user: Option<String>,
        /// Whether the command gets a pseudoterminal.
        #[serde(default)]
        pub tty: bool,
        /// The height of the terminal, in rows.
        #[serde(default = "default_rows")]
        pub rows: u16,
        /// The width of the terminal, in columns.
        #[serde(default = "default_cols")]
        pub cols: u16,
        /// The resource limits.
        #[serde(default)]
        pub rlimits: Vec<Rlimit>,
        /// Requests `core.exec.stdin.ack`. A client that streams input sets it and keeps at most
        /// [`STDIN_WINDOW_BYTES`] unacknowledged, so that input for a slow command is neither buffered nor dropped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub stdin_acks: bool,
        /// Promises `core.exec.output.ack`. The agent then has at most [`OUTPUT_WINDOW_BYTES`] of the session's output
        /// unacknowledged, so that a slow client only slows its own command.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub output_acks: bool,
        /// Requests the signal in `core.exec.exited`. Without it that message has the same bytes as of earlier agents.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub report_signal: bool,
    }

    /// One resource limit of a command. The largest number means unlimited.
    pub struct Rlimit {
        /// The resource in lower case without `RLIMIT_`: `nofile`, `nproc`, `as`, `core`, …
        pub resource: String,
        /// The soft limit, in the unit of the resource.
        pub soft: u64,
        /// The hard limit, in the unit of the resource.
        pub hard: u64,
    }

    /// `core.exec.started`: the command runs, after a successful `execve`.
    pub struct ExecStarted {
        /// Its process id in the guest.
        pub pid: u32,
    }

    /// `core.exec.stdin`: input of the command.
    pub struct ExecStdin {
        /// The bytes. Empty data is the end of the input, or the end-of-file character with a tty.
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.exec.stdin.ack`: acknowledges input, if the request asks for it.
    pub struct ExecStdinAck {
        /// The bytes that the command has read, or that were dropped, since the start of the session.
        pub bytes: u64,
    }

    /// `core.exec.output.ack`: acknowledges output, if the request promises it.
    pub struct ExecOutputAck {
        /// The bytes of stdout and stderr that the client has received since the start of the session.
        pub bytes: u64,
    }

    /// `core.exec.stdin.error`: input was dropped, mostly because the command closed its standard input. The session
    /// continues.
    pub struct ExecStdinError {
        /// The error number, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<i32>,
        /// The name of the error number, such as `EPIPE`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno_name: Option<String>,
        /// The reason as text, for people.
        pub message: String,
    }

    /// `core.exec.stdout`: standard output, or all output with a tty.
    pub struct ExecStdout {
        /// The bytes.
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.exec.stderr`: standard error, never with a tty.
    pub struct ExecStderr {
        /// The bytes.
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.exec.exited`, flag TERMINAL: the command has ended.
    pub struct ExecExited {
        /// The exit code, or 128 + the number of the signal that ended the command.
        pub code: i32,
        /// The signal that ended the command, if one did and the request asks for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub signal: Option<i32>,
    }

    /// `core.exec.failed`, flag TERMINAL: the command was not started.
    pub struct ExecFailed {
        /// The kind of the failure.
        pub kind: FailureKind,
        /// The error number, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<i32>,
        /// The name of the error number, such as `ENOENT`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno_name: Option<String>,
        /// The reason as a sentence, for people.
        pub message: String,
        /// The failed step: `execve`, `chdir`, `setgroups`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stage: Option<String>,
    }

    /// `core.exec.resize`: the new size of the terminal.
    pub struct ExecResize {
        /// The height, in rows.
        pub rows: u16,
        /// The width, in columns.
        pub cols: u16,
    }

    /// `core.exec.signal`: sends a signal to the process group of the session.
    pub struct ExecSignal {
        /// The signal number of Linux, 1 to 64.
        pub signal: i32,
    }
}

kinds! {
    /// The reason why a command was not started.
    pub enum FailureKind {
        /// The program or its interpreter does not exist.
        NotFound,
        /// The user may not execute the program.
        PermissionDenied,
        /// The kernel cannot execute the program.
        NotExecutable,
        /// The working directory cannot be entered.
        BadCwd,
        /// An argument contains a NUL, the environment has an entry without `=`, or both are too large.
        BadArgs,
        /// A resource limit was reached or cannot be set.
        ResourceLimit,
        /// The user or the group does not exist.
        UserSetupFailed,
        /// The guest is out of memory.
        OutOfMemory,
        /// The pseudoterminal cannot be opened.
        PtySetupFailed,
        /// Anything else, as `errno` and `stage` describe it, or a kind of a later peer.
        #[serde(other)]
        Other,
    }
}

impl FailureKind {
    /// Returns the exit code of a client, as shells have it: 127 for a missing program, 126 for all else.
    pub const fn exit_code(self) -> i32 {
        if matches!(self, Self::NotFound) { 127 } else { 126 }
    }
}

impl ExecRequest {
    /// Creates a request for a command without a terminal, with the defaults of the sandbox.
    pub fn command(argv: &[String]) -> Self {
        Self {
            cmd: argv.first().cloned().unwrap_or_default(),
            args: argv.iter().skip(1).cloned().collect(),
            env: Vec::new(),
            cwd: None,
            user: None,
            tty: false,
            rows: default_rows(),
            cols: default_cols(),
            rlimits: Vec::new(),
            stdin_acks: false,
            output_acks: false,
            report_signal: false,
        }
    }
}

impl ExecExited {
    /// Creates the end of a command whose signal, if there was one, is not reported.
    pub const fn with_code(code: i32) -> Self {
        Self { code, signal: None }
    }
}

/// An output stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// `core.exec.stdout`.
    Stdout,
    /// `core.exec.stderr`.
    Stderr,
}

/// Appends the frame of an [`ExecStdout`] or [`ExecStderr`] with as few copies of the data as possible.
///
/// # Errors
///
/// If the data does not fit into a frame.
pub fn append_output(
    stream: OutputStream,
    data: &[u8],
    id: u32,
    out: &mut Vec<u8>,
) -> Result<(), MessageError> {
    let message_type = match stream {
        OutputStream::Stdout => "core.exec.stdout",
        OutputStream::Stderr => "core.exec.stderr",
    };
    append_data(message_type, data, id, Flags::NONE, out)
}
