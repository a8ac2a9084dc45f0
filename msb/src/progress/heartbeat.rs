//! A periodic callback on its own thread, because the event loop may be busy.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A periodic callback, until it is dropped.
pub struct Heartbeat {
    /// The channel that stops the thread when it closes, and the thread.
    running: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Heartbeat {
    /// Calls `beat` after each interval. Returns `None` if the interval is zero.
    pub fn start(interval: Duration, beat: impl Fn() + Send + 'static) -> Option<Self> {
        if interval.is_zero() {
            return None;
        }
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                beat();
            }
        });
        Some(Self { running: Some((stop, thread)) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // A panic of the callback has already been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_until_it_is_dropped() {
        let (sender, beats) = mpsc::channel();
        let heartbeat = Heartbeat::start(Duration::from_millis(1), move || {
            let _ = sender.send(());
        });
        for _ in 0..3 {
            beats.recv().expect("it beats");
        }
        drop(heartbeat);
        // The sender is dropped with the thread, so the channel ends after the beats that are left.
        while beats.try_recv().is_ok() {}
        assert_eq!(beats.recv(), Err(mpsc::RecvError));
    }

    #[test]
    fn a_zero_interval_disables_it() {
        assert!(Heartbeat::start(Duration::ZERO, || panic!("it beats")).is_none());
    }
}
