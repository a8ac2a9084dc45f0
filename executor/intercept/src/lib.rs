//! TLS interception: a proxy between the guest and the servers that it connects to, which puts the values of secrets
//! into requests.
//!
//! ```text
//! guest ⇄ [executor-net] ⇄ stream ⇄ TLS with a leaf of the sandbox's CA ⇄ HTTP ⇄ TLS, verified ⇄ server
//!                                                    [substitute: placeholder → value, and back]
//! ```
//!
//! Architecture invariant: guest and servers are hostile. The proxy decides nothing about addresses: executor-net has
//! connected to the server by the sandbox's rules before a connection comes here. The values of secrets are in memory
//! only, and never in an event or an error.

#![warn(missing_docs, clippy::missing_errors_doc)]

mod authority;
mod clock;
mod connection;
mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod interceptor;
mod proxy;
mod rules;
mod secret;
pub mod substitute;
#[cfg(test)]
mod tests;
mod upstream;

pub use authority::Authority;
pub use clock::{Clock, SystemClock};
pub use event::{BadRequest, Event, EventSink, Reason};
pub use interceptor::{Connection, Handle, Interceptor, Protocol, Settings};
pub use rules::{ExtraCa, Rules};
pub use secret::{Inject, Secret, Value};
pub use upstream::{CertificateProblem, UpstreamError};
