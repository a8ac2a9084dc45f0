//! Messages of a session: one command in the guest.

use super::envelope::{MessageError, append_data};
use super::payload::{kinds, payload};
use crate::frame::Flags;

/// Input that a client may have in flight for one session. The agent drops what would make it hold
/// more than eight times as much, and says so in `core.exec.stdin.error`.
pub const STDIN_WINDOW_BYTES: usize = 1024 * 1024;

/// Output that the agent sends of one session before it waits for an acknowledgement, where the request
/// promised them. One read of a pipe may go beyond it.
pub const OUTPUT_WINDOW_BYTES: u64 = 1024 * 1024;

const fn default_rows() -> u16 {
    24
}

const fn default_cols() -> u16 {
    80
}

payload! {
    /// `core.exec.request`, flag SESSION_START.
    pub struct ExecRequest {
        /// A name searched on PATH, or a path when it holds a `/`.
        pub cmd: String,
        #[serde(default)]
        pub args: Vec<String>,
        /// `K=V`, over the boot document's environment.
        #[serde(default)]
        pub env: Vec<String>,
        /// Default: the boot document's `workdir`, else `/`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cwd: Option<String>,
        /// `name|uid[:group|gid]`, by the guest's own /etc/passwd and /etc/group. Default: the boot
        /// document's `user`, else root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub user: Option<String>,
        #[serde(default)]
        pub tty: bool,
        /// The terminal's size, where `tty`.
        #[serde(default = "default_rows")]
        pub rows: u16,
        #[serde(default = "default_cols")]
        pub cols: u16,
        #[serde(default)]
        pub rlimits: Vec<Rlimit>,
        /// Asks for `core.exec.stdin.ack`. A client that streams input sets it and keeps at most
        /// [`STDIN_WINDOW_BYTES`] unacknowledged, so that a command slow to read costs neither memory nor data.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub stdin_acks: bool,
        /// Promises `core.exec.output.ack`. The agent then has at most [`OUTPUT_WINDOW_BYTES`] of the
        /// session's output unacknowledged: a client slow to read slows its own command, and nobody else.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub output_acks: bool,
    }

    /// One resource limit of a command.
    pub struct Rlimit {
        /// Lower case without `RLIMIT_`: `nofile`, `nproc`, `as`, `core`, …
        pub resource: String,
        /// The largest number means unlimited.
        pub soft: u64,
        pub hard: u64,
    }

    /// `core.exec.started`: the command itself runs; its `execve` succeeded.
    pub struct ExecStarted {
        pub pid: u32,
    }

    /// `core.exec.stdin`. Empty data is the end of the input; with a tty it is the terminal's own
    /// end-of-file character.
    pub struct ExecStdin {
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.exec.stdin.ack`, only where the request asked for it: how many bytes of input, since the
    /// session's start, have been taken by the command or dropped.
    pub struct ExecStdinAck {
        pub bytes: u64,
    }

    /// `core.exec.output.ack`, only where the request promised it: how many bytes of stdout and stderr
    /// together, since the session's start, the client has taken.
    pub struct ExecOutputAck {
        pub bytes: u64,
    }

    /// `core.exec.stdin.error`: input could not be delivered, mostly because the command closed its
    /// standard input. The session goes on; what was not written is dropped.
    pub struct ExecStdinError {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<i32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno_name: Option<String>,
        pub message: String,
    }

    /// `core.exec.stdout`; with a tty, everything.
    pub struct ExecStdout {
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.exec.stderr`; never with a tty.
    pub struct ExecStderr {
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.exec.exited`, flag TERMINAL.
    pub struct ExecExited {
        /// The exit code, or 128 + the signal that ended the command.
        pub code: i32,
    }

    /// `core.exec.failed`, flag TERMINAL: the command never ran.
    pub struct ExecFailed {
        pub kind: FailureKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<i32>,
        /// `ENOENT` for example.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno_name: Option<String>,
        /// A whole sentence for a person.
        pub message: String,
        /// The step that failed: `execve`, `chdir`, `setgroups`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stage: Option<String>,
    }

    /// `core.exec.resize`: the terminal's new size.
    pub struct ExecResize {
        pub rows: u16,
        pub cols: u16,
    }

    /// `core.exec.signal`: delivered to the session's process group.
    pub struct ExecSignal {
        /// The Linux signal number, 1 to 64.
        pub signal: i32,
    }
}

kinds! {
    /// Why a command did not start.
    pub enum FailureKind {
        /// No such program (or its interpreter): a shell's 127.
        NotFound,
        /// There, but not for this user to run: a shell's 126.
        PermissionDenied,
        /// Not a program the kernel can run: a shell's 126.
        NotExecutable,
        BadCwd,
        /// A NUL in an argument, a name of the environment without `=`, or too much of both.
        BadArgs,
        ResourceLimit,
        /// No such user or group.
        UserSetupFailed,
        OutOfMemory,
        PtySetupFailed,
        /// `errno` and `stage` say more; also a kind of a later peer.
        #[serde(other)]
        Other,
    }
}

impl FailureKind {
    /// What a client exits with, by the shell's convention.
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::NotFound => 127,
            Self::PermissionDenied
            | Self::NotExecutable
            | Self::BadCwd
            | Self::BadArgs
            | Self::ResourceLimit
            | Self::UserSetupFailed
            | Self::OutOfMemory
            | Self::PtySetupFailed
            | Self::Other => 126,
        }
    }
}

impl ExecRequest {
    /// A command without a terminal, and all else as the sandbox has it.
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
        }
    }
}

/// Which of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// `core.exec.stdout`.
    Stdout,
    /// `core.exec.stderr`.
    Stderr,
}

/// Appends the frame of an [`ExecStdout`] or [`ExecStderr`], without building that first.
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
