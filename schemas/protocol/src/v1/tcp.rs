//! Messages of a TCP connection that the agent opens inside the guest, such as to a server there that no port publishes.
//!
//! It is a connection of the guest: the guest's own routes and the sandbox's network rules apply to it.

use super::payload::payload;

/// The feature in `core.ready` of an agent that supports these messages.
pub const FEATURE_TCP: &str = "tcp";
/// The most data in either direction without an acknowledgement, in bytes, if [`TcpConnect::acks`] is set.
pub const TCP_WINDOW_BYTES: u64 = 1024 * 1024;

payload! {
    /// `core.tcp.connect`, flag SESSION_START: opens a connection. The answer is `core.tcp.connected`, or
    /// `core.tcp.failed` (TERMINAL).
    pub struct TcpConnect {
        /// The address, or a name in the guest's `/etc/hosts`. Other names are not looked up.
        pub host: String,
        /// The port.
        pub port: u16,
        /// Whether both sides acknowledge data.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub acks: bool,
    }

    /// `core.tcp.connected`: the connection is open.
    pub struct TcpConnected {}

    /// `core.tcp.data`: the next bytes of the connection, in either direction.
    pub struct TcpData {
        /// The bytes.
        #[serde(with = "serde_bytes")]
        pub data: Vec<u8>,
    }

    /// `core.tcp.ack`: acknowledges data, of which at most [`TCP_WINDOW_BYTES`] are sent without it.
    pub struct TcpAck {
        /// The bytes since the start of the connection that were passed on.
        pub bytes: u64,
    }

    /// `core.tcp.eof`: the sender sends no more data; the other direction stays open.
    pub struct TcpEof {}

    /// `core.tcp.close`: the client drops the connection. Data that is still on its way is lost.
    pub struct TcpClose {}

    /// `core.tcp.closed`, flag TERMINAL: both directions have ended, or the client has dropped the connection.
    pub struct TcpClosed {}

    /// `core.tcp.failed`, flag TERMINAL: the connection could not be opened, or broke.
    pub struct TcpFailed {
        /// The reason as a sentence, for people.
        pub error: String,
        /// The error number, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno: Option<i32>,
        /// The name of the error number, such as `ECONNREFUSED`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub errno_name: Option<String>,
    }
}
