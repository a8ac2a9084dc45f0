//! The command line of the guest's kernel under libkrun.

/// Returns the driver's own words. libkrun appends the devices.
const BASE: &[&str] = &[
    // The first virtio console.
    "console=hvc0",
    "quiet",
    // libkrun ends the VM at a reset by the keyboard controller.
    "reboot=k",
    "panic=-1",
    // As in libkrun's own command line.
    "no-kvmapf",
    // The keyboard controller has neither a keyboard nor a mouse to wait for.
    "i8042.noaux",
    "i8042.nokbd",
    "8250.nr_uarts=0",
    // Loop devices are created on demand.
    "loop.max_loop=0",
    "dummy.numdummies=0",
];

pub(super) fn kernel_cmdline(extra: &[String]) -> String {
    let words = BASE.iter().copied().chain(extra.iter().map(String::as_str));
    words.collect::<Vec<_>>().join(" ")
}
