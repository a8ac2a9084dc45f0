//! Writes the sandbox's events: `events.log`, `network.log` for refusals of the network, and `flows.log` for allowed traffic.

use executor_client::event::SandboxEvent;
use executor_log::{EVENTS_LOG, EventWriter, FLOWS_LOG, Limits, NETWORK_LOG};
use std::io;
use std::path::Path;

/// The writer of the logs.
pub struct EventLog {
    events: EventWriter,
    /// A log of its own, so that many refusals do not rotate other events away.
    network: EventWriter,
    /// Likewise, so that allowed traffic does not rotate refusals away.
    flows: EventWriter,
    /// Whether the last write failed, which has been logged.
    failing: bool,
}

impl EventLog {
    /// Opens the logs in this folder.
    pub fn open(logs: &Path, limits: &Limits) -> io::Result<Self> {
        let events = EventWriter::open(logs, EVENTS_LOG, limits.clone())?;
        let network = EventWriter::open(logs, NETWORK_LOG, limits.clone())?;
        let flows = EventWriter::open(logs, FLOWS_LOG, limits.clone())?;
        Ok(Self { events, network, flows, failing: false })
    }

    /// Writes an event. Failures are only logged: a full disk must not end a sandbox.
    pub fn write(&mut self, event: &SandboxEvent) {
        let log = match event {
            SandboxEvent::Refused(_)
            | SandboxEvent::SecretViolation { .. }
            | SandboxEvent::RequestFailed { .. } => &mut self.network,
            SandboxEvent::Allowed(_) => &mut self.flows,
            _ => &mut self.events,
        };
        match log.append(event) {
            Ok(()) => self.failing = false,
            Err(_) if self.failing => {}
            Err(error) => {
                self.failing = true;
                tracing::warn!("events: {error}");
            }
        }
    }
}
