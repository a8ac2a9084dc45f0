//! Exercises the files of a directory: a static program for guests, whatever their image contains.
//!
//! Architecture invariant: it depends on nothing of msb, and starts no program but itself and scripts that it has
//! written.

mod append;
mod errors;
mod escape;
mod fsx;
mod random;
mod records;
mod system;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: exerciser fsx FILE SEED OPERATIONS
       exerciser append FILE PROCESSES RECORDS
       exerciser records DIR
       exerciser escape DIR TRIES SEED CANARY
       exerciser swap DIR";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("exerciser {}: {error}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> io::Result<ExitCode> {
    match *arguments {
        ["fsx", file, seed, operations] => fsx::run(Path::new(file), number(seed)?, number(operations)?)?,
        ["append", file, processes, records] => {
            append::run(Path::new(file), number(processes)?, number(records)?)?;
        }
        ["records", directory] => records::run(Path::new(directory))?,
        ["escape", directory, tries, seed, canary] => {
            escape::run(Path::new(directory), number(tries)?, number(seed)?, canary)?;
        }
        ["swap", directory] => escape::swap_for_ever(&PathBuf::from(directory))?,
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("`{text}` is not a number")))
}
