//! Everything that depends on the processor, in one place. Another architecture is another set of these.
#![allow(unsafe_code, reason = "the time stamp counter is read with an intrinsic")]

use std::time::{Duration, Instant};

/// The processor's features, one of which KVM needs, as `/proc/cpuinfo` names them. Empty where the file
/// does not tell.
#[cfg(target_arch = "x86_64")]
pub const VIRTUALIZATION_FLAGS: &[&str] = &["svm", "vmx"];
#[cfg(not(target_arch = "x86_64"))]
pub const VIRTUALIZATION_FLAGS: &[&str] = &[];

/// The emulator of a machine like this one.
#[cfg(target_arch = "x86_64")]
pub const QEMU_BINARY: &str = "qemu-system-x86_64";
#[cfg(target_arch = "aarch64")]
pub const QEMU_BINARY: &str = "qemu-system-aarch64";

/// The package it comes in, in Debian and Ubuntu.
#[cfg(target_arch = "x86_64")]
pub const QEMU_PACKAGE: &str = "qemu-system-x86";
#[cfg(target_arch = "aarch64")]
pub const QEMU_PACKAGE: &str = "qemu-system-arm";

/// How long the counter is watched. A clock read takes some 30 ns, so this is good to ten parts in a million.
const COUNTER_WATCHED: Duration = Duration::from_millis(5);
/// A reading of counter and clock is repeated, and the one that took the least time is kept.
const COUNTER_READINGS: usize = 8;

/// The frequency of the time stamp counter, in kHz, measured.
pub fn counter_khz() -> Option<u32> {
    let (first_counter, first_time) = read_counter()?;
    std::thread::sleep(COUNTER_WATCHED);
    let (second_counter, second_time) = read_counter()?;
    let nanoseconds = second_time.duration_since(first_time).as_nanos();
    let ticks = u128::from(second_counter.checked_sub(first_counter)?);
    let khz = (ticks * 1_000_000).checked_div(nanoseconds)?;
    u32::try_from(khz).ok().filter(|&khz| khz > 0)
}

/// The counter and the clock at one moment.
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

/// Elsewhere the guest reads the frequency from a register.
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
