//! Walks over plans of 10,000 empty steps, as a chain and as a fan, with the journal in a catalog.

use crate::Result;
use crate::large::Row;
use std::path::Path;
use std::process::Command;

/// The number of steps of a walk.
const STEPS: u32 = 10_000;
/// The limit for a step with its journal entry.
const MICROS_A_STEP_MAX: f64 = 50.0;

/// Measures each shape at each width, with and without a journal.
///
/// The catalog is in memory: on a disk every wave of steps waits for a transaction, and a chain has 10,000 waves.
pub fn measure(rows: &mut Vec<Row>) -> Result<()> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let folder = folder.path().to_str().ok_or("a folder's name is not UTF-8")?;
    for shape in ["chain", "fan"] {
        eprintln!("bench: the walk over a {shape} of {STEPS} steps");
        for parallel in ["1", "8", "64"] {
            for (journal, how, limit) in
                [(folder, "journalled", MICROS_A_STEP_MAX), ("none", "without a journal", f64::INFINITY)]
            {
                let what = format!("walk, {shape} of {STEPS} steps, {parallel} at once, {how}: each step");
                let (took, worked) = walk(shape, parallel, journal)?;
                rows.push(Row::new(what.clone(), took, "µs", limit));
                rows.push(Row::new(format!("{what}, on a processor"), worked, "µs", limit));
            }
        }
    }
    Ok(())
}

/// Runs a walk by the executor's example. Returns the time and the CPU time per step, in microseconds.
fn walk(shape: &str, parallel: &str, journal: &str) -> Result<(f64, f64)> {
    let program = std::env::current_exe()?.with_file_name("examples").join("walker");
    let output = Command::new(program).args([shape, &STEPS.to_string(), parallel, journal]).output()?;
    if !output.status.success() {
        return Err(format!("the walker failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let (took, worked) = text.trim().split_once(' ').ok_or("the walker says too little")?;
    Ok((took.parse()?, worked.parse()?))
}
