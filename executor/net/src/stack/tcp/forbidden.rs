//! The answer to a refused HTTP request, in place of a reset.

use super::{Endpoint, Flow, Phase};
use rustix::net::{Shutdown, shutdown};
use smoltcp::time::{Duration, Instant};

/// How long the guest has to read the answer and to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

impl Flow {
    /// Answers the first request of a connection, and closes it. Returns false if that is not possible: the connection is
    /// as before then.
    pub fn forbid(&mut self, answer: &[u8], now: Instant) -> bool {
        let Phase::Guarded { guard, .. } = &self.phase else { return false };
        if !guard.is_first_request() {
            return false;
        }
        let socket = self.socket();
        // The server has spoken already, or the answer would be cut off.
        if socket.send_queue() > 0 || socket.send_capacity() < answer.len() {
            return false;
        }
        if !matches!(socket.send_slice(answer), Ok(sent) if sent == answer.len()) {
            return false;
        }
        socket.close();
        if let Endpoint::Host(stream) = &self.endpoint {
            // It has received nothing.
            let _ = shutdown(stream, Shutdown::Both);
        }
        self.phase = Phase::Forbidden { until: now + CLOSE_TIMEOUT };
        true
    }

    /// Drops what the guest still sends; returns when the connection is aborted.
    pub(super) fn drain(&mut self, now: Instant) -> Option<Instant> {
        let Phase::Forbidden { until } = self.phase else { return None };
        let socket = self.socket();
        while socket.can_recv() {
            if socket.recv(|bytes| (bytes.len(), ())).is_err() {
                break;
            }
        }
        if now >= until {
            socket.abort();
        }
        Some(until)
    }
}
