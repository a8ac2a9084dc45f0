//! Who hears output that is written to no file, while it is printed.
//!
//! Whoever is slow never holds anybody up: what waits for a listener is bounded, and what it misses is told it.

use executor_log::{Entry, Source};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::SystemTime;
use tokio::sync::Notify;

/// So much waits for one listener, in bytes.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So much is remembered while nobody listens, in bytes: whoever starts a sandbox begins to listen a little later.
const BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// What an entry takes beside its data, about, in bytes.
const ENTRY_BYTES: usize = 96;

/// All who listen.
#[derive(Debug)]
pub struct OutputBroadcast {
    backlog: Queue,
    listeners: Vec<Weak<Ear>>,
}

/// One who listens, as long as this lives.
#[derive(Debug)]
pub struct Subscriber(Rc<Ear>);

#[derive(Debug)]
struct Ear {
    queue: RefCell<Queue>,
    woken: Notify,
}

/// What has yet to be told, the newest of it.
#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// So much of the data in front of it was dropped, in bytes.
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
            let text = format!("[msb: lost here: {} bytes that nobody took in time]\n", self.lost);
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
        Self { backlog: Queue::new(BACKLOG_BYTES_MAX), listeners: Vec::new() }
    }
}

impl OutputBroadcast {
    /// Tells all who listen; remembers it for a while where nobody does.
    pub fn tell(&mut self, entry: Entry) {
        self.listeners.retain(|listener| listener.strong_count() > 0);
        let Some((last, others)) = self.listeners.split_last() else { return self.backlog.push(entry) };
        for listener in others.iter().filter_map(Weak::upgrade) {
            listener.tell(entry.clone());
        }
        if let Some(listener) = last.upgrade() {
            listener.tell(entry);
        }
    }

    /// Nothing is remembered any more.
    pub fn forget(&mut self) {
        self.backlog = Queue::new(BACKLOG_BYTES_MAX);
    }

    /// One more who listens. The first one hears what was remembered.
    pub fn join(&mut self) -> Subscriber {
        let mut backlog = std::mem::replace(&mut self.backlog, Queue::new(BACKLOG_BYTES_MAX));
        backlog.bytes_max = WAITING_BYTES_MAX;
        let ear = Rc::new(Ear { queue: RefCell::new(backlog), woken: Notify::new() });
        self.listeners.push(Rc::downgrade(&ear));
        Subscriber(ear)
    }
}

impl Ear {
    fn tell(&self, entry: Entry) {
        self.queue.borrow_mut().push(entry);
        self.woken.notify_one();
    }
}

impl Subscriber {
    /// What is there already.
    pub fn waiting(&self) -> Option<Entry> {
        self.0.queue.borrow_mut().pop()
    }

    /// The next entry. May be cancelled without loss.
    pub async fn next(&self) -> Entry {
        loop {
            if let Some(entry) = self.waiting() {
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

    fn heard(listener: &Subscriber) -> Vec<String> {
        let entries = std::iter::from_fn(|| listener.waiting());
        entries.map(|entry| String::from_utf8(entry.data).unwrap()).collect()
    }

    #[test]
    fn the_first_listener_hears_what_came_before_and_all_hear_the_rest() {
        let mut broadcast = OutputBroadcast::default();
        broadcast.tell(entry("a"));
        let first = broadcast.join();
        broadcast.tell(entry("b"));
        let second = broadcast.join();
        broadcast.tell(entry("c"));
        assert_eq!(heard(&first), ["a", "b", "c"]);
        assert_eq!(heard(&second), ["c"]);
        drop((first, second));
        broadcast.tell(entry("d"));
        assert_eq!(heard(&broadcast.join()), ["d"]);
        broadcast.tell(entry("e"));
        broadcast.forget();
        assert!(heard(&broadcast.join()).is_empty());
    }

    #[test]
    fn what_is_not_taken_in_time_is_dropped_and_told() {
        let mut broadcast = OutputBroadcast::default();
        let slow = broadcast.join();
        let large = "x".repeat(WAITING_BYTES_MAX / 2);
        for _ in 0..4 {
            broadcast.tell(entry(&large));
        }
        let heard = heard(&slow);
        assert_eq!(heard.len(), 2);
        let lost = 3 * large.len();
        assert_eq!(heard[0], format!("[msb: lost here: {lost} bytes that nobody took in time]\n"));
        assert!(slow.0.queue.borrow().bytes == 0);
    }
}
