//! Questions over a connection: each message has its length in front.

/// The longest question that is taken, in bytes.
const QUESTION_BYTES_MAX: usize = 4096;
/// How many bytes of answers may wait for a client that does not read.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// One client's connection.
#[derive(Default)]
pub struct Session {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Session {
    /// Takes bytes, and gives out whole questions. Says false when the client is to be dropped.
    pub fn take(&mut self, bytes: &[u8], questions: &mut Vec<Vec<u8>>) -> bool {
        self.incoming.extend_from_slice(bytes);
        while let [high, low, rest @ ..] = self.incoming.as_slice() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > QUESTION_BYTES_MAX || self.outgoing.len() > WAITING_BYTES_MAX {
                return false;
            }
            let Some(question) = rest.get(..length) else { break };
            questions.push(question.to_vec());
            self.incoming.drain(..length + 2);
        }
        true
    }

    /// Adds an answer.
    pub fn answer(&mut self, message: &[u8]) {
        if let Ok(length) = u16::try_from(message.len()) {
            self.outgoing.extend_from_slice(&length.to_be_bytes());
            self.outgoing.extend_from_slice(message);
        }
    }

    /// What waits to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// So much was sent.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
    }
}
