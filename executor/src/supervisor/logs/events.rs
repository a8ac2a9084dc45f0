//! Writes down what happens to the sandbox: `events.log`, and `network.log` for what the network has refused.

use executor_client::event::SandboxEvent;
use executor_log::{EVENTS_LOG, EventWriter, Limits, NETWORK_LOG};
use std::io;
use std::path::Path;

/// The one writer of both logs.
pub struct EventLog {
    events: EventWriter,
    /// A log of its own, so that a guest that is refused a lot does not drive out what has become of it.
    network: EventWriter,
    /// The last event could not be written; that has been told.
    failing: bool,
}

impl EventLog {
    /// Opens both in this folder of logs.
    pub fn open(logs: &Path, limits: &Limits) -> io::Result<Self> {
        let events = EventWriter::open(logs, EVENTS_LOG, limits.clone())?;
        let network = EventWriter::open(logs, NETWORK_LOG, limits.clone())?;
        Ok(Self { events, network, failing: false })
    }

    /// Writes down what happens now. A full disk must not end a sandbox.
    pub fn write(&mut self, event: &SandboxEvent) {
        let log = match event {
            SandboxEvent::Refused(_) => &mut self.network,
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
