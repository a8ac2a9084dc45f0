//! The walk over a plan whose steps do nothing: 10,000 in a chain and in a fan, with the journal in a catalog.

use crate::Result;
use crate::figure::{Figure, Limit, Samples};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Steps of a walk.
const STEPS: u32 = 10_000;
/// How long they may take: 50 microseconds each.
const LIMIT_MS: f64 = 500.0;

/// Each shape at each width, beside the same walk without a journal.
///
/// The catalog lies in memory: on a disk, every wave of steps takes what the disk takes to write a
/// transaction, and a chain of 10,000 is 10,000 waves.
pub fn figures() -> Result<Vec<Figure>> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let folder = folder.path().to_str().ok_or("a folder's name is not UTF-8")?;
    let mut figures = Vec::new();
    for (shape, parallel, name) in [
        ("chain", "1", "walk: chain, 1 at once"),
        ("chain", "8", "walk: chain, 8 at once"),
        ("chain", "64", "walk: chain, 64 at once"),
        ("fan", "1", "walk: fan, 1 at once"),
        ("fan", "8", "walk: fan, 8 at once"),
        ("fan", "64", "walk: fan, 64 at once"),
    ] {
        figures.push(Figure {
            name,
            what: "10,000 steps that do nothing, journalled",
            measured: Samples::of_times(&[walk(shape, parallel, folder)?]),
            beside: "without a journal",
            reference: Samples::of_times(&[walk(shape, parallel, "none")?]),
            limit: Some(Limit { more: LIMIT_MS }),
        });
    }
    Ok(figures)
}

/// One walk from begin to end, by executor's example.
fn walk(shape: &str, parallel: &str, journal: &str) -> Result<Duration> {
    let program = std::env::current_exe()?.with_file_name("examples").join("walker");
    let output = Command::new(program).args([shape, &STEPS.to_string(), parallel, journal]).output()?;
    if !output.status.success() {
        return Err(format!("the walker failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let micros_a_step: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Duration::from_secs_f64(micros_a_step * f64::from(STEPS) / 1e6))
}
