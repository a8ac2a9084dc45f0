//! The `msb` command line.
fn main() {}
