//! The network of a sandbox, without root: its VM has one link, which ends in this process. A connection continues as a
//! socket of the host only if the rules allow it.
//!
//! ```text
//! guest ⇄ virtio-net ⇄ stream of frames ⇄ [stack: one thread] ⇄ sockets of the host
//!                                            │        │
//!                                         [policy]  [dns] ⇄ the host's name servers
//! ```
//!
//! Architecture invariant: the guest is hostile. Every byte that it sends is validated before use, and everything that
//! it can make grow has a limit.

#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::missing_errors_doc)]

mod address;
mod allowed;
mod counters;
mod dns;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guard;
pub mod holder;
mod host;
pub mod http;
mod intercept;
mod link;
pub mod peer;
pub mod policy;
mod poller;
mod proxy;
mod published;
mod quic;
mod sni;
mod stack;
mod wire;

pub use address::{Addresses, Family, Pools};
pub use allowed::{Allowed, AllowedSink, Traffic};
pub use counters::Counters;
pub use event::{Reason, Refusal, RefusalSink, Subject};
pub use host::is_own;
pub use intercept::{Intercepted, InterceptedProtocol, Interception, TakeOver};
pub use proxy::Password;
pub use published::{BoundPort, PortError, bind};
pub use rules::pool::{IPV4_PREFIX, IPV6_PREFIX};
pub use stack::{CommandError, OnFailure, Settings, Stack, StackError};
pub use wire::GUEST_MAC;
