//! Processes from outside: reaping them, signalling them by group and by session.
#![allow(unsafe_code)] // rustix sends named signals only; programs use the real-time ones as well.

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

/// What a finished child left.
pub struct Ended {
    pub pid: i32,
    /// The exit code, or 128 + signal.
    pub code: i32,
}

pub enum Reaped {
    Ended(Ended),
    /// There are children, and none of them has ended.
    Running,
    /// Nobody is left: not only no child, but no process of the guest's, as each descends from one.
    Nobody,
}

pub fn reap() -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => match exit_code(status) {
                Some(code) => return Reaped::Ended(Ended { pid: pid.as_raw_pid(), code }),
                None => continue,
            },
            Ok(None) => return Reaped::Running,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Reaped::Nobody,
        }
    }
}

fn exit_code(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}

/// To a process group. Only for a group whose leader is not reaped yet: else the number may be another's.
pub fn signal_group(leader: i32, signal: i32) -> bool {
    // A leader of 1 or less would mean "everybody" or "my own group" to kill(2).
    // SAFETY: kill takes two numbers and touches no memory.
    leader > 1 && unsafe { libc::kill(-leader, signal) } == 0
}

/// Lets a command that has just written go on to fill its pipe, where otherwise each of its writes would
/// switch to us at once. What we start is scheduled as usual.
pub fn yield_for_exits() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives for the call; 0 is this process.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH | libc::SCHED_RESET_ON_FORK, &parameter) };
}

/// To every process but PID 1.
pub fn signal_all(signal: i32) {
    // SAFETY: kill takes two numbers and touches no memory.
    unsafe { libc::kill(-1, signal) };
}

/// To every process of a terminal session (`setsid`), whatever groups its shell made of them.
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

/// The session in a line of /proc/PID/stat. The command stands in brackets and may hold anything,
/// half a character for example, where its name was cut off.
fn session_of(stat: &str) -> Option<i32> {
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// The group in the foreground of a terminal.
pub fn foreground_group(terminal: impl std::os::fd::AsFd) -> Option<i32> {
    rustix::termios::tcgetpgrp(terminal).ok().map(Pid::as_raw_pid)
}

#[cfg(test)]
mod tests {
    use super::session_of;

    #[test]
    fn the_session_is_found_behind_any_command() {
        assert_eq!(session_of("12 (sh) S 1 12 12 34816 12 4194304"), Some(12));
        assert_eq!(session_of("7 (a) b) S 9 9) R 1 7 5 0 -1"), Some(5));
        assert_eq!(session_of(&String::from_utf8_lossy(b"7 (caf\xc3) S 1 7 5 0 -1")), Some(5));
        assert_eq!(session_of("7 (a"), None);
        assert_eq!(session_of(""), None);
    }
}
