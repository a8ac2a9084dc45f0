//! QEMU's machine protocol (QMP): JSON objects, one per line, both ways.
//!
//! A compromised monitor may write here: lines are bounded, and unknown messages are ignored.

use crate::monitor::{Received, VmEvent};
use serde::Deserialize;
use std::io;

/// The longest line in bytes; longer ones are ignored.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Ends the negotiation, after which events arrive.
pub(crate) const ENABLE: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";
/// Queries the reason for which the virtual processors are stopped.
const QUERY_STATUS: &[u8] = b"{\"execute\":\"query-status\"}\n";
/// Stops the virtual processors after the requests to disks that are under way.
const STOP: &[u8] = b"{\"execute\":\"stop\"}\n";
/// Resumes the virtual processors; requests that failed for lack of space are issued again.
const CONTINUE: &[u8] = b"{\"execute\":\"cont\"}\n";
/// The state of a VM that stopped at a write error, which means a full disk with `werror=enospc`.
const STATUS_IO_ERROR: &str = "io-error";
/// The state of a VM that was stopped on request.
const STATUS_PAUSED: &str = "paused";

/// The protocol on a connection to a monitor, without the connection.
#[derive(Debug, Default)]
pub struct MonitorProtocol {
    /// The start of an incomplete line.
    line: Vec<u8>,
}

#[derive(Deserialize)]
struct Line {
    event: Option<String>,
    #[serde(rename = "return")]
    answer: Option<Answer>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Status { status: String },
    Other(serde::de::IgnoredAny),
}

impl MonitorProtocol {
    /// Returns the request that pauses a running VM, which reports [`VmEvent::Paused`] then. It has no effect on one that
    /// waits for space.
    pub fn pause(&self) -> &'static [u8] {
        STOP
    }

    /// Returns the request that resumes a paused VM. It reports [`VmEvent::OutOfSpace`] again if there is no space.
    pub fn resume(&self) -> &'static [u8] {
        CONTINUE
    }

    /// Parses received bytes.
    ///
    /// # Errors
    ///
    /// If the peer breaks the protocol; the connection must be closed then.
    pub fn receive(&mut self, bytes: &[u8]) -> io::Result<Received> {
        let mut received = Received::default();
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() >= LINE_BYTES_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of QMP is too long"));
                }
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let Ok(Line { event, answer }) = serde_json::from_slice::<Line>(&line) else { continue };
            match event.as_deref() {
                Some("STOP") => received.replies.extend_from_slice(QUERY_STATUS),
                Some("RESUME") => received.events.push(VmEvent::Resumed),
                _ => {}
            }
            if let Some(Answer::Status { status }) = answer {
                match status.as_str() {
                    STATUS_IO_ERROR => received.events.push(VmEvent::OutOfSpace),
                    STATUS_PAUSED => received.events.push(VmEvent::Paused),
                    _ => {}
                }
            }
        }
        Ok(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As QEMU 7.2 writes it when the file system that holds a disk becomes full.
    const FULL: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0}}, \"capabilities\": [\"oob\"]}}\r\n\
        {\"return\": {}}\r\n\
        {\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"BLOCK_IO_ERROR\", \"data\": {\
        \"device\": \"\", \"nospace\": true, \"node-name\": \"disk-writable\", \"reason\": \
        \"No space left on device\", \"operation\": \"write\", \"action\": \"stop\"}}\r\n\
        {\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}\r\n";

    #[test]
    fn a_stop_is_reported_once_its_reason_is_known() {
        let mut qmp = MonitorProtocol::default();
        let received = qmp.receive(FULL.as_bytes()).unwrap();
        assert_eq!((received.events, received.replies), (vec![], QUERY_STATUS.to_vec()));
        let status =
            "{\"return\": {\"status\": \"io-error\", \"singlestep\": false, \"running\": false}}\r\n";
        let (first, second) = status.as_bytes().split_at(20);
        assert_eq!(qmp.receive(first).unwrap().events, []);
        assert_eq!(qmp.receive(second).unwrap().events, [VmEvent::OutOfSpace]);
        let resumed = qmp.receive(b"{\"event\": \"RESUME\"}\r\n{\"return\": {}}\r\n").unwrap();
        assert_eq!(resumed.events, [VmEvent::Resumed]);
        let paused = b"{\"return\": {\"status\": \"paused\", \"running\": false}}\n";
        assert_eq!(qmp.receive(paused).unwrap().events, [VmEvent::Paused]);
        // Other reasons for a stop are ignored.
        let other = b"{\"return\": {\"status\": \"internal-error\", \"running\": false}}\n";
        assert_eq!(qmp.receive(other).unwrap().events, []);
    }

    #[test]
    fn nonsense_is_ignored_and_bounded() {
        let mut qmp = MonitorProtocol::default();
        for nonsense in
            [&b"\n"[..], b"{}\n", b"[]\n", b"{\"event\": 7}\n", b"{\"return\": [1]}\n", b"\xff\xfe\n"]
        {
            assert_eq!(qmp.receive(nonsense).unwrap().events, [], "{nonsense:?}");
        }
        assert!(qmp.receive(&vec![b'x'; LINE_BYTES_MAX + 1]).is_err());
    }
}
