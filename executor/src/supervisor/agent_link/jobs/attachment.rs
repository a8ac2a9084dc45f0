//! A client that is attached to a job.

use super::output::RecentOutput;
use crate::supervisor::agent_link::link::ClientSink;
use protocol::latest::{
    ExecOutputAck, ExecStderr, ExecStdinAck, ExecStdinError, ExecStdout, JobOutputSkipped, Message,
    OUTPUT_WINDOW_BYTES, OutputStream,
};
use std::cell::Cell;
use std::rc::Rc;

/// A client's session with a job. Output that does not fit into its window waits in the job's recent output, and is
/// skipped when it is dropped from there. So a slow client delays neither the job nor other clients.
pub struct Attachment {
    sink: Rc<dyn ClientSink>,
    /// The id of the session, one of the client's.
    id: u32,
    /// The position in the job's output of the next byte for the client.
    position: Cell<u64>,
    /// Output that was sent, in bytes.
    sent: Cell<u64>,
    /// Output that the client has acknowledged, in bytes.
    received: Cell<u64>,
    /// Input that was acknowledged to the client, in bytes.
    input_read: Cell<u64>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Attachment {{ id: {} }}", self.id)
    }
}

impl Attachment {
    /// Creates a client that receives output from this position on.
    pub fn new(sink: Rc<dyn ClientSink>, id: u32, position: u64) -> Self {
        Self {
            sink,
            id,
            position: Cell::new(position),
            sent: Cell::new(0),
            received: Cell::new(0),
            input_read: Cell::new(0),
        }
    }

    /// Sends a message to the client.
    pub fn send(&self, message: impl Into<Message>) {
        // Every message that is sent here fits into a frame, as it came in one or has a few numbers only.
        if let Ok(frame) = message.into().encode(self.id) {
            self.sink.deliver(frame);
        }
    }

    /// Records an acknowledgement. It cannot exceed what was sent, nor decrease.
    pub fn take_output_ack(&self, ExecOutputAck { bytes }: ExecOutputAck) {
        self.received.set(self.received.get().max(bytes.min(self.sent.get())));
    }

    /// Tells the client that more of its input has been read.
    pub fn acknowledge_input(&self, bytes: u64) {
        self.input_read.set(self.input_read.get() + bytes);
        self.send(ExecStdinAck { bytes: self.input_read.get() });
    }

    /// Tells the client that input of it was dropped.
    pub fn refuse_input(&self, bytes: u64, message: &str) {
        self.send(ExecStdinError { errno: None, errno_name: None, message: message.to_owned() });
        self.acknowledge_input(bytes);
    }

    /// Whether the client has received everything before this position, and its window allows more.
    pub fn keeps_up(&self, position: u64) -> bool {
        self.position.get() == position && self.has_window()
    }

    fn has_window(&self) -> bool {
        self.sent.get() - self.received.get() < OUTPUT_WINDOW_BYTES
    }

    /// Sends new output, which follows what the client has received.
    pub fn send_output(&self, stream: OutputStream, data: &[u8]) {
        let count = data.len() as u64;
        self.position.set(self.position.get() + count);
        self.sent.set(self.sent.get() + count);
        match stream {
            OutputStream::Stdout => self.send(ExecStdout { data: data.to_vec() }),
            OutputStream::Stderr => self.send(ExecStderr { data: data.to_vec() }),
        }
    }

    /// Sends waiting output as far as the client's window allows; all of it at the end of the job, as it is bounded.
    pub fn catch_up(&self, output: &RecentOutput, is_end: bool) {
        while is_end || self.has_window() {
            let skipped = output.start().saturating_sub(self.position.get());
            if skipped > 0 {
                self.position.set(output.start());
                self.send(JobOutputSkipped { bytes: skipped });
            }
            let Some((stream, bytes)) = output.from(self.position.get()) else { return };
            self.send_output(stream, bytes);
        }
    }
}
