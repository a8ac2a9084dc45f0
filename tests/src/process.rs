//! Processes, identified by pid and start time.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a process may take to go that was told to.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    start_ticks: u64,
}

impl Process {
    /// The process that has this pid; `None` when it has ended, a zombie included.
    pub fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        Some(Self { pid, start_ticks: fields.nth(18)?.parse().ok()? })
    }

    /// Whether it still runs.
    pub fn lives(self) -> bool {
        Self::find(self.pid) == Some(self)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(self) {
        if self.lives() {
            let pid = Pid::from_raw(self.pid).expect("a pid is not 0");
            let _ = kill_process(pid, Signal::KILL);
        }
        self.wait_for_end();
    }

    /// Waits until it is gone.
    pub fn wait_for_end(self) {
        let deadline = Instant::now() + PATIENCE;
        while self.lives() {
            assert!(Instant::now() < deadline, "process {} does not go: {}", self.pid, describe(self.pid));
            std::thread::sleep(POLL);
        }
    }
}

/// All processes that belong to a home: it is in their command line or environment, or they hold a file in it.
pub fn of_home(home: &Path) -> Vec<Process> {
    let Some(home) = home.to_str() else { return Vec::new() };
    let me = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| u32::try_from(pid).is_ok_and(|pid| pid != me) && belongs(pid, home))
        .filter_map(Process::find)
        .collect()
}

fn belongs(pid: i32, home: &str) -> bool {
    let holds = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes.windows(home.len()).any(|window| window == home.as_bytes())
    };
    let opens = || {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| path.starts_with(home))
    };
    holds("cmdline") || holds("environ") || opens()
}

/// A process's command line, for messages.
pub fn describe(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    format!("{pid}: {}", words.join(" "))
}
