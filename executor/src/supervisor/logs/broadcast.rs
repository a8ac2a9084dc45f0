//! Broadcasts output that no log captures to subscribers.
//!
//! A slow subscriber delays no one: its queue is bounded, and a notice replaces what it misses.

use executor_log::{Entry, Source};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::SystemTime;
use tokio::sync::Notify;

/// The size of a subscriber's queue in bytes.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The size of the backlog without subscribers in bytes: a client subscribes a little after the start of a sandbox.
const BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// The approximate overhead of an entry in bytes.
const ENTRY_BYTES: usize = 96;

/// The sender of output to all subscribers.
#[derive(Debug)]
pub struct OutputBroadcast {
    backlog: Queue,
    subscribers: Vec<Weak<Channel>>,
}

/// A receiver of output, until it is dropped.
#[derive(Debug)]
pub struct Subscriber(Rc<Channel>);

#[derive(Debug)]
struct Channel {
    queue: RefCell<Queue>,
    woken: Notify,
}

/// The newest entries that have not been received.
#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// The dropped data before the entries in bytes.
    lost: usize,
}

impl Queue {
    fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max, lost: 0 }
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.data.len() + ENTRY_BYTES;
        self.entries.push_back(entry);
        while self.bytes > self.bytes_max {
            let Some(dropped) = self.entries.pop_front() else { return };
            self.bytes -= dropped.data.len() + ENTRY_BYTES;
            self.lost += dropped.data.len();
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        if self.lost > 0 {
            let text = format!("[msb: lost here: {} bytes that were not read in time]\n", self.lost);
            self.lost = 0;
            let (time, data) = (SystemTime::now(), text.into_bytes());
            return Some(Entry { time, source: Source::Stderr, session: None, data });
        }
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.data.len() + ENTRY_BYTES;
        Some(entry)
    }
}

impl Default for OutputBroadcast {
    fn default() -> Self {
        Self { backlog: Queue::new(BACKLOG_BYTES_MAX), subscribers: Vec::new() }
    }
}

impl OutputBroadcast {
    /// Sends an entry to all subscribers, or to the backlog if there are none.
    pub fn send(&mut self, entry: Entry) {
        self.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        let Some((last, others)) = self.subscribers.split_last() else { return self.backlog.push(entry) };
        for subscriber in others.iter().filter_map(Weak::upgrade) {
            subscriber.send(entry.clone());
        }
        if let Some(subscriber) = last.upgrade() {
            subscriber.send(entry);
        }
    }

    /// Clears the backlog.
    pub fn clear_backlog(&mut self) {
        self.backlog = Queue::new(BACKLOG_BYTES_MAX);
    }

    /// Adds a subscriber. The first one receives the backlog.
    pub fn subscribe(&mut self) -> Subscriber {
        let mut backlog = std::mem::replace(&mut self.backlog, Queue::new(BACKLOG_BYTES_MAX));
        backlog.bytes_max = WAITING_BYTES_MAX;
        let channel = Rc::new(Channel { queue: RefCell::new(backlog), woken: Notify::new() });
        self.subscribers.push(Rc::downgrade(&channel));
        Subscriber(channel)
    }
}

impl Channel {
    fn send(&self, entry: Entry) {
        self.queue.borrow_mut().push(entry);
        self.woken.notify_one();
    }
}

impl Subscriber {
    /// Returns the next queued entry, if there is one.
    pub fn try_next(&self) -> Option<Entry> {
        self.0.queue.borrow_mut().pop()
    }

    /// Receives the next entry. Cancel safe.
    pub async fn next(&self) -> Entry {
        loop {
            if let Some(entry) = self.try_next() {
                return entry;
            }
            self.0.woken.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(data: &str) -> Entry {
        Entry { time: SystemTime::UNIX_EPOCH, source: Source::Stdout, session: Some(1), data: data.into() }
    }

    fn received(subscriber: &Subscriber) -> Vec<String> {
        let entries = std::iter::from_fn(|| subscriber.try_next());
        entries.map(|entry| String::from_utf8(entry.data).unwrap()).collect()
    }

    #[test]
    fn the_first_subscriber_receives_the_backlog_and_all_receive_the_rest() {
        let mut broadcast = OutputBroadcast::default();
        broadcast.send(entry("a"));
        let first = broadcast.subscribe();
        broadcast.send(entry("b"));
        let second = broadcast.subscribe();
        broadcast.send(entry("c"));
        assert_eq!(received(&first), ["a", "b", "c"]);
        assert_eq!(received(&second), ["c"]);
        drop((first, second));
        broadcast.send(entry("d"));
        assert_eq!(received(&broadcast.subscribe()), ["d"]);
        broadcast.send(entry("e"));
        broadcast.clear_backlog();
        assert!(received(&broadcast.subscribe()).is_empty());
    }

    #[test]
    fn a_full_queue_drops_the_oldest_entries_and_says_so() {
        let mut broadcast = OutputBroadcast::default();
        let slow = broadcast.subscribe();
        let large = "x".repeat(WAITING_BYTES_MAX / 2);
        for _ in 0..4 {
            broadcast.send(entry(&large));
        }
        let received = received(&slow);
        assert_eq!(received.len(), 2);
        let lost = 3 * large.len();
        assert_eq!(received[0], format!("[msb: lost here: {lost} bytes that were not read in time]\n"));
        assert!(slow.0.queue.borrow().bytes == 0);
    }
}
