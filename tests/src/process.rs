//! Processes, identified by pid and start time.

use crate::wait::retry;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use std::fs;
use std::path::Path;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    start_ticks: u64,
}

impl Process {
    /// Finds the process with this pid. `None` if it has ended, even as a zombie.
    pub fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        Some(Self { pid, start_ticks: fields.nth(18)?.parse().ok()? })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::find(self.pid) == Some(self)
    }

    /// Kills it and waits for its end.
    pub fn kill(self) {
        if self.is_alive() {
            let _ = kill_process(pid_of(self.pid), Signal::KILL);
        }
        self.wait_for_end();
    }

    /// Waits for its end.
    pub fn wait_for_end(self) {
        retry(|| if self.is_alive() { Err(format!("process {} runs", describe(self.pid))) } else { Ok(()) });
    }
}

/// Sends a signal to a running process.
pub fn signal(pid: i32, signal: Signal) {
    kill_process(pid_of(pid), signal).expect("a running process");
}

fn pid_of(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("a pid is not 0")
}

/// Finds the processes of a home: those with its path in their command line or environment, or with a file of it open.
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

/// Returns a process's pid and command line, for messages.
pub fn describe(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    format!("{pid}: {}", words.join(" "))
}
