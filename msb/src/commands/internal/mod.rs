//! The commands that msb runs by itself, hidden from the help.

pub mod supervise;
pub mod vmm;
