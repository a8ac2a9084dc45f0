//! Random choices of tests, whose seeds are printed, and how much a long run does.

use std::fs::File;
use std::io::Read;

/// Returns the seed of a test: that in `E2E_SEED`, or a new one; and prints it.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    // Room for those that follow it.
    let seed = setting("E2E_SEED", u64::from_le_bytes(bytes) >> 1);
    println!("E2E_SEED={seed}");
    seed
}

/// Returns the number in an environment variable, or a default.
pub fn setting(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
