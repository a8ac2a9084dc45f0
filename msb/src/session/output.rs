//! Writing the output of a command.

use protocol::latest::OUTPUT_WINDOW_BYTES;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Capacity of the queue, in bytes. It exceeds the window, so that a slow reader does not block other messages, unless
/// the guest ignores its window.
const QUEUE_BYTES: u32 = 2 * OUTPUT_WINDOW_BYTES as u32;
/// Minimum cost of a piece, in bytes, which bounds the number of short pieces.
const PIECE_BYTES_MIN: u32 = 64;

/// A stream of output.
#[derive(Clone, Copy)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Writes output on its own thread, so that a slow or stopped reader delays neither signals nor timeouts.
pub struct OutputWriter {
    queue: mpsc::UnboundedSender<(Stream, Vec<u8>)>,
    /// Free bytes of the queue.
    capacity: Arc<Semaphore>,
    done: oneshot::Receiver<()>,
}

impl OutputWriter {
    /// Starts the thread. The receiver has the number of written bytes.
    pub fn start() -> (Self, watch::Receiver<u64>) {
        let (queue, mut pieces) = mpsc::unbounded_channel::<(Stream, Vec<u8>)>();
        let (written_in, written) = watch::channel(0u64);
        let (finished, done) = oneshot::channel();
        let capacity = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        let freed = capacity.clone();
        std::thread::spawn(move || {
            while let Some((stream, data)) = pieces.blocking_recv() {
                match stream {
                    Stream::Stdout => write_all(&mut std::io::stdout().lock(), &data),
                    Stream::Stderr => write_all(&mut std::io::stderr().lock(), &data),
                }
                freed.add_permits(cost(&data) as usize);
                written_in.send_modify(|bytes| *bytes += data.len() as u64);
            }
            let _ = finished.send(());
        });
        (Self { queue, capacity, done }, written)
    }

    /// Queues a piece.
    pub async fn write(&self, stream: Stream, data: Vec<u8>) {
        // Neither semaphore nor queue is closed while this exists.
        if let Ok(permit) = self.capacity.acquire_many(cost(&data)).await {
            permit.forget();
            let _ = self.queue.send((stream, data));
        }
    }

    /// Waits until everything is written.
    pub async fn finish(self) {
        drop(self.queue);
        let _ = self.done.await;
    }
}

/// Returns the capacity that a piece takes in the queue. A very large piece takes all of it.
fn cost(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX).clamp(PIECE_BYTES_MIN, QUEUE_BYTES)
}

/// Writes output unchanged. A closed stream ends msb, and thereby the command.
fn write_all(stream: &mut impl Write, data: &[u8]) {
    if let Err(error) = stream.write_all(data).and_then(|()| stream.flush()) {
        crate::output::exit_on_write_error(&error);
    }
}
