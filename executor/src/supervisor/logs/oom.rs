//! Detects in the guest kernel's output that a process was killed because memory was exhausted, and why the kernel panicked.
//!
//! Root in the guest can print the same lines, so they only cause events, at a limited rate, and the wording of an end.

use executor_client::event::SandboxEvent;
use std::time::{Duration, Instant};

/// The kernel's message before the pid and the name in brackets.
const KILLED: &str = "ut of memory: Killed process ";
/// The kernel's message before the reason of its panic.
const PANICKED: &str = "Kernel panic - not syncing: ";
/// The longest reason of a panic in characters.
const PANIC_CHARS_MAX: usize = 200;
/// The part of a line that is searched, in bytes.
const LINE_BYTES_MAX: usize = 512;
/// The longest name of a process in characters.
const NAME_CHARS_MAX: usize = 15;
/// The interval of events, during which kills are counted.
const QUIET: Duration = Duration::from_secs(10);

/// The detected kills.
#[derive(Debug, Default)]
pub struct OomKills {
    line: Vec<u8>,
    reported: Option<Instant>,
    waiting: Option<(String, u64)>,
    /// Whether any process was killed.
    any: bool,
    panic: Option<String>,
}

impl OomKills {
    /// Scans output of the kernel.
    pub fn scan(&mut self, bytes: &[u8], now: Instant) -> Option<SandboxEvent> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len()).min(piece.len());
            self.line.extend_from_slice(&piece[..room]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                if let Some((_, reason)) = line.split_once(PANICKED) {
                    self.panic = Some(reason.trim_end().chars().take(PANIC_CHARS_MAX).collect());
                }
                if let Some(process) = killed(&line) {
                    self.any = true;
                    let count = self.waiting.take().map_or(0, |(_, count)| count);
                    self.waiting = Some((process, count + 1));
                }
            }
        }
        self.take_due(now)
    }

    /// Returns whether any process was killed.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Returns the reason of the kernel's panic; `None` without one.
    pub fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    /// Returns the time of the next event, if kills have been counted.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().and(self.reported).map(|reported| reported + QUIET)
    }

    /// Returns the event whose interval has passed.
    pub fn take_due(&mut self, now: Instant) -> Option<SandboxEvent> {
        if self.reported.is_some_and(|reported| now.saturating_duration_since(reported) < QUIET) {
            return None;
        }
        let (process, count) = self.waiting.take()?;
        self.reported = Some(now);
        Some(SandboxEvent::Oom { process, count })
    }

    /// Returns the event of the remaining kills at the end.
    pub fn finish(&mut self) -> Option<SandboxEvent> {
        self.waiting.take().map(|(process, count)| SandboxEvent::Oom { process, count })
    }
}

/// Parses the name of the killed process in a line.
fn killed(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(KILLED)?;
    let (pid, rest) = rest.split_once(" (")?;
    let (name, _) = rest.split_once(')')?;
    let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_pid.then(|| name.chars().take(NAME_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] =
        b"[    3.141592] Out of memory: Killed process 88 (python3) total-vm:99kB, anon-rss:9kB\r\n";

    fn oom(process: &str, count: u64) -> Option<SandboxEvent> {
        Some(SandboxEvent::Oom { process: process.to_owned(), count })
    }

    #[test]
    fn kills_are_found_in_any_pieces_and_counted() {
        let mut kills = OomKills::default();
        let start = Instant::now();
        assert_eq!(kills.scan(&LINE[..40], start), None);
        assert_eq!(kills.scan(&LINE[40..], start), oom("python3", 1));
        assert_eq!(kills.due(), None);
        for _ in 0..3 {
            assert_eq!(kills.scan(LINE, start), None);
        }
        assert_eq!(kills.due(), Some(start + QUIET));
        assert_eq!(kills.take_due(start + QUIET), oom("python3", 3));
        assert_eq!(kills.scan(LINE, start + QUIET), None);
        assert_eq!(kills.finish(), oom("python3", 1));
        assert_eq!(kills.finish(), None);
    }

    #[test]
    fn the_reason_of_a_panic_is_found() {
        let mut kills = OomKills::default();
        let now = Instant::now();
        assert_eq!(kills.scan(b"[    9.1] Kernel panic - not syncing: sysrq trig", now), None);
        assert_eq!((kills.panic(), kills.any()), (None, false));
        assert_eq!(kills.scan(b"gered crash\r\n[    9.2] CPU: 0\r\n", now), None);
        assert_eq!((kills.panic(), kills.any()), (Some("sysrq triggered crash"), false));
        kills.scan(LINE, now);
        assert!(kills.any());
    }

    #[test]
    fn other_lines_say_nothing_and_no_line_is_kept_whole_that_is_too_long() {
        let mut kills = OomKills::default();
        let now = Instant::now();
        let long = vec![b'x'; 4 * LINE_BYTES_MAX];
        let odd: [&[u8]; 5] = [
            b"Out of memory: Killed process x (y)\n",
            b"Out of memory: Killed process 7\n",
            b"Killed process 7 (y)\n",
            &long,
            b"Out of memory: Killed process 7 (y)\n",
        ];
        for line in odd {
            assert_eq!(kills.scan(line, now), None);
            assert!(kills.line.len() <= LINE_BYTES_MAX);
        }
        let endless =
            [b"Memory cgroup out of memory: Killed process 7 (".to_vec(), vec![b'n'; 90], b")\n".to_vec()];
        assert_eq!(kills.scan(&endless.concat(), now), oom(&"n".repeat(NAME_CHARS_MAX), 1));
    }
}
