//! What processes use of the host.

use rustix::time::{ClockId, clock_gettime};
use std::fs::read_to_string;
use std::time::Duration;

/// What one or several processes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The processor time since their start.
    pub cpu: Duration,
    /// The memory that they do not share with files, in bytes: their own, and that of guests.
    pub memory_bytes: Option<u64>,
    /// The part of it that only one process has: without memory that is shared with others, in bytes.
    pub private_bytes: Option<u64>,
    /// The bytes that were read from disks for them; `None` if the kernel does not say.
    pub disk_read_bytes: Option<u64>,
    /// The bytes that were written to disks for them.
    pub disk_written_bytes: Option<u64>,
}

/// Returns the time since the host's boot, in which the time of a suspended host counts.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Returns what a process uses, with all its threads; `None` if there is none.
pub fn usage(pid: i32) -> Option<Usage> {
    let read = |file: &str| read_to_string(format!("/proc/{pid}/{file}")).ok();
    // Its name may contain any bytes but does not come as text then, which is a process of another.
    let cpu = std::fs::read(format!("/proc/{pid}/stat")).ok().and_then(|stat| cpu_of(&stat))?;
    let status = read("status").unwrap_or_default();
    let own = number_after(&status, "RssAnon:").map(|kib| kib.saturating_mul(1024));
    let shared = number_after(&status, "RssShmem:").map(|kib| kib.saturating_mul(1024));
    let io = read("io").unwrap_or_default();
    Some(Usage {
        cpu,
        memory_bytes: own.zip(shared).map(|(own, shared)| own.saturating_add(shared)),
        private_bytes: own,
        disk_read_bytes: number_after(&io, "read_bytes:"),
        // Before `cancelled_write_bytes`, whose name ends the same.
        disk_written_bytes: io.lines().find_map(|line| number_after(line.strip_prefix("write_bytes")?, ":")),
    })
}

/// Returns the processor time of a `/proc/<pid>/stat` line.
fn cpu_of(stat: &[u8]) -> Option<Duration> {
    // The process chooses the second field, its name in parentheses.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let ticks = user.saturating_add(system);
    Some(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / ticks_per_second)))
}

/// Returns the first number after a name.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_processor_time() {
        let before = usage(std::process::id().cast_signed()).unwrap();
        let bytes = vec![1_u8; 64 << 20];
        let mut after = usage(std::process::id().cast_signed()).unwrap();
        let grown = after.private_bytes.unwrap() - before.private_bytes.unwrap();
        assert!(grown >= 60 << 20, "{grown}");
        assert_eq!(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 64 << 20);
        // Clock ticks are coarse.
        while after.cpu == before.cpu {
            after = usage(std::process::id().cast_signed()).unwrap();
        }
        assert!(after.cpu > before.cpu);
        assert!(after.disk_written_bytes.is_some());
        assert_eq!(usage(i32::MAX), None);
    }

    #[test]
    fn the_fields_of_a_process_with_a_strange_name_are_found() {
        let stat = b"7 (a) S 1 (\xff) S 1 2 3 4 5 6 7 8 9 10 150 50 13";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of(b"7 (x) S 1"), None);
        assert_eq!(cpu_of(b""), None);
    }
}
