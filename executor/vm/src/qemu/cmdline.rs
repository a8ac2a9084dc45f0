//! The command line of the guest's kernel under QEMU.

use crate::driver::Accelerator;

/// Returns the driver's own words. QEMU appends the devices.
const BASE: &[&str] = &[
    "console=ttyS0",
    "quiet",
    "tsc=reliable",
    // A triple fault: the only reset without a device.
    "reboot=t",
    "panic=-1",
    // One serial port, instead of a probe for four.
    "8250.nr_uarts=1",
    // Loop devices are created on demand.
    "loop.max_loop=0",
    "dummy.numdummies=0",
    // There is no other source at boot. QEMU takes the random numbers of an emulated processor from the host's kernel.
    "random.trust_cpu=on",
];

/// Words that make a translated guest faster.
const TCG: &[&str] = &[
    // The locks keep their prefixes, and the translator need not translate those pages again.
    "noreplace-smp",
    // The kernel counts timer ticks during a delay and gives up after too few of them, but on a busy host the
    // emulator is merely late.
    "no_timer_check",
    // QEMU's local APIC counts nanoseconds. Left to itself the kernel measures that for 0.2 s and, on a busy host,
    // rejects the timer all the same; it would be left with the PIT, which wakes an idle guest 37 times in a second.
    // A word of this project's kernels: see `agentd/kernel/build`.
    "lapic_timer_khz=1000000",
];

/// The guest kernel's `CONFIG_HZ`.
const GUEST_HZ: u64 = 250;

pub(super) fn kernel_cmdline(accelerator: Accelerator, extra: &[String]) -> String {
    let mut words = BASE.to_vec();
    if accelerator == Accelerator::Tcg {
        words.extend(TCG);
    }
    words.extend(extra.iter().map(String::as_str));
    words.join(" ")
}

/// A translated guest reads the host's time stamp counter, but can learn its frequency from nothing in this
/// machine. Left to itself it falls back to counting its own ticks: a clock of 4 ms that loses time on a
/// busy host, no fine timers, and fifteen times the work while idle.
pub(super) fn counter_words(khz: u32) -> String {
    let loops_per_jiffy = u64::from(khz) * 1000 / GUEST_HZ;
    format!("tsc_early_khz={khz} lpj={loops_per_jiffy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extra_words_come_last() {
        let cmdline = kernel_cmdline(Accelerator::Kvm, &["a=b".to_owned()]);
        assert_eq!(
            cmdline,
            "console=ttyS0 quiet tsc=reliable reboot=t panic=-1 8250.nr_uarts=1 loop.max_loop=0 \
             dummy.numdummies=0 random.trust_cpu=on a=b"
        );
    }

    #[test]
    fn only_a_translated_guest_is_told_the_frequency_of_its_timer() {
        assert!(kernel_cmdline(Accelerator::Tcg, &[]).contains("lapic_timer_khz=1000000"));
        assert!(!kernel_cmdline(Accelerator::Kvm, &[]).contains("lapic_timer_khz"));
    }

    #[test]
    fn the_counter_is_reported_in_both_units() {
        assert_eq!(counter_words(2_000_000), "tsc_early_khz=2000000 lpj=8000000");
    }
}
