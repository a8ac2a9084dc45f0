//! Everything that depends on the processor's architecture.
#![allow(unsafe_code, reason = "the time stamp counter is read with an intrinsic")]

use std::time::{Duration, Instant};

/// The features in `/proc/cpuinfo` of which KVM needs one. Empty if the file does not list them.
#[cfg(target_arch = "x86_64")]
pub const VIRTUALIZATION_FLAGS: &[&str] = &["svm", "vmx"];
#[cfg(not(target_arch = "x86_64"))]
pub const VIRTUALIZATION_FLAGS: &[&str] = &[];

/// The emulator for this architecture.
#[cfg(target_arch = "x86_64")]
pub const QEMU_BINARY: &str = "qemu-system-x86_64";
#[cfg(target_arch = "aarch64")]
pub const QEMU_BINARY: &str = "qemu-system-aarch64";

/// The emulator's package in Debian and Ubuntu.
#[cfg(target_arch = "x86_64")]
pub const QEMU_PACKAGE: &str = "qemu-system-x86";
#[cfg(target_arch = "aarch64")]
pub const QEMU_PACKAGE: &str = "qemu-system-arm";

/// The duration of the measurement. Reading a clock takes some 30 ns, so the error is ten parts in a million.
const COUNTER_WATCHED: Duration = Duration::from_millis(5);
/// The readings of counter and clock, of which the quickest one is kept.
const COUNTER_READINGS: usize = 8;

/// Measures the frequency of the time stamp counter in kHz.
pub fn counter_khz() -> Option<u32> {
    let (first_counter, first_time) = read_counter()?;
    std::thread::sleep(COUNTER_WATCHED);
    let (second_counter, second_time) = read_counter()?;
    let nanoseconds = second_time.duration_since(first_time).as_nanos();
    let ticks = u128::from(second_counter.checked_sub(first_counter)?);
    let khz = (ticks * 1_000_000).checked_div(nanoseconds)?;
    u32::try_from(khz).ok().filter(|&khz| khz > 0)
}

/// Reads the counter and the clock at the same moment.
fn read_counter() -> Option<(u64, Instant)> {
    let readings = (0..COUNTER_READINGS).map(|_| {
        let before = Instant::now();
        let counter = counter();
        (before.elapsed(), counter, before)
    });
    let (_, counter, time) = readings.min_by_key(|&(took, _, _)| took)?;
    Some((counter?, time))
}

#[cfg(target_arch = "x86_64")]
fn counter() -> Option<u64> {
    // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

/// On other architectures the guest reads the frequency from a register.
#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_counter_is_measured_alike_twice() {
        let (first, second) = (counter_khz().unwrap(), counter_khz().unwrap());
        assert!(first > 100_000, "{first}");
        assert!(first.abs_diff(second) < first / 1000, "{first} {second}");
    }
}
