//! The input of a job that its clients have sent and the job has not read.

use super::attachment::Attachment;
use protocol::latest::STDIN_WINDOW_BYTES;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

/// The limit of unread input of a job in bytes; further input is refused. The agent buffers as much.
const UNREAD_BYTES_MAX: u64 = 8 * STDIN_WINDOW_BYTES as u64;
/// The limit of the number of unread parts of different clients.
const UNREAD_PARTS_MAX: usize = 1024;

/// The unread input, by client in the order of its arrival.
#[derive(Debug, Default)]
pub struct UnreadInput {
    parts: VecDeque<(Weak<Attachment>, u64)>,
    bytes: u64,
    /// All bytes that the guest has acknowledged.
    acknowledged: u64,
}

impl UnreadInput {
    /// Adds input of a client. Returns `false` if there is too much already.
    pub fn add(&mut self, client: &Rc<Attachment>, bytes: u64) -> bool {
        if self.bytes + bytes > UNREAD_BYTES_MAX || self.parts.len() >= UNREAD_PARTS_MAX {
            return false;
        }
        self.bytes += bytes;
        match self.parts.back_mut() {
            Some((last, count)) if last.as_ptr() == Rc::as_ptr(client) => *count += bytes,
            _ => self.parts.push_back((Rc::downgrade(client), bytes)),
        }
        true
    }

    /// Takes the guest's acknowledgement of all input since the start, and acknowledges it to the clients that sent it.
    pub fn acknowledge(&mut self, total: u64) {
        // A hostile guest may acknowledge more than it got, or less than before.
        let mut newly = total.saturating_sub(self.acknowledged).min(self.bytes);
        self.acknowledged += newly;
        self.bytes -= newly;
        while newly > 0
            && let Some((client, count)) = self.parts.front_mut()
        {
            let read = newly.min(*count);
            *count -= read;
            newly -= read;
            if let Some(client) = client.upgrade() {
                client.acknowledge_input(read);
            }
            if *count == 0 {
                self.parts.pop_front();
            }
        }
    }
}
