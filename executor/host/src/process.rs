//! Processes, identified by pid, start time and the host's boot: a pid alone may be somebody else's by now.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// One process of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since the host booted (field 22 of `/proc/<pid>/stat`).
    pub start_ticks: u64,
    /// In which life of the host: after a reboot, ticks and pids begin anew. The first half of
    /// `/proc/sys/kernel/random/boot_id`; 0 where that cannot be read.
    #[serde(default)]
    pub boot: u64,
}

/// Which life of the host this is.
fn this_boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        parse_boot_id(&text).unwrap_or(0)
    })
}

/// The first 64 bits of a boot id.
fn parse_boot_id(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).ok()
}

impl ProcessIdentity {
    /// This very process.
    pub fn current() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// The process that has this pid now, unless it has ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, start_ticks: parse_stat(&stat)?, boot: this_boot() })
    }

    /// Whether it still runs. A zombie does not.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Sends it SIGKILL, unless it has ended; never hits a process that took over its pid.
    pub fn kill(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // The descriptor is held before the check, so the identity cannot change in between.
        if self.is_alive() {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

/// The start time in a `/proc/<pid>/stat` line; `None` for a zombie or a dead process.
fn parse_stat(stat: &[u8]) -> Option<u64> {
    // The second field, the name in parentheses, is the process's own choice: any bytes but NUL, blanks and
    // parentheses among them.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let behind_name = str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = behind_name.split_ascii_whitespace();
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
    fn tells_the_living_from_the_dead() {
        let me = ProcessIdentity::current().unwrap();
        assert!(me.is_alive());
        assert!(!ProcessIdentity { start_ticks: me.start_ticks + 1, ..me }.is_alive());
        // The same pid and ticks before a reboot were somebody else.
        assert!(!ProcessIdentity { boot: me.boot ^ 1, ..me }.is_alive());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(ProcessIdentity::of(child.id() as i32), None);
    }

    #[test]
    fn a_boot_is_told_from_another() {
        assert_eq!(parse_boot_id("8f14e45f-ceea-467f-a0e6-0242ac120002\n"), Some(0x8f14_e45f_ceea_467f));
        assert_eq!(parse_boot_id(""), None);
        assert_ne!(this_boot(), 0);
    }

    #[test]
    fn any_name_is_read_past() {
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

    /// A monitor that has been broken into calls itself what it likes.
    #[test]
    fn a_process_is_known_and_killed_whatever_it_calls_itself() {
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
