//! What the guest's kernel is told under libkrun.

/// The driver's own words. libkrun appends the devices.
const BASE: &[&str] = &[
    // The first virtio console.
    "console=hvc0",
    "quiet",
    // A reset through the keyboard controller is what libkrun takes for the end.
    "reboot=k",
    "panic=-1",
    // As in libkrun's own command line.
    "no-kvmapf",
];

pub(super) fn kernel_cmdline(extra: &[String]) -> String {
    let words = BASE.iter().copied().chain(extra.iter().map(String::as_str));
    words.collect::<Vec<_>>().join(" ")
}
