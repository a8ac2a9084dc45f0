//! Everything that depends on the processor, in one place. Another architecture is another set of these.

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
