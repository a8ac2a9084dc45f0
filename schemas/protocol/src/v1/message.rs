//! The table of messages: variant, payload, type name and usual flags.

use super::boot::{
    BootChunk, BootDocument, BootFailed, BootFile, BootProgress, Disk, Mount, Network, TmpfsMount, Trust,
    VolumeMount,
};
use super::envelope::{Envelope, MessageError, encode_payload};
use super::exec::{
    ExecExited, ExecFailed, ExecOutputAck, ExecRequest, ExecResize, ExecSignal, ExecStarted, ExecStderr,
    ExecStdin, ExecStdinAck, ExecStdinError, ExecStdout, FailureKind, Rlimit,
};
use super::file::{
    FileAck, FileData, FileEntry, FileFailure, FileFailureKind, FileKind, FileOperation, FileRequest,
    FileResponse, FileStat,
};
use super::job::{JobAttach, JobAttached, JobOutputSkipped};
use super::link::{
    ClientDisconnected, Clock, ErrorKind, ErrorReport, MountChange, MountChangeKind, MountsChanged,
    MountsRefreshed, Ping, Pong, Ready, Shutdown, Touch, Touched,
};
use super::payload::{Described, Field};
use super::tcp::{TcpAck, TcpClose, TcpClosed, TcpConnect, TcpConnected, TcpData, TcpEof, TcpFailed};
use crate::frame::{Flags, Frame};

macro_rules! messages {
    ($($variant:ident($payload:ident) = $wire:literal, $flags:ident;)*) => {
        /// A decoded message.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $(
                #[doc = concat!("`", $wire, "`.")]
                $variant($payload),
            )*
            /// A message of a later peer, which can be refused or forwarded.
            Unknown {
                /// The type of the message.
                message_type: String,
                /// The CBOR of the payload.
                payload: Vec<u8>,
            },
        }

        impl Message {
            /// Returns the type: the `t` of the envelope.
            pub fn message_type(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $wire,)*
                    Self::Unknown { message_type, .. } => message_type,
                }
            }

            /// Returns the usual flags of messages of this type.
            pub fn usual_flags(&self) -> Flags {
                match self {
                    $(Self::$variant(_) => Flags::$flags,)*
                    Self::Unknown { .. } => Flags::NONE,
                }
            }

            /// Decodes the payload of an envelope.
            ///
            /// # Errors
            ///
            /// If the payload is not that of its type.
            pub fn from_envelope(envelope: Envelope) -> Result<Self, MessageError> {
                match envelope.t.as_str() {
                    $($wire => envelope.payload().map(Self::$variant),)*
                    _ => Ok(Self::Unknown { message_type: envelope.t, payload: envelope.p }),
                }
            }

            /// Encodes it with other flags than the usual ones.
            ///
            /// # Errors
            ///
            /// If it does not fit into a frame.
            pub fn encode_with(&self, id: u32, flags: Flags) -> Result<Frame, MessageError> {
                match self {
                    $(Self::$variant(payload) => encode_payload($wire, payload, id, flags),)*
                    Self::Unknown { message_type, payload } => {
                        let (v, t, p) = (super::PROTOCOL_VERSION, message_type.clone(), payload.clone());
                        Envelope { v, t, p }.encode(id, flags)
                    }
                }
            }
        }

        $(impl From<$payload> for Message {
            fn from(payload: $payload) -> Self {
                Self::$variant(payload)
            }
        })*

        pub(super) const TABLE: &[(&str, Flags, Type)] =
            &[$(($wire, Flags::$flags, of::<$payload>(stringify!($payload))),)*];
    };
}

messages! {
    Boot(BootChunk) = "core.boot", NONE;
    BootFailed(BootFailed) = "core.boot.failed", TERMINAL;
    BootProgress(BootProgress) = "core.boot.progress", NONE;
    Ready(Ready) = "core.ready", NONE;
    Clock(Clock) = "core.clock", NONE;
    MountsChanged(MountsChanged) = "core.mounts.changed", NONE;
    MountsRefreshed(MountsRefreshed) = "core.mounts.refreshed", NONE;
    Shutdown(Shutdown) = "core.shutdown", SHUTDOWN;
    Ping(Ping) = "core.ping", NONE;
    Pong(Pong) = "core.pong", TERMINAL;
    Touch(Touch) = "core.touch", NONE;
    Touched(Touched) = "core.touched", TERMINAL;
    Error(ErrorReport) = "core.error", TERMINAL;
    ClientDisconnected(ClientDisconnected) = "core.relay.client.disconnected", NONE;
    ExecRequest(ExecRequest) = "core.exec.request", SESSION_START;
    ExecStarted(ExecStarted) = "core.exec.started", NONE;
    ExecStdin(ExecStdin) = "core.exec.stdin", NONE;
    ExecStdinAck(ExecStdinAck) = "core.exec.stdin.ack", NONE;
    ExecOutputAck(ExecOutputAck) = "core.exec.output.ack", NONE;
    ExecStdinError(ExecStdinError) = "core.exec.stdin.error", NONE;
    ExecStdout(ExecStdout) = "core.exec.stdout", NONE;
    ExecStderr(ExecStderr) = "core.exec.stderr", NONE;
    ExecExited(ExecExited) = "core.exec.exited", TERMINAL;
    ExecFailed(ExecFailed) = "core.exec.failed", TERMINAL;
    ExecResize(ExecResize) = "core.exec.resize", NONE;
    ExecSignal(ExecSignal) = "core.exec.signal", NONE;
    FileRequest(FileRequest) = "core.fs.request", SESSION_START;
    FileResponse(FileResponse) = "core.fs.response", TERMINAL;
    FileData(FileData) = "core.fs.data", NONE;
    FileAck(FileAck) = "core.fs.data.ack", NONE;
    TcpConnect(TcpConnect) = "core.tcp.connect", SESSION_START;
    TcpConnected(TcpConnected) = "core.tcp.connected", NONE;
    TcpData(TcpData) = "core.tcp.data", NONE;
    TcpAck(TcpAck) = "core.tcp.ack", NONE;
    TcpEof(TcpEof) = "core.tcp.eof", NONE;
    TcpClose(TcpClose) = "core.tcp.close", NONE;
    TcpClosed(TcpClosed) = "core.tcp.closed", TERMINAL;
    TcpFailed(TcpFailed) = "core.tcp.failed", TERMINAL;
    JobAttach(JobAttach) = "core.job.attach", SESSION_START;
    JobAttached(JobAttached) = "core.job.attached", NONE;
    JobOutputSkipped(JobOutputSkipped) = "core.job.output.skipped", NONE;
}

/// A type of a payload, or inside one: its name, its attributes and its fields.
pub(super) type Type = (&'static str, &'static [&'static str], &'static [Field]);

const fn of<T: Described>(name: &'static str) -> Type {
    (name, T::ATTRIBUTES, T::FIELDS)
}

/// The types inside these payloads.
pub(super) const INNER: &[Type] = &[
    of::<Rlimit>("Rlimit"),
    of::<FileFailure>("FileFailure"),
    of::<FileStat>("FileStat"),
    of::<FileEntry>("FileEntry"),
    of::<BootDocument>("BootDocument"),
    of::<Disk>("Disk"),
    of::<VolumeMount>("VolumeMount"),
    of::<Mount>("Mount"),
    of::<TmpfsMount>("TmpfsMount"),
    of::<BootFile>("BootFile"),
    of::<MountChange>("MountChange"),
    of::<Network>("Network"),
    of::<Trust>("Trust"),
];

/// The enums in these types.
pub(super) const KINDS: &[(&str, &[&str])] = &[
    ("ErrorKind", ErrorKind::VARIANTS),
    ("FailureKind", FailureKind::VARIANTS),
    ("FileOperation", FileOperation::VARIANTS),
    ("FileKind", FileKind::VARIANTS),
    ("FileFailureKind", FileFailureKind::VARIANTS),
    ("MountChangeKind", MountChangeKind::VARIANTS),
];

impl Message {
    /// Decodes the body of a frame.
    ///
    /// # Errors
    ///
    /// If the body is not an envelope, or the payload is not that of its type.
    pub fn decode(frame: &Frame) -> Result<Self, MessageError> {
        Self::from_envelope(Envelope::decode(frame)?)
    }

    /// Encodes it with its usual flags.
    ///
    /// # Errors
    ///
    /// If it does not fit into a frame.
    pub fn encode(&self, id: u32) -> Result<Frame, MessageError> {
        self.encode_with(id, self.usual_flags())
    }
}

/// Returns the golden schema of the generation: every message with its fields, as text.
pub fn schema_text() -> String {
    fn fields(text: &mut String, fields: &[Field]) {
        for Field { name, kind, .. } in fields {
            // `stringify!` leaves an unspecified amount of space between tokens.
            text.push_str(&format!("    {name}: {}\n", kind.split_whitespace().collect::<String>()));
        }
    }
    let mut text = format!("protocol generation {}\n", super::PROTOCOL_VERSION);
    for (wire, flags, (payload, _, described)) in TABLE {
        text.push_str(&format!("\n{wire} = {payload}, flags {}\n", flags.0));
        fields(&mut text, described);
    }
    for (name, _, described) in INNER {
        text.push_str(&format!("\n{name}\n"));
        fields(&mut text, described);
    }
    for (name, variants) in KINDS {
        text.push_str(&format!("\n{name}\n    {}\n", variants.join(", ")));
    }
    text
}
