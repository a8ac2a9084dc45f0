//! Reaps processes, and signals them by group and by session.
#![allow(unsafe_code)] // rustix sends named signals only; programs use the real-time ones as well.

use rustix::process::{Pid, WaitOptions, wait};

/// An ended child process.
pub struct Ended {
    pub pid: i32,
    /// The exit code, or 128 + signal.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

pub enum Reaped {
    Ended(Ended),
    /// There are running children.
    Running,
    /// There are no processes: every process of the guest descends from a child.
    NoProcess,
}

pub fn reap() -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let signal = status.terminating_signal();
                match status.exit_status().or(signal.map(|signal| 128 + signal)) {
                    Some(code) => return Reaped::Ended(Ended { pid: pid.as_raw_pid(), code, signal }),
                    None => continue,
                }
            }
            Ok(None) => return Reaped::Running,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Reaped::NoProcess,
        }
    }
}

/// Signals a process group. Its leader must not be reaped yet, as the number could be reused. Returns whether the group
/// exists.
pub fn signal_group(leader: i32, signal: i32) -> bool {
    // A leader of 1 or less would mean "all" or "the own group" to kill(2). SAFETY: kill takes two numbers and touches
    // no memory.
    leader > 1 && unsafe { libc::kill(-leader, signal) } == 0
}

/// Schedules the agent as a batch process, so that a command can fill its pipe instead of being preempted at each
/// write. Child processes are scheduled as usual.
pub fn yield_for_exits() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives for the call; 0 is this process.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH | libc::SCHED_RESET_ON_FORK, &parameter) };
}

/// Signals every process but PID 1.
pub fn signal_all(signal: i32) {
    // SAFETY: kill takes two numbers and touches no memory.
    unsafe { libc::kill(-1, signal) };
}

/// Signals every process of a terminal session (setsid(2)), whatever its group.
pub fn signal_session(session: i32, signals: &[i32]) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else { continue };
        if pid > 1 && session_of(&String::from_utf8_lossy(&stat)) == Some(session) {
            for signal in signals {
                // SAFETY: kill takes two numbers and touches no memory.
                unsafe { libc::kill(pid, *signal) };
            }
        }
    }
}

/// The session in a line of /proc/PID/stat. The command name is in parentheses and may contain any bytes.
fn session_of(stat: &str) -> Option<i32> {
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// The foreground process group of a terminal; `None` if there is none.
pub fn foreground_group(terminal: impl std::os::fd::AsFd) -> Option<i32> {
    rustix::termios::tcgetpgrp(terminal).ok().map(Pid::as_raw_pid)
}

#[cfg(test)]
mod tests {
    use super::session_of;

    #[test]
    fn the_session_is_found_after_any_command_name() {
        assert_eq!(session_of("12 (sh) S 1 12 12 34816 12 4194304"), Some(12));
        assert_eq!(session_of("7 (a) b) S 9 9) R 1 7 5 0 -1"), Some(5));
        assert_eq!(session_of(&String::from_utf8_lossy(b"7 (caf\xc3) S 1 7 5 0 -1")), Some(5));
        assert_eq!(session_of("7 (a"), None);
        assert_eq!(session_of(""), None);
    }
}
