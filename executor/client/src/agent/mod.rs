//! Clients of a sandbox's relay, in two tiers over one handshake.
//!
//! - [`AgentClient`] is typed: it validates the handshake, decodes `core.ready` (and keeps its frame), and refuses
//!   operations that the guest's agent is too old for with [`AgentError::UnsupportedOperation`].
//! - [`RawAgentClient`] carries frames; their CBOR is the caller's.
//!
//! `msb inspect --json NAME` prints the path of the socket (`agent_socket`).
//!
//! ```no_run
//! use executor_client::agent::{AgentClient, Ended, Output};
//! use protocol::latest::{ExecRequest, FileOperation, FileRequest};
//! use std::path::Path;
//!
//! # async fn example() -> Result<(), executor_client::agent::AgentError> {
//! let mut agent = AgentClient::connect(Path::new("/run/sandboxes/0123/agent.sock")).await?;
//! println!("up after {} ms", agent.ready().ready_time_ns / 1_000_000);
//!
//! let command = ExecRequest { user: Some("app".into()), ..ExecRequest::command(&["uname".into(), "-a".into()]) };
//! let ended = agent.exec(command, |output| {
//!     if let Output::Stdout(bytes) = output {
//!         print!("{}", String::from_utf8_lossy(&bytes));
//!     }
//! });
//! assert_eq!(ended.await?, Ended::Exited(0));
//!
//! let request = FileRequest { mode: Some(0o600), ..FileRequest::new(FileOperation::Write, "/tmp/note") };
//! agent.write_file(request, &mut &b"hello"[..]).await?;
//! let mut contents = Vec::new();
//! agent.read_file(b"/tmp/note", &mut contents).await?;
//! assert_eq!(contents, b"hello");
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod exec;
mod files;
mod handshake;
mod outbox;
mod raw;

pub use client::{AgentClient, AgentReceiver, AgentSender};
pub use error::AgentError;
pub use exec::{Ended, Output};
pub use files::FrozenDisk;
#[cfg(test)]
pub(crate) use files::fake_guest;
pub use raw::{RawAgentClient, RawStream};

use std::time::Duration;

/// The default timeout of connecting and the handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
