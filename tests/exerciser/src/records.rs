//! A writer that says what it has written only once that is on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Appends numbered lines to the file `log`, and replaces the file `last`, for ever; prints each number after the kernel
/// has acknowledged both with `fsync`.
pub fn run(directory: &Path) -> io::Result<()> {
    let mut log = File::options().create(true).append(true).open(directory.join("log"))?;
    let folder = File::open(directory)?;
    // Goes on after what an earlier run has written.
    let known = fs::read_to_string(directory.join("log"))?;
    let first = known.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).max().unwrap_or(0);
    let mut out = io::stdout().lock();
    for number in first + 1_u64.. {
        // Of different lengths, so that lines cross pages at different places.
        let filler = "x".repeat((number * 37 % 300) as usize);
        // A line end first: the line before may be incomplete.
        log.write_all(format!("\n{number} {filler}.").as_bytes())?;
        log.sync_all()?;
        let mut new = File::create(directory.join("new"))?;
        new.write_all(number.to_string().as_bytes())?;
        new.sync_data()?;
        fs::rename(directory.join("new"), directory.join("last"))?;
        folder.sync_all()?;
        writeln!(out, "acknowledged {number}")?;
        out.flush()?;
    }
    Ok(())
}
