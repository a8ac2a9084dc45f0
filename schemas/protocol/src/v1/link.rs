//! Messages about the link and the sandbox as a whole; their id is 0, or the client's for ping and pong.

use super::payload::{kinds, payload};

/// What `core.ready` lists when the agent takes `core.clock`.
pub const FEATURE_CLOCK: &str = "clock";

payload! {
    /// `core.ready`: the guest is up. All three times are nanoseconds.
    pub struct Ready {
        /// From the guest kernel's start to the agent's first instruction.
        pub boot_time_ns: u64,
        /// From the agent's first instruction until the root was in place (waiting for `core.boot` included).
        pub init_time_ns: u64,
        /// From the guest kernel's start until this message was made.
        pub ready_time_ns: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub agent_version: Option<String>,
        /// What this agent knows beyond commands: `clock`, `fs`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub features: Vec<String>,
    }

    /// `core.clock`: the wall clock of the host. It follows `core.ready`, where that lists `clock`: the boot document may
    /// have waited while the guest's kernel started.
    pub struct Clock {
        /// Nanoseconds since 1970.
        pub unix_ns: u64,
    }

    /// `core.shutdown`. From the host with flag SHUTDOWN: end everything and power off. From the guest
    /// with SHUTDOWN and TERMINAL: every process has ended and the disks are synced and unmounted.
    pub struct Shutdown {
        /// How long processes have between SIGTERM and SIGKILL; the guest's default is 5 s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub timeout_ms: Option<u64>,
    }

    /// `core.ping`: answered by `core.pong` with the same id.
    pub struct Ping {}

    /// `core.pong`.
    pub struct Pong {}

    /// `core.error`: a message was understood as a frame but not acted on. TERMINAL when no session of
    /// that id goes on.
    pub struct ErrorReport {
        pub kind: ErrorKind,
        pub message: String,
        /// The type of the message that this answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub message_type: Option<String>,
    }

    /// `core.relay.client.disconnected`: every session with an id in this range is to end, SIGHUP first
    /// and SIGKILL soon after. Nothing more is sent for it.
    pub struct ClientDisconnected {
        pub id_start: u32,
        pub id_end_exclusive: u32,
    }
}

kinds! {
    /// Why a message was not acted on.
    pub enum ErrorKind {
        /// The type is unknown to this agent.
        UnsupportedType,
        /// Envelope or payload cannot be decoded.
        Malformed,
        /// The id has no session, or already has one.
        WrongSession,
        /// The agent is shutting down, or a limit on sessions is reached.
        Unavailable,
        /// A kind of a later peer.
        #[serde(other)]
        Other,
    }
}
