//! What the guest's kernel is told under QEMU.

/// The driver's own words. QEMU appends the devices.
const BASE: &[&str] = &[
    "console=ttyS0",
    "quiet",
    "tsc=reliable",
    // A triple fault: the one reset that needs no device.
    "reboot=t",
    "panic=-1",
];

pub(super) fn kernel_cmdline(extra: &[String]) -> String {
    let words = BASE.iter().copied().chain(extra.iter().map(String::as_str));
    words.collect::<Vec<_>>().join(" ")
}
