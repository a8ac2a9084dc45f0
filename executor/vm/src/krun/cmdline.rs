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
    // There is a keyboard controller, but neither a keyboard nor a mouse to wait for.
    "i8042.noaux",
    "i8042.nokbd",
    "8250.nr_uarts=0",
    // Loop devices come when they are asked for.
    "loop.max_loop=0",
    "dummy.numdummies=0",
];

pub(super) fn kernel_cmdline(extra: &[String]) -> String {
    let words = BASE.iter().copied().chain(extra.iter().map(String::as_str));
    words.collect::<Vec<_>>().join(" ")
}
