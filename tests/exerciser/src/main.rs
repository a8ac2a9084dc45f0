//! Exercises the files of a directory: a static program for guests, whatever their image contains.
//!
//! Architecture invariant: it depends on nothing of msb, and starts no program but itself and scripts that it has
//! written.

mod append;
mod errors;
mod escape;
mod fsx;
mod matrix;
mod random;
mod records;
mod system;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: exerciser titles
       exerciser fill DIR FROM TO
       exerciser matrix DIR FROM TO [HOST-UID HOST-GID]
       exerciser fsx FILE SEED OPERATIONS
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
        ["titles"] => matrix::print_titles(),
        ["user"] => println!("{}", rustix::process::geteuid().as_raw()),
        ["fill", directory, from, to] => {
            matrix::fill_all(Path::new(directory), number(from)?..number(to)?)?;
        }
        ["matrix", directory, from, to] => {
            matrix::run_all(Path::new(directory), number(from)?..number(to)?, None)?;
        }
        ["matrix", directory, from, to, uid, gid] => {
            let host = (number(uid)?, number(gid)?);
            matrix::run_all(Path::new(directory), number(from)?..number(to)?, Some(host))?;
        }
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
