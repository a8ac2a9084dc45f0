//! The command's output, written out here.

use protocol::latest::OUTPUT_WINDOW_BYTES;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// How much waits to be written, in bytes. More than an honest guest sends unacknowledged: what else it says is heard
/// however slow the reader is. One that does not keep to its window is not read meanwhile.
const QUEUE_BYTES: u32 = 2 * OUTPUT_WINDOW_BYTES as u32;
/// What a piece takes at least, however short it is.
const PIECE_BYTES_MIN: u32 = 64;

/// Where output goes.
#[derive(Clone, Copy)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Writes output on a thread of its own, so that a reader that is slow, or stopped, delays neither signals
/// nor time limits.
pub struct OutputWriter {
    queue: mpsc::UnboundedSender<(Stream, Vec<u8>)>,
    room: Arc<Semaphore>,
    done: oneshot::Receiver<()>,
}

impl OutputWriter {
    /// Starts the thread; the receiver tells how many bytes have been written.
    pub fn start() -> (Self, watch::Receiver<u64>) {
        let (queue, mut pieces) = mpsc::unbounded_channel::<(Stream, Vec<u8>)>();
        let (taken, takes) = watch::channel(0u64);
        let (finished, done) = oneshot::channel();
        let room = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        let freed = room.clone();
        std::thread::spawn(move || {
            while let Some((stream, data)) = pieces.blocking_recv() {
                match stream {
                    Stream::Stdout => write_all(&mut std::io::stdout().lock(), &data),
                    Stream::Stderr => write_all(&mut std::io::stderr().lock(), &data),
                }
                freed.add_permits(share(&data) as usize);
                taken.send_modify(|taken| *taken += data.len() as u64);
            }
            let _ = finished.send(());
        });
        (Self { queue, room, done }, takes)
    }

    /// Queues a piece.
    pub async fn write(&self, stream: Stream, data: Vec<u8>) {
        // Neither is closed before this is gone.
        if let Ok(room) = self.room.acquire_many(share(&data)).await {
            room.forget();
            let _ = self.queue.send((stream, data));
        }
    }

    /// Waits until all is written.
    pub async fn finish(self) {
        drop(self.queue);
        let _ = self.done.await;
    }
}

/// How much room a piece takes in the queue. A piece of megabytes takes all there is.
fn share(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX).clamp(PIECE_BYTES_MIN, QUEUE_BYTES)
}

/// Writes output as it is. A reader that went away ends msb, and with it the command.
fn write_all(stream: &mut impl Write, data: &[u8]) {
    if let Err(error) = stream.write_all(data).and_then(|()| stream.flush()) {
        crate::output::exit_on_write_error(&error);
    }
}
