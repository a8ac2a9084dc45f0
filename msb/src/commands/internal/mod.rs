//! Commands that only msb itself runs, hidden from the help.

pub mod share;
pub mod supervise;
pub mod vmm;
