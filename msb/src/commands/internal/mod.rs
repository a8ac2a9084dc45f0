//! Commands that only msb itself and its packaging run, hidden from the help.

pub mod man;
pub mod share;
pub mod supervise;
pub mod vmm;
