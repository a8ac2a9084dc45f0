//! The CPU time of contenders.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Threads whose CPU time is measured.
#[derive(Clone, Debug)]
pub enum Threads {
    /// None.
    None,
    /// Threads of this process, by their directories.
    Own(BTreeSet<PathBuf>),
    /// All of another process.
    Process(u32),
}

impl Threads {
    /// Those of this process with a name that were just started, besides others.
    pub fn new(name: &str, others: &BTreeSet<PathBuf>) -> Self {
        loop {
            let threads: BTreeSet<_> = named(name).difference(others).cloned().collect();
            if !threads.is_empty() {
                return Self::Own(threads);
            }
            // A thread has its name only after a moment.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The CPU time of all of them until now.
    pub fn cpu_time(&self) -> Duration {
        let threads = match self {
            Self::None => Vec::new(),
            Self::Own(threads) => threads.iter().cloned().collect(),
            Self::Process(id) => tasks(&id.to_string()),
        };
        let time = |thread: &PathBuf| {
            let text = fs::read_to_string(thread.join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(threads.iter().filter_map(time).sum())
    }
}

/// The threads of this process with a name, by their directories.
pub fn named(name: &str) -> BTreeSet<PathBuf> {
    let is_it = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|found| found.trim_end() == name)
    };
    tasks("self").into_iter().filter(is_it).collect()
}

fn tasks(process: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{process}/task"));
    entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
