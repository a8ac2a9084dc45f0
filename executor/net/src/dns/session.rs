//! DNS over TCP: each message has a two-byte length prefix (RFC 1035, 4.2.2).

/// The longest query that is accepted, in bytes.
const QUESTION_BYTES_MAX: usize = 4096;
/// The limit of queued responses to a client that does not read, in bytes.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// One client's connection.
#[derive(Default)]
pub struct TcpSession {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// More responses were queued than the limit allows.
    overrun: bool,
}

impl TcpSession {
    /// Takes received bytes and appends complete queries to `questions`. Returns false if the client must be
    /// disconnected.
    pub fn take(&mut self, bytes: &[u8], questions: &mut Vec<Vec<u8>>) -> bool {
        self.incoming.extend_from_slice(bytes);
        let mut at = 0;
        while let Some([high, low, rest @ ..]) = self.incoming.get(at..) {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > QUESTION_BYTES_MAX || self.overrun {
                return false;
            }
            let Some(question) = rest.get(..length) else { break };
            questions.push(question.to_vec());
            at += 2 + length;
        }
        self.incoming.drain(..at);
        !self.overrun
    }

    /// Queues a response.
    pub fn answer(&mut self, message: &[u8]) {
        self.overrun |= self.outgoing.len() + message.len() > WAITING_BYTES_MAX;
        if self.overrun {
            return;
        }
        if let Ok(length) = u16::try_from(message.len()) {
            self.outgoing.extend_from_slice(&length.to_be_bytes());
            self.outgoing.extend_from_slice(message);
        }
    }

    /// The bytes that are queued for sending.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Removes sent bytes from the queue.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_is_dropped() {
        let mut session = TcpSession::default();
        let mut questions = Vec::new();
        assert!(session.take(&[0, 1, 7].repeat(100), &mut questions));
        assert_eq!(questions, vec![vec![7]; 100]);
        // All of them are answered before anything more is read.
        for _ in &questions {
            session.answer(&[0; 60_000]);
        }
        assert!(session.outgoing().len() <= WAITING_BYTES_MAX);
        assert!(!session.take(&[], &mut questions));
    }

    #[test]
    fn queries_are_complete_in_any_segmentation() {
        let bytes = [0, 2, 1, 2, 0, 0, 0, 1, 3];
        for size in 1..bytes.len() {
            let (mut session, mut questions) = (TcpSession::default(), Vec::new());
            assert!(bytes.chunks(size).all(|piece| session.take(piece, &mut questions)));
            assert_eq!(questions, [vec![1, 2], vec![], vec![3]], "{size}");
        }
    }
}
