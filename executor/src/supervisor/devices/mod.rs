//! Devices of a virtual machine that outlast it.

pub mod volumes;
