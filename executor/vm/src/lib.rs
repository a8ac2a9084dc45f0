//! VM drivers: one narrow border, krun and qemu behind it
