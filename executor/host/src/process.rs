//! Processes, identified by pid, start time and the host's boot: a pid alone may be reused.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The identity of one process of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its pid.
    pub pid: i32,
    /// Its start time, in clock ticks since the host booted (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
    /// The host's boot, as pids and ticks are reused after a reboot: the first half of
    /// `/proc/sys/kernel/random/boot_id`, or 0 if that cannot be read.
    #[serde(default)]
    pub boot: u64,
}

/// Returns the identity of the host's current boot.
fn this_boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        parse_boot_id(&text).unwrap_or(0)
    })
}

/// Parses the first 64 bits of a boot id.
fn parse_boot_id(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).ok()
}

impl ProcessIdentity {
    /// Identifies this process; `None` if `/proc` cannot be read.
    pub fn current() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Identifies the process that has this pid now; `None` if there is none, or a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, start_ticks: parse_stat(&stat)?, boot: this_boot() })
    }

    /// Whether the process still runs. A zombie does not.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Whether the host has been rebooted since the process was identified; false if that is unknown.
    pub fn is_of_earlier_boot(&self) -> bool {
        self.boot != 0 && this_boot() != 0 && self.boot != this_boot()
    }

    /// Sends SIGKILL to the process unless it has ended; never to another process that reuses its pid.
    pub fn kill(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // The pidfd is opened before the check, so the pid cannot be reused in between.
        if self.is_alive() {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

/// Parses the start time in a `/proc/<pid>/stat` line; `None` for a zombie or a dead process.
fn parse_stat(stat: &[u8]) -> Option<u64> {
    // The process chooses the second field, its name in parentheses: any bytes but NUL, even blanks and parentheses.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let after_name = str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_process_is_not_alive() {
        let me = ProcessIdentity::current().unwrap();
        assert!(me.is_alive());
        assert!(!ProcessIdentity { start_ticks: me.start_ticks + 1, ..me }.is_alive());
        // The same pid and ticks before a reboot mean another process.
        let earlier = ProcessIdentity { boot: me.boot ^ 1, ..me };
        assert!(!earlier.is_alive() && earlier.is_of_earlier_boot() && !me.is_of_earlier_boot());
        assert!(!ProcessIdentity { boot: 0, ..me }.is_of_earlier_boot());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(ProcessIdentity::of(child.id() as i32), None);
    }

    #[test]
    fn boot_ids_are_parsed() {
        assert_eq!(parse_boot_id("8f14e45f-ceea-467f-a0e6-0242ac120002\n"), Some(0x8f14_e45f_ceea_467f));
        assert_eq!(parse_boot_id(""), None);
        assert_ne!(this_boot(), 0);
    }

    #[test]
    fn names_of_any_bytes_are_skipped() {
        let rest = " R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 19";
        for name in [&b"plain"[..], b"a) S (b", b"\xff", b"\xff) Z 1 (\xc3", b" ", b"", b")))(((", b"\n) X "]
        {
            let line = |rest: &str| [b"7 (", name, b")", rest.as_bytes()].concat();
            assert_eq!(parse_stat(&line(rest)), Some(4242), "{name:?}");
            assert_eq!(parse_stat(&line(&rest.replacen('R', "Z", 1))), None, "{name:?}");
        }
        for nonsense in [&b""[..], b"7", b"7 (x", b"7 (x)", b"7 (x) R", b"7 (x) R \xff", b")"] {
            assert_eq!(parse_stat(nonsense), None, "{nonsense:?}");
        }
    }

    /// A compromised monitor may choose any name.
    #[test]
    fn a_process_of_any_name_is_identified_and_killed() {
        let folder = tempfile::tempdir().unwrap();
        let program =
            folder.path().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff) Z"));
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("1000").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id() as i32);
        let lives = identity.is_some_and(|identity| identity.is_alive());
        if let Some(identity) = identity {
            identity.kill();
        } else {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        assert!(lives);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(!identity.unwrap().is_alive());
    }
}
