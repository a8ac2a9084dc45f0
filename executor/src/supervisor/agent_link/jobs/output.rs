//! The recent output of a job, bounded in memory.

use protocol::latest::OutputStream;
use std::collections::VecDeque;

/// The limit of a job's recent output in bytes, with the overhead of its pieces.
pub const RECENT_BYTES_MAX: usize = 64 * 1024;
/// The approximate overhead of a piece in bytes.
const PIECE_OVERHEAD_BYTES: usize = 64;
/// Output of the same stream is appended to a piece up to this size, in bytes.
const PIECE_BYTES: usize = 4 * 1024;

/// The last bytes of both streams in the order of their arrival. Positions count all bytes since the start of the job.
#[derive(Debug, Default)]
pub struct RecentOutput {
    pieces: VecDeque<(OutputStream, Vec<u8>)>,
    /// The position of the first byte of the first piece.
    start: u64,
    /// The position after the last byte.
    end: u64,
}

impl RecentOutput {
    /// Appends output; drops the oldest.
    pub fn append(&mut self, stream: OutputStream, data: &[u8]) {
        self.end += data.len() as u64;
        let kept = &data[data.len().saturating_sub(RECENT_BYTES_MAX)..];
        if kept.len() < data.len() {
            self.pieces.clear();
        }
        let mut rest = kept;
        if let Some((last, piece)) = self.pieces.back_mut()
            && *last == stream
        {
            let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES.saturating_sub(piece.len())));
            piece.extend_from_slice(now);
            rest = later;
        }
        self.pieces.extend(rest.chunks(PIECE_BYTES).map(|piece| (stream, piece.to_vec())));
        let cost = |(_, piece): &(OutputStream, Vec<u8>)| piece.len() + PIECE_OVERHEAD_BYTES;
        let mut total: usize = self.pieces.iter().map(cost).sum();
        while total > RECENT_BYTES_MAX
            && let Some(dropped) = self.pieces.pop_front()
        {
            total -= cost(&dropped);
        }
        let bytes: usize = self.pieces.iter().map(|(_, piece)| piece.len()).sum();
        self.start = self.end - bytes as u64;
    }

    /// Returns the position of the oldest byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns the position after the newest byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Returns the position at which a new client begins: the oldest byte, or the start of the first whole line if
    /// older output has been dropped.
    pub fn first_line(&self) -> u64 {
        if self.start == 0 {
            return 0;
        }
        let mut position = self.start;
        for (_, piece) in &self.pieces {
            if let Some(at) = piece.iter().position(|byte| *byte == b'\n') {
                return position + at as u64 + 1;
            }
            position += piece.len() as u64;
        }
        self.start
    }

    /// Returns output from this position on; `None` at the end. The position must not be before the oldest byte.
    pub fn from(&self, position: u64) -> Option<(OutputStream, &[u8])> {
        let mut skip = usize::try_from(position.checked_sub(self.start)?).ok()?;
        for (stream, piece) in &self.pieces {
            match piece.get(skip..) {
                Some(rest) if !rest.is_empty() => return Some((*stream, rest)),
                _ => skip -= piece.len(),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the output from a position on.
    fn read(output: &RecentOutput, mut position: u64) -> String {
        let mut text = String::new();
        while let Some((stream, bytes)) = output.from(position) {
            text.push(if stream == OutputStream::Stdout { 'o' } else { 'e' });
            text.push_str(std::str::from_utf8(bytes).unwrap());
            position += bytes.len() as u64;
        }
        assert_eq!(position, output.end());
        text
    }

    #[test]
    fn streams_keep_their_order() {
        let mut output = RecentOutput::default();
        for (stream, text) in
            [(OutputStream::Stdout, "a"), (OutputStream::Stdout, "b\n"), (OutputStream::Stderr, "c")]
        {
            output.append(stream, text.as_bytes());
        }
        assert_eq!(read(&output, 0), "oab\nec");
        assert_eq!(read(&output, 2), "o\nec");
        assert_eq!(read(&output, 4), "");
        assert_eq!((output.first_line(), output.start(), output.end()), (0, 0, 4));
    }

    #[test]
    fn memory_is_bounded_for_large_and_for_small_pieces() {
        let mut output = RecentOutput::default();
        output.append(OutputStream::Stdout, &vec![b'x'; 10 * RECENT_BYTES_MAX]);
        assert!(output.end() - output.start() <= RECENT_BYTES_MAX as u64);
        assert_eq!(output.first_line(), output.start());
        for _ in 0..RECENT_BYTES_MAX {
            output.append(OutputStream::Stdout, b"o");
            output.append(OutputStream::Stderr, b"\n");
        }
        assert!(output.pieces.len() <= RECENT_BYTES_MAX / PIECE_OVERHEAD_BYTES);
        assert_eq!(output.end(), 12 * RECENT_BYTES_MAX as u64);
        let first = output.first_line();
        assert!(first == output.start() + 1 || first == output.start() + 2, "{first}");
        assert!(read(&output, first).starts_with("oo"));
    }

    #[test]
    fn a_client_begins_with_a_whole_line_once_output_was_dropped() {
        let mut output = RecentOutput::default();
        for number in 0..20_000 {
            output.append(OutputStream::Stdout, format!("line {number}\n").as_bytes());
        }
        let first = output.first_line();
        assert!(first > output.start());
        let (_, bytes) = output.from(first).unwrap();
        assert!(bytes.starts_with(b"line "), "{:?}", String::from_utf8_lossy(&bytes[..20]));
    }
}
