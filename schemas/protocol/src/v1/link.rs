//! Messages about the link and the sandbox as a whole. Their id is 0, or the client's for ping and pong.

use super::payload::{kinds, payload};

/// The feature in `core.ready` of an agent that supports `core.clock`.
pub const FEATURE_CLOCK: &str = "clock";
/// The feature in `core.ready` of an agent that supports `core.mounts.changed`.
pub const FEATURE_MOUNT_CHANGES: &str = "mount_changes";
/// The most changes in one `core.mounts.changed`.
pub const MOUNT_CHANGES_MAX: usize = 256;

payload! {
    /// `core.ready`: the guest is up.
    pub struct Ready {
        /// The time from the start of the guest's kernel to the agent's first instruction, in nanoseconds.
        pub boot_time_ns: u64,
        /// The time from the agent's first instruction until the root was mounted, in nanoseconds. It includes the wait for
        /// `core.boot`.
        pub init_time_ns: u64,
        /// The time from the start of the guest's kernel to this message, in nanoseconds.
        pub ready_time_ns: u64,
        /// The version of the agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub agent_version: Option<String>,
        /// The features of this agent besides commands: `clock`, `freeze`, `fs`, `fs_tree`, `mount_changes`,
        /// `tcp`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub features: Vec<String>,
    }

    /// `core.clock`: the wall clock of the host. It follows a `core.ready` that lists `clock`, as the time in the boot
    /// document is old after the start of the guest's kernel.
    pub struct Clock {
        /// The time, in nanoseconds since 1970.
        pub unix_ns: u64,
    }

    /// `core.mounts.changed`: the host has changed shared files. The guest's caches of them are out of date, and programs
    /// that watch them are to be notified. Answered with `core.mounts.refreshed`.
    pub struct MountsChanged {
        /// The changes, at most [`MOUNT_CHANGES_MAX`].
        pub changes: Vec<MountChange>,
    }

    /// `core.mounts.refreshed`: one `core.mounts.changed` has been handled. The host waits for it before it sends another.
    pub struct MountsRefreshed {}

    /// A change of a shared file.
    pub struct MountChange {
        /// What happened.
        pub kind: MountChangeKind,
        /// The path in the file system of the device, as bytes: the entry of the share, and what follows.
        #[serde(with = "serde_bytes")]
        pub path: Vec<u8>,
    }

    /// `core.shutdown`. From the host with SHUTDOWN: end all processes and power off. From the guest with SHUTDOWN and
    /// TERMINAL: all processes have ended, and the disks are synced and unmounted.
    pub struct Shutdown {
        /// The time between SIGTERM and SIGKILL, in milliseconds; the guest's default is 5 s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub timeout_ms: Option<u64>,
    }

    /// `core.ping`: answered with `core.pong` of the same id.
    pub struct Ping {}

    /// `core.pong`: the answer to `core.ping`.
    pub struct Pong {}

    /// `core.touch`: counts as activity of the sandbox, and is answered with `core.touched` of the same id.
    pub struct Touch {}

    /// `core.touched`: the answer to `core.touch`.
    pub struct Touched {
        /// The sessions and touches since the boot.
        pub activity_seq: u64,
    }

    /// `core.error`: a message was received but not acted on. TERMINAL if its id has no session.
    pub struct ErrorReport {
        /// The kind of the error.
        pub kind: ErrorKind,
        /// The error as text, for people.
        pub message: String,
        /// The type of the message, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub message_type: Option<String>,
    }

    /// `core.relay.client.disconnected`: ends all sessions with an id in this range, with SIGHUP and later SIGKILL. No
    /// more messages are sent for them.
    pub struct ClientDisconnected {
        /// The first id.
        pub id_start: u32,
        /// The id after the last one.
        pub id_end_exclusive: u32,
    }
}

kinds! {
    /// The reason why a message was not acted on.
    pub enum ErrorKind {
        /// The type is unknown to this agent.
        UnsupportedType,
        /// The envelope or the payload cannot be decoded.
        Malformed,
        /// The id has no session, or already has one.
        WrongSession,
        /// The agent is shutting down, or a limit on sessions is reached.
        Unavailable,
        /// Any kind of a later peer.
        #[serde(other)]
        Other,
    }
}

kinds! {
    /// What happened to a shared file.
    pub enum MountChangeKind {
        /// It is there, and new or changed.
        Changed,
        /// It has been removed.
        Removed,
        /// Any file may have changed, or a kind of a later peer.
        #[serde(other)]
        Everything,
    }
}
